"""Where a drawn track leaves its image, and what is left of the particle there.

Two estimates of the energy left are at hand, and the smaller one is taken. The range says what is
left of a particle that has lost energy by ionisation alone on the straight way to the border. The
charge says what this very track has not left yet: it knows of an interaction that took more, but
not of the charge in pixels below the threshold (a tenth, of a muon in pixels of 10 mm), nor of what
recombines. In the simulation the two agree, for muons that leave after 32 cm and more, to 7 MeV.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sgm_jax.data.condition import DOWN, RIGHT, SIGHT
from sgm_jax.simulation.validate.theory import csda_range_cm, kinetic_after

# A track belongs together over as many dark pixels.
_GAP_PX = 2
# It has left the image if it ends so near to a side: its last lit pixel may be the one before.
_BAND_PX = 2
# It goes on, and is not another particle's, if it leaves within 45 degrees of where it went.
_FORWARD = np.cos(np.pi / 4)
# The direction at its end is that of so many pixels.
_LAST_PX = 16.0


@dataclass(frozen=True)
class Leaving:
    """A track that goes on beyond an image.

    Attributes:
        kept: the image ``[H, W]`` without what is drawn again.
        start: row and column of the pixel in which the next image begins.
        momentum: there, in MeV/c ``[3]``.
    """

    kept: np.ndarray
    start: tuple[int, int]
    momentum: np.ndarray


def kinetic_of(momentum: float, mass_mev: float) -> float:
    """Return the kinetic energy in MeV of a momentum in MeV/c."""
    return float(np.hypot(momentum, mass_mev) - mass_mev)


def momentum_of(kinetic_mev: float, mass_mev: float) -> float:
    """Return the momentum in MeV/c of a kinetic energy in MeV."""
    return float(np.sqrt(kinetic_mev * (kinetic_mev + 2 * mass_mev)))


def reaches_border(image_mev: np.ndarray, *, lit_mev: float) -> bool:
    """Tell whether charge lies at a side of an image ``[H, W]``, so that some may be beyond it."""
    inner = image_mev[1:-1, 1:-1]
    return bool((image_mev > lit_mev).sum() > (inner > lit_mev).sum())


def leaving(
    image_mev: np.ndarray,
    momentum: np.ndarray,
    *,
    mass_mev: float,
    least: float,
    lit_mev: float,
    pixel_mm: float,
) -> Leaving | None:
    """Return how a track goes on that began in the middle of an image; None if it does not.

    Its end is its foremost pixel. If less than the `least` momentum would be left there, the last
    part of the image is drawn again, from where that much was left. The component along the line
    of sight keeps its share.

    Args:
        image_mev: charge ``[H, W]`` of one particle.
        momentum: that it began with, in MeV/c ``[3]``.
        mass_mev: of the particle.
        least: momentum that an image can be drawn of.
        lit_mev: charge above which a pixel is part of a track.
        pixel_mm: side of a pixel.
    """
    size = float(np.linalg.norm(momentum))
    in_plane = float(np.linalg.norm(momentum[[DOWN, RIGHT]]))
    kinetic = kinetic_of(size, mass_mev)
    pixels = _track(image_mev > lit_mev)
    if not in_plane or image_mev.sum() >= kinetic or not len(pixels):
        return None
    asked = momentum[[DOWN, RIGHT]] / in_plane
    middle = np.array(image_mev.shape) // 2
    ahead = (pixels - middle) @ asked
    last, end = float(ahead.max()), pixels[ahead.argmax()]
    to_side = min(*end, *(np.array(image_mev.shape) - 1 - end))
    if to_side >= _BAND_PX or last < _FORWARD * np.linalg.norm(end - middle):
        return None
    path_cm = 0.1 * pixel_mm * size / in_plane  # of a step of one pixel in the image

    def left_after(kept: np.ndarray, last: float) -> float:
        by_range = _left_by_range(kinetic, mass_mev, last * path_cm)
        return min(kinetic - float(kept.sum()), by_range)

    kept, left = image_mev, left_after(image_mev, last)
    least_mev = min(kinetic_of(least, mass_mev), kinetic)
    if left < least_mev:
        until_cm = csda_range_cm(kinetic, mass_mev) - csda_range_cm(least_mev, mass_mev)
        kept, last = _until(image_mev, asked, until_cm / path_cm, kinetic - least_mev)
        left = max(left_after(kept, last), least_mev)
    near = (ahead <= last) & (ahead > last - _LAST_PX)
    if last < 1 or near.sum() < 2:
        return None
    pixels, ahead, charge = pixels[near], ahead[near], image_mev[tuple(pixels[near].T)]
    direction = _turned(pixels, charge, asked)
    tip = ahead > ahead.max() - 2
    place = np.average(pixels[tip], axis=0, weights=charge[tip])
    # One step beyond the last pixel, which has its charge already.
    place = place + (ahead.max() + 1 - (place - middle) @ asked) * direction
    start = np.floor(place + 0.5).astype(int)
    after = np.empty(3)
    after[SIGHT] = momentum[SIGHT] / size
    after[[DOWN, RIGHT]] = in_plane / size * direction
    return Leaving(kept, (int(start[0]), int(start[1])), momentum_of(left, mass_mev) * after)


def _left_by_range(kinetic_mev: float, mass_mev: float, path_cm: float) -> float:
    """Return the kinetic energy that the mean loss leaves after a path, 0 beyond the range."""
    try:
        return float(kinetic_after(kinetic_mev, mass_mev, np.array(path_cm)))
    except ValueError:
        return 0.0


def _track(lit: np.ndarray) -> np.ndarray:
    """Return the pixels ``[n, 2]`` of what hangs together with the middle of an image."""
    wide = ndimage.binary_dilation(lit, np.ones((_GAP_PX + 1, _GAP_PX + 1)))
    parts, _ = ndimage.label(wide, np.ones((3, 3)))
    number = parts[lit.shape[0] // 2, lit.shape[1] // 2]
    return np.argwhere(lit & (parts == number)) if number else np.empty((0, 2), int)


def _until(
    image_mev: np.ndarray, direction: np.ndarray, most_px: float, most_mev: float
) -> tuple[np.ndarray, float]:
    """Return an image without what lies further ahead than this, or after this much charge."""
    row, column = np.indices(image_mev.shape)
    middle = np.array(image_mev.shape) // 2
    ahead = (row - middle[0]) * direction[0] + (column - middle[1]) * direction[1]
    order = np.argsort(ahead, axis=None, kind="stable")
    after = np.flatnonzero(np.cumsum(image_mev.ravel()[order]) > most_mev)
    if after.size:
        most_px = min(most_px, float(ahead.ravel()[order[after[0]]]) - 1)
    return np.where(ahead <= most_px, image_mev, 0), most_px


def _turned(pixels: np.ndarray, charge: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the direction of pixels ``[n, 2]``, that of their largest spread, forward."""
    offset = pixels - np.average(pixels, axis=0, weights=charge)
    _, axes = np.linalg.eigh((offset * charge[:, None]).T @ offset)
    along = axes[:, 1]
    cosine = float(along @ direction)
    return np.sign(cosine) * along if abs(cosine) > _FORWARD else direction
