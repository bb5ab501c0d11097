"""The Frechet distance of the normal laws of two sets of rows, in float64."""

from collections.abc import Callable

import numpy as np
import scipy.linalg


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Frechet distance of the normal laws of rows ``[N, D]`` and ``[M, D]``.

    It is |mean difference|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)) of their covariances S. With a
    root R^T R = S_x the last term is twice the sum of the roots of the eigenvalues of the
    symmetric R S_y R^T. Nothing can turn complex or fail if N < D; all is float64.
    """
    (mean_x, x), (mean_y, y) = _centred(x), _centred(y)
    traces = np.vdot(x, x) / (len(x) - 1) + np.vdot(y, y) / (len(y) - 1)
    small = min(len(x), len(y)) <= x.shape[1]
    squared = _squared(_root(x) @ _root(y).T) if small else _squared_overlap(x, y)
    return float(np.sum((mean_x - mean_y) ** 2) + traces - 2.0 * _overlap(squared))


def frechet_of_places(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray, np.ndarray], float]:
    """Return the Frechet distance of some rows of ``[N, D]`` and ``[M, D]``, by their places.

    It is `frechet_distance` for at most D rows; all share the one large product there is.
    """
    centre = x.mean(axis=0, dtype=np.float64)
    x, y = x - centre, y - centre
    squares = [np.einsum("nd,nd->n", rows, rows) for rows in (x, y)]
    across = x @ y.T

    def distance(of_x: np.ndarray, of_y: np.ndarray) -> float:
        means = [rows[places].mean(axis=0) for rows, places in ((x, of_x), (y, of_y))]
        traces = sum(
            (square[places].sum() - len(places) * mean @ mean) / (len(places) - 1)
            for square, places, mean in zip(squares, (of_x, of_y), means, strict=True)
        )
        product = _without_mean(_without_mean(across[np.ix_(of_x, of_y)]).T)
        product /= np.sqrt((len(of_x) - 1) * (len(of_y) - 1))
        overlap = _overlap(_squared(product))
        return float(np.sum((means[0] - means[1]) ** 2) + traces - 2.0 * overlap)

    return distance


def _overlap(squared: np.ndarray) -> float:
    """Return the sum of the roots of a matrix's eigenvalues, which is lost; see its upper half."""
    eigenvalues = scipy.linalg.eigvalsh(squared, lower=False, overwrite_a=True, check_finite=False)
    return float(np.sqrt(np.maximum(eigenvalues, 0.0)).sum())


def _centred(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean ``[D]`` and the differences from it ``[N, D]``, float64."""
    mean = rows.mean(axis=0, dtype=np.float64)
    return mean, rows - mean


def _squared(product: np.ndarray) -> np.ndarray:
    """Return a product of roots, times itself on its smaller side."""
    if product.shape[0] > product.shape[1]:
        product = product.T
    return product @ product.T


def _squared_overlap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a matrix, its upper half at least, of the eigenvalues of S_x S_y but zeros."""
    root, pivots = _triangular_root(x)
    other = (y.T @ y / (len(y) - 1))[np.ix_(pivots, pivots)]
    if len(root) < len(pivots):
        return root @ other @ root.T
    # Both sides of a triangular root at once cost half a product.
    return scipy.linalg.lapack.dsygst(other, root, itype=2)[0]


def _root(rows: np.ndarray) -> np.ndarray:
    """Return a root ``[K, D]`` of the covariance of centred rows, K at most N and D."""
    if len(rows) <= rows.shape[1]:
        return _without_mean(rows) / np.sqrt(len(rows) - 1)
    triangular, pivots = _triangular_root(rows)
    root = np.zeros_like(triangular)
    root[:, pivots] = triangular
    return root


def _without_mean(rows: np.ndarray) -> np.ndarray:
    """Return ``[N - 1, D]`` of the same products of columns as rows ``[N, D]`` less their mean.

    It is a reflection that gathers the mean in the first row, which is left out: a row of centred
    ones that is zero would add the root of a rounding.
    """
    root = np.sqrt(len(rows))
    return rows[1:] - (root * rows.mean(axis=0) - rows[0]) / (root - 1.0)


def _triangular_root(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a root ``[K, D]`` of the covariance of centred rows, zero below the diagonal.

    Its columns are the features in the order that is returned as well, ``[D]``. Pivoting leaves
    out what has no variance, like features that a ReLU never lets through.
    """
    covariance = rows.T @ rows / (len(rows) - 1)
    factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(covariance)
    return np.triu(factor[:rank]), pivots - 1
