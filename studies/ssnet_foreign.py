"""SSNet on images that its training knows nothing of: larger ones, and another simulation's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from evaluation.metrics.physics import track_shapes
from evaluation.ssnet.scores import ScoreFn
from sgm_jax.data.images import stretch_per_image
from studies.ssnet_numbers import LEAST_LIT, Split, agreement, bins, quality, ratio
from studies.ssnet_tally import RULES, Found, Labelled, Tally, scored, tally, votes_of

# Heights and widths of windows that are cut from larger images; 100 x 90 is no multiple of 16.
WINDOWS = ((64, 64), (100, 90), (192, 160))
TRACK_BELOW, SHOWER_ABOVE = 0.1, 0.9  # electromagnetic share of the energy
TARGET = 0.90
_LIT_EDGES, _LINE_PX = (30, 60, 120), 5
# Of the images that SSNet learns from; diffusion over half of the longest drift.
_THRESHOLD_MEV, _DIFFUSION_PX = 0.03, 0.4


def larger_images(data: Labelled, score: ScoreFn) -> dict[str, dict]:
    """Return the numbers on whole images and on windows in their middle, by size.

    The truth of a window is that of its own pixels. ``same labels`` is the share of its lit pixels
    that the network calls the same in the whole image.
    """
    table, whole = tally(data, score)
    height, width = data.codes.shape[1:]
    sizes = [size for size in WINDOWS if np.all(np.less(size, (height, width)))]
    numbers = {
        f"{rows}x{columns}": _window(data, score, whole, (rows, columns)) for rows, columns in sizes
    }
    return numbers | {f"{height}x{width}": _numbers(table, table.lit)}


def _window(data: Labelled, score: ScoreFn, whole: Found, size: tuple[int, int]) -> dict:
    part = data.window(*size)
    table, found = tally(part, score)
    top, left = ((a - b) // 2 for a, b in zip(data.codes.shape[1:], size, strict=True))
    in_whole = whole.prediction[:, top : top + size[0], left : left + size[1]]
    same = (found.prediction == in_whole) & (part.codes > 0)
    return _numbers(table, same.sum(axis=(1, 2)))


def _numbers(table: Tally, same: np.ndarray) -> dict:
    kept = table.lit >= LEAST_LIT
    rows = {"images": int(kept.sum()), "same labels": ratio(same, table.lit, table.event)}
    return rows | quality(table.take(kept))


@dataclass(frozen=True)
class Foreign:
    """Images in MeV of another simulation, of one kind each."""

    images_mev: np.ndarray  # [n, H, W]
    is_track: np.ndarray  # [n]
    event: np.ndarray  # [n]


def read_foreign(path: Path) -> Foreign:
    """Read those images whose energy is nearly all from tracks or nearly all from showers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it lacks ``images``, ``em_energy_fraction`` or ``event``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found")
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"images", "em_energy_fraction", "event"} - set(arrays)
        if missing:
            raise ValueError(f"{path} has no {sorted(missing)}, only {sorted(arrays)}")
        share, event, images = (arrays[k] for k in ("em_energy_fraction", "event", "images"))
    kept = (share < TRACK_BELOW) | (share > SHOWER_ABOVE)
    return Foreign(images[kept], share[kept] < TRACK_BELOW, event[kept])


def prepared(foreign: Foreign) -> dict[str, np.ndarray]:
    """Return the images on 0..255: as they are, then with more of what our own went through."""
    smeared = gaussian_filter(foreign.images_mev, (0.0, _DIFFUSION_PX, _DIFFUSION_PX))
    return {
        "as they are": stretch_per_image(foreign.images_mev),
        "cut and rounded": _cut_and_rounded(foreign.images_mev),
        f"smeared by {_DIFFUSION_PX} px, cut and rounded": _cut_and_rounded(smeared),
    }


def _cut_and_rounded(images_mev: np.ndarray) -> np.ndarray:
    kept = np.where(images_mev > _THRESHOLD_MEV, images_mev, 0.0)
    return np.rint(stretch_per_image(kept))


def foreign_images(foreign: Foreign, score: ScoreFn) -> tuple[dict, np.ndarray]:
    """Return agreement with the kind of the images, by preparation, rule and number of lit pixels.

    Returns:
        The numbers, and which images ``[n]`` get the wrong label as they are, by all pixels.
    """
    numbers, wrong = {}, []
    for name, images in prepared(foreign).items():
        lit = images > 0
        votes = np.concatenate(
            [votes_of(found.scores, lit[rows]) for rows, found in scored(images, score)]
        )
        parts = _parts(images)
        numbers[name] = {}
        for rule, (track, shower) in zip(RULES, votes.transpose(1, 2, 0), strict=True):
            called = track > shower
            numbers[name][rule] = {
                part: _agreement(called, foreign, chosen, rule) for part, chosen in parts.items()
            }
            wrong.append(called != foreign.is_track)
    return numbers, wrong[0]


def _parts(images: np.ndarray) -> Split:
    """Return which images have so many lit pixels, and which show one line, several, or wide ones.

    The largest cluster is wide where a shower spreads, and where tracks cross.
    """
    lit, shapes = (images > 0).sum(axis=(1, 2)), track_shapes(images)
    wide, several = shapes.width_px > _LINE_PX, shapes.clusters > 1
    return (
        {"all": lit >= 0, f"at least {LEAST_LIT} lit pixels": lit >= LEAST_LIT}
        | {f"{name} lit pixels": chosen for name, chosen in bins(lit, list(_LIT_EDGES)).items()}
        | {
            f"one cluster, at most {_LINE_PX} px wide": ~wide & ~several,
            f"several, the largest at most {_LINE_PX} px wide": ~wide & several,
            f"the largest cluster wider than {_LINE_PX} px": wide,
        }
    )


def _agreement(called: np.ndarray, foreign: Foreign, chosen: np.ndarray, rule: str) -> dict:
    is_track, event = foreign.is_track[chosen], foreign.event[chosen]
    rows = agreement(called[chosen], is_track, event, rule=rule)
    return {"images": int(chosen.sum())} | {
        name.partition(",")[0]: value for name, value in rows.items()
    }


def majority_share(foreign: Foreign) -> float:
    """Return how many images a label that is always the same would get right."""
    return float(max(foreign.is_track.mean(), 1.0 - foreign.is_track.mean()))
