"""Entropic optimal transport of uniform weights at given costs, solved by ott-jax."""

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

_DECAY = 0.98  # of eps an iteration, from the median cost down: converges where fixed eps does not
# Each update goes half as far again: half the iterations (arXiv:2012.12562). At 1.8 some diverge.
_RELAXATION = 1.5

Potentials = tuple[jax.Array, jax.Array]


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
    Where the target is tiny against it, float32 cannot meet the marginals better than to 1e-3, and
    1e-2 leaves the cost within 1e-5; else it must meet them to 1e-4, as a divergence is then a
    small difference of large numbers.
    """
    return anneal(cost, (eps,), scale=scale, max_iterations=max_iterations)[0]


def anneal(
    cost: np.ndarray,
    falling: Sequence[float],
    *,
    scale: float | None = None,
    max_iterations: int = 5_000,
) -> list[Entropic]:
    """Solve entropic transport at several eps, each from the solution of the one before.

    Args:
        cost: ``[N, M]``.
        falling: values of eps, the largest first.
        scale: of the costs, see :func:`entropic_transport`.
        max_iterations: for each eps.
    """
    scale = float(np.median(cost)) if scale is None else scale
    held, potentials = jnp.asarray(cost, jnp.float32), _zeros(cost.shape)
    found, warmest = [], scale
    for eps in falling:
        if _stands_still(cost, eps, scale):
            found.append(Entropic(eps * float(np.log(len(cost))), 0.0, True, 0))
            continue
        potentials, solved = _solve_at(held, eps, (scale, warmest), potentials, max_iterations)
        found.append(solved)
        warmest = eps
    return found


def _stands_still(cost: np.ndarray, eps: float, scale: float) -> bool:
    """Return whether everything is best left where it is, at the cost eps ln n.

    That is what the plan on the diagonal costs. The potentials eps / 2 ln n bound all plans from
    below, by less the smaller exp(-cost / eps) is off the diagonal.
    """
    count = len(cost)
    if cost.shape != (count, count) or np.diagonal(cost).any():
        return False
    elsewhere = np.exp(-cost / eps).sum() / count - 1.0
    return bool(eps * elsewhere < 1e-7 * scale)


def _zeros(shape: tuple[int, int]) -> Potentials:
    return tuple(jnp.zeros(size, jnp.float32) for size in shape)


def _solve_at(
    cost: jax.Array,
    eps: float,
    scales: tuple[float, float],
    potentials: Potentials,
    max_iterations: int,
) -> tuple[Potentials, Entropic]:
    """Return the potentials and costs at ``eps``; ``scales`` are of the cost and to begin with."""
    # A power of eight: each start is a program of its own to compile.
    steps = [max(0, round(np.log(max(scale / eps, 1.0)) / np.log(8.0))) for scale in scales]
    potentials, *parts = _solve(
        cost,
        jnp.float32(eps),
        potentials,
        start=8.0 ** steps[1],
        threshold=min(max(4e-6 * 8.0 ** steps[0], 1e-4), 1e-2),
        max_iterations=max_iterations,
    )
    value, primal, converged, iterations = (part.item() for part in parts)
    converged = bool(converged) and bool(np.isfinite(value))
    return potentials, Entropic(value, primal, converged, int(iterations))


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
        costs = solved.reg_ot_cost, solved.primal_cost
        return (solved.f, solved.g), *costs, solved.converged, solved.n_iters
