"""The metrics ``sinkhorn/`` and ``w1/annealed``: entropic transport between sets of images."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry import epsilon_scheduler, geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import acceleration
from ott.solvers.linear.sinkhorn import Sinkhorn

from evaluation.images.sets import Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.distances import squared_distances
from evaluation.metrics.metric import Metric, Result, join_notes, on_pixels
from evaluation.metrics.resampling import (
    PARTS,
    as_rows,
    disjoint_parts,
    equal_batches,
    mean_and_stderr,
    reduced_size,
)
from evaluation.metrics.wasserstein import PAPER_W1_BATCH

PAPER_SINKHORN_BATCH = 1_000
_MOST_ITERATIONS = 5_000
_FEWEST_BATCHES = 5  # whose spread is an error; that of two is off by a factor as a rule
_DECAY = 0.98  # of eps an iteration, from the median cost down: converges where fixed eps does not
# Each update goes half as far again: half the iterations (arXiv:2012.12562). At 1.8 some diverge.
_RELAXATION = 1.5

Potentials = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Entropic:
    """Cost of the entropic plan, min <P, C> + eps KL(P | a b^T), and the potential behind it.

    The cost is that of the potential in float64, see `_dual`, though float32 found the potential.
    """

    cost: float
    potential: np.ndarray  # f, float64 [N]
    converged: bool
    iterations: int


def sinkhorn_divergence(
    x: np.ndarray,
    y: np.ndarray,
    *,
    p: float,
    eps: float | Sequence[float],
    max_iterations: int = _MOST_ITERATIONS,
) -> list[tuple[float, bool]]:
    """Return OT(x, y) - (OT(x, x) + OT(y, y)) / 2 at cost |x - y|^p for each eps.

    The rows are ``[N, D]`` and ``[M, D]``; the weights of the entropy, ``eps``, fall.

    Returns:
        The divergences, NaN where one of the three problems did not converge, and whether all did.
    """
    costs = [squared_distances(*pair) ** (p / 2) for pair in ((x, y), (x, x), (y, y))]
    scale = float(np.median(costs[0]))
    falling = np.atleast_1d(eps).tolist()
    solved = [anneal(cost, falling, scale=scale, max_iterations=max_iterations) for cost in costs]
    divergences = []
    for cross, *own in zip(*solved, strict=True):
        converged = all(solution.converged for solution in (cross, *own))
        value = cross.cost - sum(solution.cost for solution in own) / 2 if converged else np.nan
        divergences.append((value, converged))
    return divergences


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

    What arXiv:2307.13687 calls eps = 1 is p = 1 and eps = 0.1 here. Distances of pixels 0..255 are
    near 1,500: eps up to 10 only repeats W1 with its floor; 255 and 1,000 smooth the floor away.

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
    for place, weight in enumerate(falling):
        of_batches, of_repeated = (
            [divergences[place] for divergences in solutions] for solutions in (solved, repeated)
        )
        mean, _ = mean_and_stderr([value for value, _ in of_batches])
        error = mean_and_stderr([value for value, _ in of_repeated])[1] if of_repeated else None
        name = f"sinkhorn/p{p:g}/eps{weight:g}{suffix}"
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
    """Return a lower bound of W1 of one batch by entropic transport, for GPU and TPU.

    Any plan of exact transport has KL(P | a b^T) <= ln n, so the entropic cost minus eps ln n is
    too small by less than eps ln n. The value is nearer still: that of the dual problem without
    entropy. The note has an upper bound, the cost of a plan. Both are bounds at any convergence.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    first, second = equal_batches(real, generated, size, count=1, seed=seed)[0]
    cost = np.sqrt(squared_distances(first, second))
    solved = entropic_transport(cost, eps)
    value, upper = transport_bounds(cost, solved.potential, eps)
    bounds = f"W1 lies between {value:.9g} and {upper:.9g}"
    result = Result(f"w1/annealed/eps{eps:g}", value, n=size, note=join_notes(note, bounds))
    if solved.converged:
        return result
    return result.unconverged(f"not converged after {solved.iterations} iterations")


def entropic_transport(cost: np.ndarray, eps: float) -> Entropic:
    """Solve entropic transport at ``cost`` ``[N, M]`` and one eps; see `anneal`."""
    return anneal(cost, (eps,))[0]


def transport_bounds(cost: np.ndarray, potential: np.ndarray, eps: float) -> tuple[float, float]:
    """Return two bounds of the exact transport of uniform weights at ``cost`` ``[N, M]``.

    Below: the potential ``f [N]`` with the largest g that f + g <= cost allows. Above: the cost of
    the entropic plan of f, whose rows and columns are brought to the right sums (arXiv:1705.09634,
    algorithm 2). What is missing after they were cut is laid out in proportion to both.
    """
    count, other = cost.shape
    gap = cost - potential[:, None]
    smallest = gap.min(axis=0)
    lower = float(potential.mean() + smallest.mean())
    plan = np.exp((smallest - gap) / eps, out=gap)
    plan /= plan.sum(axis=0) * other  # the columns are right now
    plan *= np.minimum(1.0 / (count * plan.sum(axis=1)), 1.0)[:, None]
    rows, columns = (1.0 / n - plan.sum(axis=1 - k) for k, n in enumerate(cost.shape))
    missing = rows.sum()
    upper = np.einsum("nm,nm->", plan, cost)
    if missing > 0:
        upper += rows @ cost @ columns / missing
    return lower, float(max(upper, lower))  # they may meet within rounding


