"""What the evaluator's expensive metrics cost, each beside a well-known way to compute the same.

Both ways run one after the other in one fresh process, on the same toy images. geomloss is measured
if it is installed (it needs PyTorch).
"""

import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import ot
import scipy.linalg

from evaluation.metrics import distances, fid, mmd, sinkhorn, wasserstein
from launch.benchmark.measurement import Comparison

IMAGE_SIZE = 64
MMD_IMAGES, W1_IMAGES, SINKHORN_IMAGES, FEATURES = 10_000, 4_000, 2_000, 2_048


def toy_images(count: int, *, seed: int) -> np.ndarray:
    """Return straight tracks of fluctuating charge, float32 ``[count, 64 * 64]`` on 0..255."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, IMAGE_SIZE, (count, 2, 1))
    angle = rng.uniform(0, 2 * np.pi, (count, 1))
    length = rng.uniform(10, IMAGE_SIZE, (count, 1))
    along = np.linspace(0, 1, 2 * IMAGE_SIZE) * length
    heading = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pixels = np.floor(start + heading * along[:, None, :]).astype(int) % IMAGE_SIZE
    images = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    charge = np.clip(rng.gamma(4.0, 30.0, pixels[:, 0].shape), 1, 255).astype(np.uint8)
    images[np.arange(count)[:, None], pixels[:, 0], pixels[:, 1]] = charge
    return images.reshape(count, -1)


def two_sets(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of toy images of one distribution."""
    return toy_images(count, seed=1), toy_images(count, seed=2)


def compare_w1() -> Comparison:
    """Measure exact W1 against POT's own distances and ``emd2``."""
    x, y = two_sets(W1_IMAGES)
    return _compare(
        f"W1, {W1_IMAGES:,} x {W1_IMAGES:,}",
        lambda: wasserstein.exact_w1(x, y)[0],
        "POT emd2",
        lambda: ot.emd2([], [], ot.dist(x, y, "euclidean"), numItermax=10_000_000),
    )


def compare_sinkhorn() -> Comparison:
    """Measure the Sinkhorn divergence at eps 1 against geomloss, at a scaling that is as exact."""
    x, y = two_sets(SINKHORN_IMAGES)

    def ours() -> float:
        return sinkhorn.sinkhorn_divergence(x, y, p=1.0, eps=1.0)[0][0]

    ours()  # compiles
    theirs = None
    if importlib.util.find_spec("geomloss") is not None:
        import geomloss
        import torch

        loss = geomloss.SamplesLoss("sinkhorn", p=1, blur=1.0, scaling=0.97, backend="tensorized")

        def theirs() -> float:
            return loss(torch.from_numpy(x), torch.from_numpy(y)).item()

    what = f"Sinkhorn at eps 1, {SINKHORN_IMAGES:,} x {SINKHORN_IMAGES:,}"
    return _compare(what, ours, "geomloss", theirs)


def compare_fid() -> Comparison:
    """Measure the Frechet distance against the usual square root of a matrix by SciPy."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, FEATURES + 1) ** -0.5
    x, y = (rng.standard_normal((2 * FEATURES, FEATURES)) * scale for _ in range(2))

    def theirs() -> float:
        first, second = (np.cov(rows, rowvar=False) for rows in (x, y))
        root = scipy.linalg.sqrtm(first @ second).real
        shift = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2)
        return float(shift + np.trace(first + second - 2 * root))

    what = f"FID, {FEATURES:,} features"
    return _compare(what, lambda: fid.frechet_distance(x, y), "SciPy sqrtm", theirs)


def compare_mmd() -> Comparison:
    """Measure the published MMD against NumPy's three products of all images with all."""
    x, y = two_sets(MMD_IMAGES)
    mmd.mmd_paper(x[:2_000], y[:2_000], seed=0)  # compiles

    def products() -> None:
        for first, second in ((x, x), (x, y), (y, y)):
            for start in range(0, len(first), 1_000):
                first[start : start + 1_000] @ second.T

    what = f"MMD, {MMD_IMAGES:,} x {MMD_IMAGES:,}"
    return _compare(
        what, lambda: mmd.mmd_paper(x, y, seed=0).value, "matrix products alone", products
    )


def compare_distances() -> Comparison:
    """Measure all distances of two sets against POT's."""
    x, y = two_sets(W1_IMAGES)
    return _compare(
        f"squared distances, {W1_IMAGES:,} x {W1_IMAGES:,}",
        lambda: distances.squared_distances(x, y),
        "POT",
        lambda: ot.dist(x, y, "sqeuclidean"),
    )


COMPARISONS: dict[str, Callable[[], Comparison]] = {
    "distances": compare_distances,
    "w1": compare_w1,
    "sinkhorn": compare_sinkhorn,
    "fid": compare_fid,
    "mmd": compare_mmd,
}


def measure(name: str, repeats: int) -> Comparison:
    """Make a comparison once, in a process of its own, so that its peak memory is its own."""
    del repeats
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_with_memory, name).result()


def _with_memory(name: str) -> Comparison:
    return COMPARISONS[name]()._replace(
        peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    )


def _compare(
    what: str, ours: Callable[[], Any], other: str, theirs: Callable[[], Any] | None
) -> Comparison:
    """Time two ways to compute the same; of arrays, the mean is the value."""
    value, seconds = _timed(ours)
    comparison = Comparison(what, seconds, float(np.mean(value)), other)
    if theirs is None:
        return comparison
    value, seconds = _timed(theirs)
    value = None if value is None else float(np.mean(value))
    return comparison._replace(other_seconds=seconds, other_value=value)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``call`` returns and the processor seconds of all its threads."""
    start = time.process_time()
    value = call()
    return value, time.process_time() - start
