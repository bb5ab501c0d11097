"""The metrics ``w1/`` and ``sliced_w1``: Wasserstein-1 of sets of images, exact and along lines.

With 4096 pixels, W1 of two thousand images is nearly all floor: two sets of real images are as far
apart. Only the excess over that floor, at equal n, says something; see ``w1_corrected``.
"""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import ot

from evaluation.images.sets import Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.distances import squared_distances
from evaluation.metrics.metric import FEWEST, Metric, Result, cut_alike, on_pixels, with_origin
from evaluation.metrics.resampling import (
    as_rows,
    equal_batches,
    mean_and_stderr,
    parts_stderr,
    permutation_p,
    reduced_size,
    shuffled_labels,
)

PAPER_W1_BATCH = 10_000
_MOST_PIVOTS = 10_000_000  # POT's default of 1e5 stops early at 10,000 images, at too high a value
_COLUMNS = 16  # directions at a time
_DIRECTIONS_SEED = 20230713  # fixed, so that all reports look along the same directions


def exact_w1(x: np.ndarray, y: np.ndarray) -> tuple[float, bool]:
    """Return W1 of rows ``[N, D]`` and ``[M, D]`` at cost |x - y|, and whether it is optimal."""
    cost = np.sqrt(squared_distances(x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is returned
        value, log = ot.emd2([], [], cost, numItermax=_MOST_PIVOTS, log=True)
    return float(value), log["warning"] is None


def w1_paper(
    real: np.ndarray, generated: np.ndarray, *, seed: int, batch: int = PAPER_W1_BATCH
) -> Result:
    """Return W1 as in arXiv:2307.13687, Fig. 6: exact transport, mean over disjoint batches.

    The images are ``[N, D]`` and ``[M, D]``; published batches hold 10,000 of each.
    """
    real, generated = as_rows(real, generated)
    size, note = reduced_size(batch, len(real), len(generated))
    batches = equal_batches(real, generated, size, seed=seed)
    solved = [exact_w1(first, second) for first, second in batches]
    mean, stderr = mean_and_stderr([value for value, _ in solved])
    if stderr is None:
        first, second = batches[0]
        stderr = parts_stderr(lambda x, y: exact_w1(x, y)[0], first, second, seed=seed)
    name = "w1/paper" if batch == PAPER_W1_BATCH else f"w1/batch{batch}"
    result = Result(name, mean, stderr, n=size * len(batches), note=note)
    if all(optimal for _, optimal in solved):
        return result
    return result.unconverged(f"no optimum after {_MOST_PIVOTS} pivots")


def w1_corrected(result: Result, floor: Result) -> Result:
    """Return W1 minus ``floor``, the same between two sets of real images of the same size.

    Near zero for equal distributions at any n, and possibly below. The standard error holds
    those of both, as if they were independent.

    Raises:
        ValueError: if ``floor`` is another metric or of another number of images.
    """
    result = result.with_floor(floor)
    both = None not in (result.stderr, floor.stderr)
    return dataclasses.replace(
        result,
        metric=result.metric.replace("/paper", "") + "/corrected",
        value=result.value - floor.value,
        stderr=float(np.hypot(result.stderr, floor.stderr)) if both else None,
        floor=0.0,
        status="ok" if result.status == floor.status == "ok" else "not converged",
    )


def w1_rows(pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return W1 as published, and its excess over the floor."""
    equal = cut_alike(pair, FEWEST, seed=seed)
    value, floor = (
        w1_paper(*(images.flat() for images in sets), seed=seed)
        for sets in ((equal.real, equal.generated), equal.floor)
    )
    rows = (value.with_floor(floor), w1_corrected(value, floor))
    return [dataclasses.replace(row, note=with_origin(row.note, pair)) for row in rows]


def sliced_w1(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    seed: int,
    directions: int | np.ndarray = 512,
    permutations: int = 200,
    stderr: bool = True,
) -> Result:
    """Return the mean over directions of the one-dimensional W1, with a permutation p.

    The images are ``[N, D]`` and ``[M, D]``; ``directions`` is a number, for which they are always
    the same, or unit columns ``[D, K]``. Without permutations there is no p.
    """
    real, generated = as_rows(real, generated)
    if np.ndim(directions) == 0:
        rng = np.random.default_rng(_DIRECTIONS_SEED)
        directions = rng.standard_normal((real.shape[1], int(directions)))
        directions /= np.linalg.norm(directions, axis=0)
    real, generated = (rows.astype(np.float64) @ directions for rows in (real, generated))
    p = None
    if permutations:
        labels = shuffled_labels(len(real), len(generated), permutations, seed=seed)
        observed, *null = _under_labels(real, generated, labels)
        p = permutation_p(observed, np.array(null))
    return Result(
        "sliced_w1",
        _mean_w1(real, generated),
        parts_stderr(_mean_w1, real, generated, seed=seed) if stderr else None,
        p=p,
        n=min(len(real), len(generated)),
        note=f"{directions.shape[1]} directions",
    )


def _mean_w1(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean W1 over columns of ``[N, K]`` and ``[M, K]``."""
    order, gaps = _sorted_columns(x, y)
    lead = np.cumsum(_steps(np.arange(len(x) + len(y)) < len(x))[order], axis=1)[:, :-1]
    return float((np.abs(lead) * gaps).sum() / len(gaps))


def _under_labels(x: np.ndarray, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean W1 over columns if the rows of ``[N + M, B]`` marked were the first: [B]."""
    order, gaps = _sorted_columns(x, y)
    steps = jnp.asarray(np.apply_along_axis(_steps, 0, labels), jnp.float32)
    blocks = [slice(start, start + _COLUMNS) for start in range(0, len(order), _COLUMNS)]
    sums = [_summed(order[block], gaps[block].astype(np.float32), steps) for block in blocks]
    return np.sum(np.asarray(sums, np.float64), axis=0) / len(order)


@jax.jit
def _summed(order: jax.Array, gaps: jax.Array, steps: jax.Array) -> jax.Array:
    """Return the summed W1 ``[B]`` of some columns: places and gaps of their sorted values.

    All labellings walk along the sorted values together, so that nothing leaves the cache.
    """

    def walk(state: tuple, along: tuple) -> tuple:
        lead, total = state
        place, gap = along
        lead = lead + steps[place]
        return (lead, total + jnp.abs(lead) * gap[:, None]), None

    start = jnp.zeros((len(order), steps.shape[1]), jnp.float32)
    (_, total), _ = jax.lax.scan(walk, (start, start), (order[:, :-1].T, gaps.T))
    return total.sum(axis=0)


def _sorted_columns(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the sorted pooled values were, ``[K, N + M]``, and the weighted gaps between."""
    pooled = np.concatenate([x, y]).T.copy()
    order = np.argsort(pooled, axis=1, kind="stable")
    gaps = np.diff(np.take_along_axis(pooled, order, axis=1), axis=1)
    return order, gaps / np.lcm(len(x), len(y))


def _steps(is_first: np.ndarray) -> np.ndarray:
    """Return the steps of F_x - F_y at sorted values, whole numbers in units of 1 / lcm(n, m).

    Where the two agree they sum to zero, without rounding.
    """
    n = np.count_nonzero(is_first)
    m = len(is_first) - n
    return np.where(is_first, np.lcm(n, m) // n, -(np.lcm(n, m) // m))


METRICS = (
    Metric(
        "w1",
        w1_rows,
        {
            "w1/paper": "exact W1 of pixels at cost |x - y|, mean over batches of 10,000 or of all "
            "images if fewer",
            "w1/corrected": "w1/paper minus its floor",
        },
    ),
    Metric(
        "sliced_w1",
        on_pixels(sliced_w1, draws="image_permutations", floor_options={"stderr": False}),
        "mean W1 of pixels along 512 fixed directions; p by permutation",
    ),
)
