"""A few numbers by which a set of drawn images is judged, each above the floor of real ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Quality = dict[str, dict[str, float]]

# How each number is called and written, in the order of a table's columns.
NUMBERS = {
    "physics": ("physics chi2 above floor, per 1000 images", "{:.0f} ± {:.0f}"),
    "fid/full": ("FID above floor", "{:.1f} ± {:.1f}"),
    "mmd/unbiased": ("MMD² above floor (x 1000)", "{:.2f} ± {:.2f}"),
    "lit_share": ("lit pixels above real (%)", "{:.2f} ± {:.2f}"),
    "dark_rms": ("noise of dark pixels", "{:.3f} ± {:.3f}"),
}
FACTORS = {"mmd/unbiased": 1000.0, "lit_share": 100.0}
# Noise below a grey level rounds to nothing: it is shown and does not judge.
JUDGES = ("physics", "fid/full", "mmd/unbiased", "lit_share")
WITHIN = 2.0  # combined standard errors
MEANING = (
    "Sets of drawn images against held-out real ones. Numbers are above the floor, what as many "
    "other real images get, so that 0 is as good as real: the sum of the two-sample chi2 of the "
    "observables, for 1000 images of a set (what a difference adds to it grows with their number; "
    "its error as if they did not depend on one another), the FID of SSNet's "
    "features, unbiased MMD² of pixels, and the share of lit pixels. Noise of dark pixels is the "
    "root mean square of what the paper's post-processing removes, on the scale 0..255."
)


@dataclass(frozen=True, eq=False)
class Judge:
    """Real images to compare with, and where what is done is kept."""

    real: Any
    train: Any
    segment: Callable[[Any, Path], Any]
    work: Path
    seed: int

    def __call__(self, name: str, samples: Path) -> Quality:
        """Return the quality of the images in ``samples``, a folder that ``sample`` returned."""
        from evaluation.images.sets import load, pair
        from evaluation.metrics import observables
        from evaluation.metrics.budget import BUDGETS
        from evaluation.metrics.measuring import measured
        from evaluation.metrics.run import compute

        stack = samples / "samples.npz"
        one = load(f"{stack}::samples", name, limit=None, seed=self.seed)
        work = self.work / "compared" / f"{name}_{one.facts['hash_of_used']}"
        one = measured(one, observables.measure, work / "observables.npz")
        one = self.segment(one, work)
        # As many of each: a distance of few images has another bias than one of many.
        real, train = (other.take(np.arange(len(one))) for other in (self.real, self.train))
        laid = pair(real, one, train, seed=self.seed)
        metrics = [f"physics/{key}" for key in observables.EDGES] + ["mmd/unbiased", "fid/direct"]
        rows = compute([laid], metrics, BUDGETS["small"], seed=self.seed, folder=work / "rows")
        return quality(rows, len(one)) | _background(stack, one.images, real.images)


def open_judge(real: str, train: str, *, count: int, work: Path, seed: int) -> Judge:
    """Return the judge of sets of at most ``count`` images.

    Raises:
        FileNotFoundError: if there are no such images.
        ValueError: if there are fewer.
    """
    from evaluation.images.sets import load
    from evaluation.metrics import observables
    from evaluation.metrics.measuring import measured, segmenter
    from evaluation.ssnet.weights import open_weights

    weights, sets = open_weights(None), []
    segment = segmenter(weights, features=True)
    # What was kept with other weights does not stand in for these.
    work = work / f"ssnet_{weights.sha256[:12]}"
    for role, path in (("real", real), ("train", train)):
        one = load(path, role, limit=count, seed=seed)
        if len(one) < count:
            raise ValueError(f"--{role} {path}: {len(one)} images, and sets of {count} are judged")
        folder = work / "real" / f"{role}_{one.facts['hash_of_used']}"
        sets.append(segment(measured(one, observables.measure, folder / "o.npz"), folder))
    return Judge(*sets, segment, work, seed)


def quality(rows: list[dict[str, Any]], count: int) -> Quality:
    """Return the numbers in the evaluator's rows of ``count`` images; see `MEANING`."""
    by_name = {row["metric"]: row for row in rows if row["status"] == "ok"}
    chi2 = [
        row
        for name, row in by_name.items()
        if name.startswith("physics/all/") and name.endswith("chi2_two_sample")
    ]
    above = sum(row["value"] - row["floor"] for row in chi2)
    error = sum(row["stderr"] ** 2 for row in chi2) ** 0.5
    found = {"physics": _number(1000.0 * above / count, 1000.0 * error / count)}
    for name in ("fid/full", "mmd/unbiased"):
        if name in by_name:
            row = by_name[name]
            found[name] = _number(row["value"] - row["floor"], row["stderr"])
    return found


def is_equal(ours: Quality, theirs: Quality) -> bool:
    """Tell whether nothing that judges is further from 0 than theirs, within two errors."""
    for name in JUDGES:
        if name not in ours or name not in theirs:
            return False
        far, near = (abs(one[name]["value"]) for one in (ours, theirs))
        if far - near > WITHIN * np.hypot(ours[name]["stderr"], theirs[name]["stderr"]):
            return False
    return True


def cells(found: Quality) -> list[str]:
    """Return the numbers as a row of a table, in the order of `NUMBERS`."""
    texts = []
    for name, (_, form) in NUMBERS.items():
        factor = FACTORS.get(name, 1.0)
        one = found.get(name)
        texts.append("-" if one is None else form.format(*(factor * v for v in one.values())))
    return texts


def _background(stack: Path, images: np.ndarray, real: np.ndarray) -> Quality:
    from evaluation.images.sets import FAINT

    shares = [(one > 0).mean(axis=(1, 2)) for one in (images, real)]
    error = sum(share.var(ddof=1) / len(share) for share in shares) ** 0.5
    with np.load(stack) as arrays:
        raw = arrays["raw"]
    noise = np.sqrt(np.square(np.where(raw <= FAINT, raw, 0.0)).mean(axis=(1, 2, 3)))
    return {
        "lit_share": _number(shares[0].mean() - shares[1].mean(), error),
        "dark_rms": _number(noise.mean(), noise.std(ddof=1) / len(noise) ** 0.5),
    }


def _number(value: float, stderr: float) -> dict[str, float]:
    return {"value": float(value), "stderr": float(stderr)}