def anneal(
    cost: np.ndarray,
    falling: Sequence[float],
    *,
    scale: float | None = None,
    max_iterations: int = _MOST_ITERATIONS,
) -> list[Entropic]:
    """Solve entropic transport of uniform weights at ``cost`` ``[N, M]`` with ott-jax.

    Each of the falling eps starts from the solution of the one before. There, eps falls from about
    ``scale``, the median cost if None, to its target by 2 % an iteration. If the target is tiny
    compared with it, float32 cannot meet the marginals to better than 1e-3, and 1e-2 leaves the
    cost within 1e-5. Otherwise the marginals must be met to 1e-4, because a divergence is then a
    small difference of large numbers.
    """
    scale = float(np.median(cost)) if scale is None else scale
    held = jnp.asarray(cost, jnp.float32)
    potentials = tuple(jnp.zeros(size, jnp.float32) for size in cost.shape)
    solutions, warmest = [], scale
    for eps in falling:
        if _stands_still(cost, eps, scale):
            entropy = eps * float(np.log(len(cost)))
            solutions.append(Entropic(entropy, np.full(len(cost), entropy / 2), True, 0))
            continue
        potentials, converged, iterations = _solve_at(
            held, eps, (scale, warmest), potentials, max_iterations
        )
        potential = np.asarray(potentials[0], np.float64)
        converged = converged and bool(np.isfinite(potential).all())
        value = _dual(cost, potential, eps) if converged else np.nan
        solutions.append(Entropic(value, potential, converged, iterations))
        warmest = eps
    return solutions


def _dual(cost: np.ndarray, potential: np.ndarray, eps: float) -> float:
    """Return the entropic cost that a potential ``f [N]`` proves, with the best g for it.

    The dual problem is flat at its maximum: an error d of f changes this by about d^2 / eps, so
    that potentials of float32 give more digits than the sums of float32 do.
    """
    gap = cost - potential[:, None]
    smallest = gap.min(axis=0)
    sums = np.exp((smallest - gap) / eps, out=gap).mean(axis=0)
    return float(potential.mean() + (smallest - eps * np.log(sums)).mean())


def _stands_still(cost: np.ndarray, eps: float, scale: float) -> bool:
    """Return whether the best plan moves nothing, at the cost eps ln n.

    That is what the plan on the diagonal costs. The potentials eps / 2 ln n bound all plans from
    below, by less the smaller exp(-cost / eps) is off the diagonal.
    """
    count = len(cost)
    if cost.shape != (count, count) or np.diagonal(cost).any():
        return False
    elsewhere = np.exp(-cost / eps).sum() / count - 1.0
    return bool(eps * elsewhere < 1e-7 * scale)


def _solve_at(
    cost: jax.Array,
    eps: float,
    scales: tuple[float, float],
    potentials: Potentials,
    max_iterations: int,
) -> tuple[Potentials, bool, int]:
    """Return the potentials at ``eps``, whether they converged, and the iterations.

    The ``scales`` are of the cost and to begin with.
    """
    # A power of eight: each start is a program of its own to compile.
    steps = [max(0, round(np.log(max(scale / eps, 1.0)) / np.log(8.0))) for scale in scales]
    potentials, converged, iterations = _solve(
        cost,
        jnp.float32(eps),
        potentials,
        start=8.0 ** steps[1],
        threshold=min(max(4e-6 * 8.0 ** steps[0], 1e-4), 1e-2),
        max_iterations=max_iterations,
    )
    return potentials, bool(converged), int(iterations)


@functools.partial(jax.jit, static_argnames=("start", "threshold", "max_iterations"))
def _solve(
    cost: jax.Array,
    eps: jax.Array,
    potentials: Potentials,
    *,
    start: float,
    threshold: float,
    max_iterations: int,
):
    schedule = epsilon_scheduler.Epsilon(eps, init=start, decay=_DECAY)
    # A matrix of costs: the point-cloud form computes 4096 dimensions anew in each iteration.
    problem = linear_problem.LinearProblem(geometry.Geometry(cost_matrix=cost, epsilon=schedule))
    solver = Sinkhorn(
        threshold=threshold,
        max_iterations=max_iterations,
        momentum=acceleration.Momentum(value=_RELAXATION),
    )
    # ott mixes its integer counters with floats; a user may have asked JAX to forbid that.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        solved = solver(problem, init=potentials)
        return (solved.f, solved.g), solved.converged, solved.n_iters


def annealed_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return W1 by annealing, of fewer images on a small budget."""
    return on_pixels(w1_annealed, batch=budget.annealed_batch)(pair, budget, seed)


METRICS = (
    Metric(
        "w1/annealed",
        annealed_rows,
        "lower bound of W1 of pixels at cost |x - y|, too small by less than eps ln n, from the "
        "potential of entropic transport of the eps of the id, of one batch of the budget's size",
    ),
    Metric(
        "sinkhorn",
        on_pixels(sinkhorn, eps=(1000, 255, 1, 0.1), floor_options={"stderr": False}),
        "Sinkhorn divergence of pixels at cost |x - y|^p and the eps of the id, mean over batches "
        "of 1,000; marginals met to 1e-4, or to 4e-6 median cost / eps if that is more, in powers "
        "of 8 and up to 1e-2; costs from the potentials in float64",
    ),
)
