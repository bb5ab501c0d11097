"""Sinkhorn divergences of sets of images, and W1 bounded by entropic transport."""

import functools
from collections.abc import Sequence

import numpy as np

from evaluation.distances import squared_distances
from evaluation.entropic import anneal, entropic_transport
from evaluation.result import Result, join_notes
from evaluation.subsampling import (
    PARTS,
    as_rows,
    disjoint_parts,
    equal_batches,
    mean_and_stderr,
    reduced_size,
)
from evaluation.wasserstein import PAPER_W1_BATCH

PAPER_SINKHORN_BATCH = 1_000
_MOST_ITERATIONS = 5_000
_FEWEST_BATCHES = 5  # whose spread is an error; that of two is off by a factor as a rule


def sinkhorn_divergence(
    x: np.ndarray,
    y: np.ndarray,
    *,
    p: float,
    eps: float | Sequence[float],
    max_iterations: int = _MOST_ITERATIONS,
) -> list[tuple[float, bool]]:
    """Return OT(x, y) - (OT(x, x) + OT(y, y)) / 2 at cost |x - y|^p for each eps.

    Args:
        x: rows ``[N, D]``.
        y: rows ``[M, D]``.
        p: exponent of the cost.
        eps: weights of the entropy, the largest first.
        max_iterations: for each of the problems.

    Returns:
        The divergences, NaN where one of the three problems did not converge, and whether all did.
    """
    costs = [squared_distances(*pair) ** (p / 2) for pair in ((x, y), (x, x), (y, y))]
    scale = float(np.median(costs[0]))
    falling = np.atleast_1d(eps).tolist()
    solved = [anneal(cost, falling, scale=scale, max_iterations=max_iterations) for cost in costs]
    found = []
    for cross, *own in zip(*solved, strict=True):
        converged = all(one.converged for one in (cross, *own))
        value = cross.cost - sum(one.cost for one in own) / 2 if converged else np.nan
        found.append((value, converged))
    return found


def sinkhorn(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    eps: float | Sequence[float],
    p: float = 1.0,
    batch: int = PAPER_SINKHORN_BATCH,
    batches: int | None = None,
    stderr: bool = True,
) -> list[Result]:
    """Return the mean Sinkhorn divergence over disjoint batches, at cost |x - y|^p, for each eps.

    What arXiv:2307.13687 calls eps = 1 is p = 1 and eps = 0.1. On pixels 0..255 distances are
    near 1,500: eps up to 10 only repeats W1, floor included; 255 and 1,000 smooth it away.

    Args:
        real: images ``[N, D]``.
        generated: images ``[M, D]``.
        seed: of the batches.
        eps: weights of the entropy, in the units of the cost, the largest first.
        p: exponent of the cost.
        batch: images of a batch; the published value is 1,000.
        batches: how many; as many as fit if it is None.
        stderr: whether to compute it: from the batches, from ten parts of all if those are few.

    Returns:
        A result for each eps, its value NaN if any batch did not converge.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    sets = equal_batches(real, generated, size, count=batches, seed=seed)
    falling = np.atleast_1d(eps).tolist()
    solve = functools.partial(sinkhorn_divergence, p=p, eps=falling)
    solved = [solve(*pair) for pair in sets]
    repeated = solved if stderr else []
    if stderr and len(sets) < _FEWEST_BATCHES:
        together = (np.concatenate(parts) for parts in zip(*sets, strict=True))
        parts = disjoint_parts(*together, seed=seed)
        repeated = [solve(*pair) for pair in parts] or solved
        origin = f"{PARTS} parts" if parts else f"only {len(sets)} batches"
        note = join_notes(note, f"error from {origin}")
    suffix = f"/batch{batch}" if batch != PAPER_SINKHORN_BATCH else ""
    results = []
    for place, one in enumerate(falling):
        of_batches, again = ([found[place] for found in every] for every in (solved, repeated))
        mean, _ = mean_and_stderr([value for value, _ in of_batches])
        error = mean_and_stderr([value for value, _ in again])[1] if again else None
        name = f"sinkhorn/p{p:g}/eps{one:g}{suffix}"
        result = Result(name, mean, error, n=size * len(sets), note=note)
        failed = sum(not converged for _, converged in of_batches)
        reason = f"{failed} of {len(sets)} batches did not converge"
        results.append(result.unconverged(reason) if failed else result)
    return results


def w1_annealed(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    eps: float = 1.0,
    batch: int = PAPER_W1_BATCH,
) -> Result:
    """Return W1 of one batch from below, by entropic transport: the form for GPU and TPU.

    Any plan of exact transport has KL(P | a b^T) <= ln n, so the entropic cost minus eps ln n is
    a lower bound, too small by less than eps ln n; <P, C> of the entropic plan lies above.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    first, second = equal_batches(real, generated, size, count=1, seed=seed)[0]
    solved = entropic_transport(np.sqrt(squared_distances(first, second)), eps)
    value = float(solved.cost - eps * np.log(size))
    bounds = f"W1 lies between {value:.6g} and {solved.primal:.6g}"
    result = Result(f"w1/annealed/eps{eps:g}", value, n=size, note=join_notes(note, bounds))
    if solved.converged:
        return result
    return result.unconverged(f"not converged after {solved.iterations} iterations")
