"""How good a set of drawn images is: five numbers, each with its error and its floor.

The floor is what as many other real images get. A number above the floor of 0 means: as good as
real images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Quality = dict[str, dict[str, float]]  # name -> value above the floor, stderr, floor


@dataclass(frozen=True)
class Column:
    """How a number is shown; ``decides`` says whether it counts in :func:`is_worse`."""

    title: str
    digits: int
    factor: float = 1.0
    decides: bool = True


COLUMNS = {
    "physics": Column("physics chi2 per 1000 images", 0),
    "fid/full": Column("FID", 1),
    "mmd/unbiased": Column("MMD² (x 1000)", 2, 1000.0),
    "lit_share": Column("lit pixels (%)", 2, 100.0),
    # Noise below one grey level rounds to zero, so it is shown and does not decide.
    "dark_rms": Column("noise of dark pixels", 3, decides=False),
}
WITHIN = 2.0  # combined standard errors


class Judge:
    """Real images to compare with; what is computed is kept in a folder."""

    def __init__(self, real: str, train: str, *, count: int, folder: Path, scaling: str = "none"):
        """Read ``count`` held-out images, and as many others for the floor, and label them.

        Args:
            real: held-out images, anything that :func:`sgm_jax.data.open_images` reads.
            train: training images, for the floor.
            count: the largest number of images of a set.
            folder: keeps results; a repeated call reads them back.
            scaling: of both to 0..255, as in training.

        Raises:
            FileNotFoundError: if there are no such images.
            ValueError: if there are fewer than ``count``.
        """
        # Imported here because they import jax, which reads the environment that run sets.
        from evaluation.images.segments import segmenter
        from evaluation.images.sets import FAINT, load
        from evaluation.ssnet.weights import open_weights
        from sgm_jax.run.parts import open_parts

        weights = open_weights(None)
        segment = segmenter(weights, features=True)
        # Results with other weights of SSNet are not reused.
        self._folder = folder / f"ssnet_{weights.sha256[:12]}"
        sets = {}
        for role, path in (("test", real), ("train", train)):
            # Cut as drawn images are, which would have fewer lit pixels for that alone.
            images = load(path, role, limit=count, seed=0, scaling=scaling, threshold=FAINT)
            if len(images) < count:
                raise ValueError(
                    f"--config.data.{role}_path={path} holds {len(images)} images, and sets of "
                    f"{count} are compared; lower --num_samples or give more images"
                )
            recipe = {"images": images.facts["hash_of_used"], "ssnet": weights.sha256}
            kept = self._folder / "real" / recipe["images"]
            with open_parts(kept, recipe, fix="choose another --out") as parts:
                sets[role] = images.labelled(segment(images.images, role, parts))
        self.real, self._train = sets["test"], sets["train"]

    def __call__(self, samples: Path) -> Quality:
        """Return the quality of the images in ``samples``, a folder that ``sample`` returned."""
        from evaluation import evaluate
        from evaluation.images.sets import FAINT, load
        from evaluation.metrics.budget import Budget

        stack = samples / "samples.npz"
        drawn = load(f"{stack}::samples", "drawn", limit=None, seed=0, threshold=FAINT)
        if len(drawn) > len(self.real):  # an earlier sweep has drawn more
            drawn = drawn.take(np.arange(len(self.real)))
        # As many of each: a distance between few images has another bias than one between many.
        real, train = (images.take(np.arange(len(drawn))) for images in (self.real, self._train))
        sets = [images.facts["hash_of_used"] for images in (drawn, self.real, self._train)]
        report = evaluate(
            real,
            {"drawn": drawn},
            train=train,
            metrics=["physics", "mmd/unbiased", "fid/direct"],
            budget=Budget(None, None, None, 1_000, 1_000, 20, at_once=2),
            work=self._folder.joinpath(*sets),
        )
        return from_results(report.results) | _background(stack, drawn.images, real.images)


def from_results(results: list[Any]) -> Quality:
    """Return physics, FID and MMD² from the evaluator's results for one set."""
    by_name = {result.metric: result for result in results if result.status == "ok"}
    chi2 = [
        result
        for name, result in by_name.items()
        if name.startswith("physics/all/") and name.endswith("chi2_two_sample")
    ]
    numbers = {}
    if chi2:
        scale = 1000.0 / chi2[0].n
        floor = sum(result.floor for result in chi2)
        above = sum(result.value for result in chi2) - floor
        error = sum(result.stderr**2 for result in chi2) ** 0.5
        numbers["physics"] = _number(scale * above, scale * error, scale * floor)
    for name in ("fid/full", "mmd/unbiased"):
        result = by_name.get(name)
        if result is not None and None not in (result.stderr, result.floor):
            numbers[name] = _number(result.value - result.floor, result.stderr, result.floor)
    return numbers


def mean_of(qualities: list[Quality]) -> Quality:
    """Return the means over several seeds.

    The error is the larger of two: that of the evaluator, and that of the spread over the seeds,
    which two or three seeds do not know well.
    """
    means = {}
    for name in qualities[0]:
        numbers = [quality[name] for quality in qualities if name in quality]
        if len(numbers) < len(qualities):
            continue
        values, errors, floors = (
            np.array([number[key] for number in numbers]) for key in ("value", "stderr", "floor")
        )
        error = np.sqrt((errors**2).mean() / len(values))
        if len(values) > 1:
            error = max(error, values.std(ddof=1) / np.sqrt(len(values)))
        means[name] = _number(values.mean(), error, floors.mean())
    return means


def is_worse(ours: Quality, reference: Quality) -> bool:
    """Tell whether a number that decides is further from 0 than the reference's.

    Further means: by more than ``WITHIN`` combined standard errors. A number that only the
    reference has makes the others worse.
    """
    for name, column in COLUMNS.items():
        if not column.decides or name not in reference:
            continue
        if name not in ours:
            return True
        further = abs(ours[name]["value"]) - abs(reference[name]["value"])
        if further > WITHIN * np.hypot(ours[name]["stderr"], reference[name]["stderr"]):
            return True
    return False


def cells(quality: Quality) -> list[str]:
    """Return the numbers as cells of a table, in the order of ``COLUMNS``."""

    def text(name: str, column: Column) -> str:
        if name not in quality:
            return "-"
        value, stderr = (column.factor * quality[name][key] for key in ("value", "stderr"))
        return f"{value:.{column.digits}f} ± {stderr:.{column.digits}f}"

    return [text(name, column) for name, column in COLUMNS.items()]


def _background(stack: Path, images: np.ndarray, real: np.ndarray) -> Quality:
    """Return the share of lit pixels and the noise of the others."""
    from evaluation.images.sets import FAINT

    shares = [(pixels > 0).mean(axis=(1, 2)) for pixels in (images, real)]
    error = sum(share.var(ddof=1) / len(share) for share in shares) ** 0.5
    with np.load(stack) as arrays:
        raw = arrays["raw"]
    noise = np.sqrt(np.square(np.where(raw <= FAINT, raw, 0.0)).mean(axis=(1, 2, 3)))
    lit, real_lit = (share.mean() for share in shares)
    return {
        "lit_share": _number(lit - real_lit, error, real_lit),
        "dark_rms": _number(noise.mean(), noise.std(ddof=1) / len(noise) ** 0.5, 0.0),
    }


def _number(value: float, stderr: float, floor: float) -> dict[str, float]:
    return {"value": float(value), "stderr": float(stderr), "floor": float(floor)}
