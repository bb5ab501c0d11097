"""Crops of the projections of an event: 8-bit images with their truth.

Each of the three projections of an event is one image, quantised to 8 bit over the whole
view. ``charge_centroid`` is the selection that made the published data set: the charge-weighted
centre of the view is truncated to a pixel, the crop is cut around that pixel, and it is kept if
the centre is more than half a crop from every side of the view. ``random_lit_pixel`` cuts anywhere
around a lit pixel instead, and ``start`` around the pixel of the vertex, so that what the particle
leaves does not move the crop. In any case enough of the crop's pixels must be lit.
"""

from dataclasses import dataclass

import ml_collections
import numpy as np

from sgm_jax.simulation.config import PER_IMAGE, RANDOM_LIT_PIXEL, START
from sgm_jax.simulation.drift import Charge
from sgm_jax.simulation.readout import View, render

NUM_PROJECTIONS = 3  # projection p looks along axis p (x, y, z); rows and columns are the others


@dataclass(frozen=True)
class Crop:
    """An image and the truth about it."""

    image: np.ndarray  # [size, size] uint8
    label: np.ndarray  # [size, size] uint8 PixelClass
    projection: int
    origin_px: tuple[int, int]  # row, column of the crop's corner in the view
    view_origin_px: tuple[int, int]  # of the view's corner on the grid of the cube
    counts_per_mev: float
    clipped: int  # pixels that read more than 255 counts
    crop_mev: float  # deposited in the lit pixels of the crop
    image_mev: np.ndarray | None  # [size, size] float32, if asked for


def quantise(view: View, config: ml_collections.ConfigDict) -> tuple[np.ndarray, float]:
    """Turn the lit pixels of a view into 8-bit counts, rounding to nearest.

    Returns:
        Counts ``[n]`` and counts per MeV: 255 over the range of the view (min-max scaling), or
        ``config.counts_per_mev`` with clipping at 255. A view with nothing in it has no counts.
    """
    mev = view.total_mev
    low, scale = 0.0, config.counts_per_mev
    if config.scaling == PER_IMAGE and mev.size:
        # The darkest pixel of a view is an empty one, unless the view has none.
        low = mev.min() if mev.size == view.size**2 else 0.0
        scale = 255.0 / max(mev.max() - low, np.finfo(float).tiny)
    counts = np.minimum(np.floor((mev - low) * scale + 0.5), 255.0)
    return counts.astype(np.uint8), float(scale)


def _clipped(mev: np.ndarray, config: ml_collections.ConfigDict) -> int:
    """Return how many pixels one scale for all images cuts at 255."""
    if config.scaling == PER_IMAGE:
        return 0
    return int(np.count_nonzero(np.floor(mev * config.counts_per_mev + 0.5) > 255.0))


def place_px(position_cm: np.ndarray, config: ml_collections.ConfigDict) -> np.ndarray:
    """Return where points ``[..., 3]`` lie on the pixel grid of the cube; pixel k is k to k + 1."""
    return 10.0 * position_cm / config.pixel_mm + 0.5 * config.volume_pixels


def charge_centre(view: View, counts: np.ndarray) -> tuple[int, int] | None:
    """Return the charge-weighted mean row and column, truncated; None without any charge."""
    total = counts.sum(dtype=np.float64)
    if total == 0.0:
        return None
    weight = counts.astype(np.float64)
    return int((weight * view.row).sum() / total), int((weight * view.column).sum() / total)


def random_corner(
    view: View, counts: np.ndarray, image_size: int, *, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return the corner of a crop with a random lit pixel anywhere in it; None without any."""
    lit = np.flatnonzero(counts)
    if lit.size == 0:
        return None
    chosen = rng.choice(lit)
    corner = np.array([view.row[chosen], view.column[chosen]]) - rng.integers(image_size, size=2)
    row, column = np.clip(corner, 0, view.size - image_size)
    return int(row), int(column)


def centred_corner(view: View, counts: np.ndarray, image_size: int) -> tuple[int, int] | None:
    """Return the corner of the crop around the charge centre; None if that is too near a side."""
    half = image_size // 2
    centre = charge_centre(view, counts)
    if centre is None or not all(half < c < view.size - half for c in centre):
        return None
    return centre[0] - half, centre[1] - half


def cut(
    charge: Charge,
    projection: int,
    centre_px: np.ndarray,
    config: ml_collections.ConfigDict,
    *,
    rng: np.random.Generator,
) -> Crop | None:
    """Render one projection and cut its crop, or return None if the selection rejects it.

    Args:
        charge: smeared charge of one event.
        projection: axis to look along, 0 to 2.
        centre_px: grid pixel ``[3]`` that the view is centred on; for ``start``, of the vertex.
        config: settings of the simulation.
        rng: for noise and random crops.
    """
    size, side = config.image_size, config.view_size
    corner = np.delete(centre_px, projection) - side // 2
    view_origin = (int(corner[0]), int(corner[1]))
    noise = rng.normal(0.0, config.noise_mev, (side, side)) if config.noise_mev > 0.0 else None
    view = render(
        charge,
        projection,
        origin_px=view_origin,
        size=side,
        threshold_mev=config.threshold_mev,
        noise_mev=noise,
    )
    counts, scale = quantise(view, config)
    if config.crop == RANDOM_LIT_PIXEL:
        origin = random_corner(view, counts, size, rng=rng)
    elif config.crop == START:
        origin = ((side - size) // 2, (side - size) // 2)
    else:
        origin = centred_corner(view, counts, size)
    if origin is None:
        return None
    row, column = view.row - origin[0], view.column - origin[1]
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < size)
    lit = inside & (counts > 0)
    if lit.sum() < config.min_lit_fraction * size**2:
        return None
    # The first of equals wins: a pixel that noise alone has lit is background.
    kinds = view.class_mev[lit].argmax(axis=1).astype(np.uint8)
    mev = view.total_mev[inside].astype(np.float32)
    return Crop(
        image=_paint(size, row[lit], column[lit], counts[lit]),
        label=_paint(size, row[lit], column[lit], kinds),
        projection=projection,
        origin_px=origin,
        view_origin_px=view_origin,
        counts_per_mev=scale,
        clipped=_clipped(view.total_mev[inside], config),
        crop_mev=float(view.energy_mev[lit].sum()),
        image_mev=_paint(size, row[inside], column[inside], mev) if config.write_mev else None,
    )


def _paint(size: int, row: np.ndarray, column: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a square image that is 0 except at the given pixels."""
    image = np.zeros((size, size), values.dtype)
    image[row, column] = values
    return image
