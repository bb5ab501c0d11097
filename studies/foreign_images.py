"""Lay our simulated images beside images in MeV from another simulation.

    python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py --workdir=data/mev \\
        --config.simulation.num_train=2000 --config.simulation.num_test=0 \\
        --config.simulation.write_mev=True --config.simulation.crop=random_lit_pixel \\
        --config.simulation.diffusion_scale=0.0 --config.simulation.cell_mm=0.25 \\
        --config.simulation.threshold_mev=0.01 --config.simulation.min_lit_fraction=0.005 \\
        --config.simulation.volume_pixels=256
    python -m studies.foreign_images --ours=data/mev --theirs=PATH.npz --out=docs/foreign_images

Theirs is an ``.npz`` file with ``images`` ``[N, H, W]`` in MeV and ``em_energy_fraction`` ``[N]``,
the share of the energy that electrons and photons left. Ours is a data set simulated with
``write_mev``. Both are cut at one threshold and split at one half of that share.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from absl import app, flags

from evaluation.metrics.physics import (
    axis_angle_deg,
    charge_per_lit_pixel,
    lit_pixels,
    nearest_neighbours,
    occupancy,
    track_shapes,
)
from sgm_jax.simulation.truth import PixelClass
from studies.foreign_report import draw, render

_MIN_LIT = 20  # pixels: crops with fewer are left out of both sets


@dataclass(frozen=True)
class Sample:
    """Images in MeV and which of them are tracks."""

    images_mev: np.ndarray  # [n, H, W]
    is_track: np.ndarray  # [n]

    def above(self, threshold_mev: float, min_lit: int) -> "Sample":
        """Return the sample with dimmer pixels emptied and emptier images left out."""
        images = np.where(self.images_mev >= threshold_mev, self.images_mev, 0.0)
        kept = lit_pixels(images) >= min_lit
        return Sample(images[kept], self.is_track[kept])


def read_ours(folder: Path) -> Sample:
    """Read the training split of a simulated data set.

    Raises:
        FileNotFoundError: if there is no label file.
        ValueError: if the set was simulated without ``write_mev``.
    """
    path = folder / "labels.h5"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: simulate a data set into {folder} first")
    with h5py.File(path) as labels:
        if "image_mev" not in labels["train"]:
            raise ValueError(
                f"{path} holds no images in MeV: simulate with --config.simulation.write_mev=True"
            )
        images, label = labels["train/image_mev"][:], labels["train/pixel_label"][:]
    electromagnetic = (label != PixelClass.BACKGROUND) & (label != PixelClass.TRACK)
    energy = np.maximum(images.sum(axis=(1, 2)), np.finfo(np.float32).tiny)
    return Sample(images, (images * electromagnetic).sum(axis=(1, 2)) / energy < 0.5)


def read_theirs(path: Path) -> Sample:
    """Read foreign images in MeV.

    Raises:
        FileNotFoundError: if the file is not there.
        ValueError: if one of the two arrays is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found")
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"images", "em_energy_fraction"} - set(arrays)
        if missing:
            raise ValueError(f"{path} has no {sorted(missing)}, only {sorted(arrays)}")
        return Sample(arrays["images"], arrays["em_energy_fraction"] < 0.5)


def steps_along(image_mev: np.ndarray) -> np.ndarray:
    """Return the energy of an image of one straight track in each column it crosses, by the median.

    Of each row, if it crosses more rows. A column cuts out one and the same length of a straight
    track all along it, so that without fluctuations all steps are one. The ends, two columns each,
    are left out.
    """
    rows, columns = (np.flatnonzero(image_mev.any(axis=axis)) for axis in (1, 0))
    axis, crossed = (0, columns) if len(columns) >= len(rows) else (1, rows)
    energy = image_mev.sum(axis=axis, dtype=np.float64)[crossed[2:-2]]
    return energy / np.median(energy) if energy.size else energy


def repeated_share(images_mev: np.ndarray) -> np.ndarray:
    """Return the share ``[n]`` of lit pixels whose value, to six digits, occurs twice in the image.

    Geometry repeats along a straight line, fluctuations do not: this finds uniform energy loss.
    """
    shares = []
    for image in images_mev:
        lit = image[image > 0].astype(np.float64)
        value = np.round(np.log(lit), 6)
        _, inverse, counts = np.unique(value, return_inverse=True, return_counts=True)
        shares.append((counts[inverse] > 1).mean() if lit.size else 0.0)
    return np.array(shares)


