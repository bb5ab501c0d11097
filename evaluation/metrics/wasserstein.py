"""The metrics ``w1/`` and ``sliced_w1``: Wasserstein-1 of sets of images, exact and along lines.

With 4096 pixels, W1 of two thousand images is nearly all floor: two sets of real images are as far
apart. Only the excess over that floor, at equal n, says something; see ``w1_corrected``.
"""

import dataclasses
import math
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
    random_halves,
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
    the same, or unit columns ``[D, K]``. Without permutations there is no p. The error is the
    spread over random halves of both sets: in equal sets it is too large by a half.
    """
    real, generated = as_rows(real, generated)
    if np.ndim(directions) == 0:
        rng = np.random.default_rng(_DIRECTIONS_SEED)
        directions = rng.standard_normal((real.shape[1], int(directions)))
        directions /= np.linalg.norm(directions, axis=0)
    n, m = len(real), len(generated)
    # One product for each set: in one for both, rounding could tell equal images apart.
    projected = [rows.astype(np.float64) @ directions for rows in (real, generated)]
    order, gaps = _sorted_columns(np.concatenate(projected))
    p, error = None, None
    if permutations:
        labels = shuffled_labels(n, m, permutations, seed=seed)
        observed, *null = _mean_w1_of_many(order, gaps, labels, ~labels)
        p = permutation_p(observed, np.array(null))
    halves = random_halves(n, m, seed=seed) if stderr else []
    if halves:
        first, second = np.zeros((2, n + m, len(halves)), bool)
        for column, (of_real, of_generated) in enumerate(halves):
            first[of_real, column] = second[n + of_generated, column] = True
        error = float(_mean_w1_of_many(order, gaps, first, second).std(ddof=1))
    return Result(
        "sliced_w1",
        _mean_w1(order, gaps, np.arange(n + m) < n),
        error,
        p=p,
        n=min(n, m),
        note=f"{directions.shape[1]} directions",
    )


def _mean_w1(order: np.ndarray, gaps: np.ndarray, is_first: np.ndarray) -> float:
    """Return the mean W1 over sorted columns between the rows marked in ``[N]`` and the others."""
    steps, unit = _steps(is_first, ~is_first)
    lead = np.cumsum(steps[order], axis=1)[:, :-1]
    return float((np.abs(lead) * gaps).sum() / (len(gaps) * unit))


def _mean_w1_of_many(
    order: np.ndarray, gaps: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return the mean W1 over sorted columns of samples marked in two arrays ``[N, B]``: [B].

    The samples of a column of marks are as large as those of any other column.
    """
    steps, unit = _steps(first, second)
    steps = jnp.asarray(steps, jnp.float32)
    blocks = [slice(start, start + _COLUMNS) for start in range(0, len(order), _COLUMNS)]
    scaled = (gaps / unit).astype(np.float32)
    sums = [_summed(order[block], scaled[block], steps) for block in blocks]
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


def _sorted_columns(pooled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the sorted values of ``[N, K]`` were, ``[K, N]``, and the gaps between them."""
    columns = pooled.T.copy()
    order = np.argsort(columns, axis=1, kind="stable")
    return order, np.diff(np.take_along_axis(columns, order, axis=1), axis=1)


def _steps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the steps of F_x - F_y at each row, whole numbers, and their unit's inverse.

    Samples are marked along the first axis. Where the two agree steps sum to zero, without
    rounding.
    """
    n, m = (int(np.count_nonzero(marks.T.reshape(-1, len(marks))[0])) for marks in (first, second))
    unit = math.lcm(n, m)
    return unit // n * first.astype(np.int64) - unit // m * second.astype(np.int64), unit


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
        "mean W1 of pixels along 512 fixed directions; p by permutation, error by halves",
    ),
)
