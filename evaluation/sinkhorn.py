"""Entropic optimal transport between sets of images, solved by ott-jax."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry import epsilon_scheduler, geometry
from ott.solvers import linear

from evaluation.distances import squared_distances
from evaluation.result import Result, join_notes
from evaluation.subsampling import as_rows, equal_batches, mean_and_stderr, reduced_size
from evaluation.wasserstein import PAPER_W1_BATCH

PAPER_SINKHORN_BATCH = 1_000
_DECAY = 0.98  # of eps an iteration, from the median cost down: converges where fixed eps does not


@dataclasses.dataclass(frozen=True)
class Entropic:
    """Cost of the entropic plan, min <P, C> + eps KL(P | a b^T), and the bare <P, C> of it."""

    cost: float
    primal: float
    converged: bool
    iterations: int


def entropic_transport(
    cost: np.ndarray, eps: float, *, scale: float | None = None, max_iterations: int = 5_000
) -> Entropic:
    """Solve entropic transport of uniform weights at ``cost`` ``[N, M]`` with ott-jax.

    eps falls from about ``scale``, the median cost if None, to its target by 2 % an iteration.
    Where the target is tiny against it, float32 cannot meet the marginals better than to 1e-3;
    else it must meet them to 1e-4, as a divergence is then a small difference of large numbers.
    """
    scale = float(np.median(cost)) if scale is None else scale
    # A power of eight: each start is a program of its own to compile.
    start = 8.0 ** max(0, round(np.log(max(scale / eps, 1.0)) / np.log(8.0)))
    solved = _solve(
        jnp.asarray(cost, jnp.float32),
        jnp.float32(eps),
        start=start,
        threshold=min(max(4e-6 * start, 1e-4), 1e-3),
        max_iterations=max_iterations,
    )
    value, primal, converged, iterations = (part.item() for part in solved)
    return Entropic(value, primal, bool(converged) and bool(np.isfinite(value)), int(iterations))


@functools.partial(jax.jit, static_argnames=("start", "threshold", "max_iterations"))
def _solve(cost: jax.Array, eps: jax.Array, *, start: float, threshold: float, max_iterations: int):
    schedule = epsilon_scheduler.Epsilon(eps, init=start, decay=_DECAY)
    # A matrix of costs: the point-cloud form computes 4096 dimensions anew in each iteration.
    problem = geometry.Geometry(cost_matrix=cost, epsilon=schedule)
    # ott mixes its integer counters with floats; a user may have asked JAX to forbid that.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        solved = linear.solve(problem, threshold=threshold, max_iterations=max_iterations)
        return solved.reg_ot_cost, solved.primal_cost, solved.converged, solved.n_iters


def sinkhorn_divergence(
    x: np.ndarray, y: np.ndarray, *, p: float, eps: float, max_iterations: int = 5_000
) -> tuple[float, bool]:
    """Return the debiased divergence OT(x, y) - (OT(x, x) + OT(y, y)) / 2 at cost |x - y|^p.

    Returns:
        The divergence, NaN if one of the three did not converge, and whether all did.
    """
    costs = [squared_distances(*pair) ** (p / 2) for pair in ((x, y), (x, x), (y, y))]
    scale = float(np.median(costs[0]))
    solved = [
        entropic_transport(cost, eps, scale=scale, max_iterations=max_iterations) for cost in costs
    ]
    converged = all(one.converged for one in solved)
    cross, *own = (one.cost for one in solved)
    return (cross - sum(own) / 2 if converged else np.nan), converged


def sinkhorn(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    eps: float,
    p: float = 1.0,
    batch: int = PAPER_SINKHORN_BATCH,
    batches: int | None = None,
) -> Result:
    """Return the mean Sinkhorn divergence over disjoint batches, at cost |x - y|^p.

    What arXiv:2307.13687 calls eps = 1 is p = 1 and eps = 0.1. On pixels 0..255 distances are
    near 1,500: eps up to 10 only repeats W1, floor included; 255 and 1,000 smooth it away.

    Args:
        real: images ``[N, D]``.
        generated: images ``[M, D]``.
        seed: of the batches.
        eps: weight of the entropy, in the units of the cost.
        p: exponent of the cost.
        batch: images of a batch; the published value is 1,000.
        batches: how many; as many as fit if it is None.

    Returns:
        The result, its value NaN if any batch did not converge.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    sets = equal_batches(real, generated, size, count=batches, seed=seed)
    solved = [sinkhorn_divergence(first, second, p=p, eps=eps) for first, second in sets]
    mean, stderr = mean_and_stderr([value for value, _ in solved])
    name = f"sinkhorn/p{p:g}/eps{eps:g}"
    name += f"/batch{batch}" if batch != PAPER_SINKHORN_BATCH else ""
    result = Result(name, mean, stderr, n=size * len(sets), note=note)
    failed = sum(not converged for _, converged in solved)
    if failed:
        return result.unconverged(f"{failed} of {len(sets)} batches did not converge")
    return result


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
