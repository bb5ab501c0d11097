"""Distances between all pairs of rows, exact where the numbers are whole."""

import numpy as np

_EXACT_FLOAT32 = 2.0**24  # whole numbers up to here, and so their sums, have no rounding


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return |x - y|^2 of all pairs of rows ``[N, D]`` and ``[M, D]`` as float64 ``[N, M]``.

    The matrix product of |x|^2 + |y|^2 - 2 x y is in float64, or in float32 at half the time
    where that changes nothing: for images of whole pixel values that are not too bright. There
    equal rows are at distance zero exactly.
    """
    alone = y is x
    x, y = np.asarray(x), np.asarray(y)
    norms = [np.einsum("nd,nd->n", rows, rows, dtype=np.float64) for rows in (x, y)]
    # No partial sum of a product of rows without negative entries exceeds both squared norms.
    small = all(norm.max(initial=0.0) < _EXACT_FLOAT32 for norm in norms)
    whole = small and all((rows >= 0).all() and (rows == np.rint(rows)).all() for rows in (x, y))
    dtype = np.float32 if whole else np.float64
    x = x.astype(dtype, copy=False)
    # The product of an array with itself is symmetric: NumPy does half of it.
    product = x @ (x if alone else y.astype(dtype, copy=False)).T
    squared = product.astype(np.float64, copy=False)
    squared *= -2.0
    squared += norms[0][:, None]
    squared += norms[1]
    return np.maximum(squared, 0.0, out=squared)