def observe(sample: Sample) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Measure a sample.

    Returns:
        For each observable an array of one value for an image, a pixel or a step; and the steps
        along one straight track, one that crosses most columns, as an example.
    """
    images, track = sample.images_mev, sample.is_track
    shapes = track_shapes(images)
    straight = track & (shapes.width_px <= 2) & (shapes.length_px > 45) & (shapes.clusters == 1)
    steps = [np.zeros(0), *(steps_along(image) for image in images[straight])]
    angle = np.abs(axis_angle_deg(images[track]))
    observed = {
        "occupancy of tracks": occupancy(images[track]),
        "occupancy of showers": occupancy(images[~track]),
        "charge per lit pixel, tracks (MeV)": charge_per_lit_pixel(images[track]),
        "pixel charge, tracks (MeV)": images[track][images[track] > 0],
        "track length (px)": shapes.length_px[track],
        "track width (px)": shapes.width_px[track],
        "clusters in a track image": shapes.clusters[track].astype(float),
        "angle of tracks to the pixel rows (deg)": angle[np.isfinite(angle)],
        "steps of straight tracks / median": np.concatenate(steps),
        "repeated pixel values, straight tracks": repeated_share(images[straight]),
    }
    return observed, max(steps, key=len)


def neighbour_distances(ours: Sample, theirs: Sample) -> dict[str, np.ndarray]:
    """Return distances in MeV to the nearest image of the own and the other set, of equal sizes."""
    count = min(len(ours.images_mev), len(theirs.images_mev)) // 2
    rng = np.random.default_rng(0)
    halves = {}
    for name, sample in (("ours", ours), ("theirs", theirs)):
        order = rng.permutation(len(sample.images_mev))
        halves[name] = sample.images_mev[order[:count]], sample.images_mev[order[count : 2 * count]]
    pairs = {(a, b): (halves[a][0], halves[b][1]) for a in halves for b in halves}
    return {f"{a} to {b}": nearest_neighbours(*pair)[0][:, 0] for (a, b), pair in pairs.items()}


def compare(ours: Sample, theirs: Sample, out: Path) -> dict:
    """Measure both samples and write ``report.md``, ``comparison.json`` and a figure to ``out``."""
    measured = {"ours": observe(ours), "theirs": observe(theirs)}
    seen = {name: observed for name, (observed, _) in measured.items()}
    examples = {name: steps for name, (_, steps) in measured.items()}
    distances = neighbour_distances(ours, theirs)
    numbers = {
        "samples": {
            name: {"images": len(s.images_mev), "tracks": int(s.is_track.sum())}
            for name, s in (("ours", ours), ("theirs", theirs))
        },
        "observables": {
            key: {name: summarise(observed[key]) for name, observed in seen.items()}
            for key in seen["ours"]
        },
        "neighbours": {name: summarise(values) for name, values in distances.items()},
        "shares": {name: _shares(observed) for name, observed in seen.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "comparison.json").write_text(json.dumps(numbers, indent=1) + "\n")
    draw(seen, distances, examples).savefig(out / "comparison.png", dpi=70)
    (out / "report.md").write_text(render(numbers))
    return numbers


def summarise(values: np.ndarray) -> dict:
    """Return number, mean, error of the mean and quartiles of some values."""
    if not values.size:
        return {"n": 0, "mean": None, "error": None, "quartiles": None}
    return {
        "n": int(values.size),
        "mean": float(values.mean()),
        "error": float(values.std() / np.sqrt(values.size)),
        "quartiles": [float(q) for q in np.percentile(values, [25, 50, 75])],
    }


def _shares(observed: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Return how often some observables lie in a range that tells the samples apart."""
    steps = observed["steps of straight tracks / median"]
    pixels = observed["pixel charge, tracks (MeV)"]
    clusters = observed["clusters in a track image"]
    inside = {
        "steps of straight tracks within 2 % of the median": np.abs(steps - 1.0) < 0.02,
        "steps of straight tracks above 1.5 of the median": steps > 1.5,
        "pixels of track images below 0.1 MeV": pixels < 0.1,
        "track images with more than one cluster": clusters > 1,
    }
    return {name: float(hits.mean()) if hits.size else None for name, hits in inside.items()}


def define_flags() -> None:
    """Define the settings of the command line."""
    flags.DEFINE_string("ours", None, "folder of a data set simulated with write_mev")
    flags.DEFINE_string("theirs", None, ".npz file with images and em_energy_fraction")
    flags.DEFINE_string("out", "docs/foreign_images", "folder of the report")
    flags.DEFINE_float("threshold_mev", 0.01, "pixels below it are empty in both sets")
    flags.mark_flags_as_required(["ours", "theirs"])


def main(argv: list[str]) -> None:
    """Compare with the settings of the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments {argv[1:]}: every setting is a --flag")
    given = flags.FLAGS
    ours, theirs = (
        sample.above(given.threshold_mev, _MIN_LIT)
        for sample in (read_ours(Path(given.ours)), read_theirs(Path(given.theirs)))
    )
    compare(ours, theirs, Path(given.out))
    print(f"wrote {given.out}/report.md")


if __name__ == "__main__":
    define_flags()
    app.run(main)
