"""Charge-centred crops: the selection that made the published data set.

Each of the three projections of an event is an image of its own. It is quantised to 8 bit over
the whole view, its charge-weighted centre is truncated to a pixel, and the crop is cut around that
pixel. A crop is kept if the centre is more than half a crop from every side of the view and
enough of its pixels are lit.
"""

from dataclasses import dataclass

import ml_collections
import numpy as np

from sgm_jax.simulation.config import PER_IMAGE
from sgm_jax.simulation.drift import Charge
from sgm_jax.simulation.truth import PixelClass

NUM_PROJECTIONS = 3  # projection p looks along axis p (x, y, z); rows and columns are the others


@dataclass(frozen=True)
class View:
    """The ``n`` lit pixels of a square view."""

    size: int  # side in pixels
    row: np.ndarray  # [n]
    column: np.ndarray  # [n]
    shower_mev: np.ndarray  # [n]
    track_mev: np.ndarray  # [n]

    @property
    def total_mev(self) -> np.ndarray:
        """Energy ``[n]`` of the lit pixels."""
        return self.shower_mev + self.track_mev


@dataclass(frozen=True)
class Crop:
    """An image and the truth about it."""

    image: np.ndarray  # [size, size] uint8
    label: np.ndarray  # [size, size] uint8 PixelClass, 0 exactly where the image is 0
    projection: int
    origin_px: tuple[int, int]  # row, column of the crop's corner in the view
    view_origin_px: tuple[int, int]  # of the view's corner on the grid of the cube
    counts_per_mev: float
    crop_mev: float  # in the lit pixels of the crop


def render(
    charge: Charge, projection: int, *, origin_px: tuple[int, int], size: int, threshold_mev: float
) -> View:
    """Project charge onto a view and keep the pixels above threshold.

    Args:
        charge: smeared charge of one event.
        projection: axis to look along; the other two, in order, give rows and columns.
        origin_px: grid pixel of the view's corner.
        size: side of the view in pixels.
        threshold_mev: pixels at or below it stay dark.
    """
    axes = [axis for axis in range(3) if axis != projection]
    width = charge.share.shape[2]
    corner = charge.first_px[:, axes] - np.asarray(origin_px)
    seen = np.all((corner > -width) & (corner < size), axis=1)
    corner = corner[seen]
    # The box that holds all charge is mostly far smaller than the view.
    low = corner.min(axis=0, initial=size)
    rows, columns = np.maximum(corner.max(axis=0, initial=-width) - low, 0) + width
    plane = charge.pixel_class[seen].astype(np.int64) - PixelClass.SHOWER
    row = (plane * rows + corner[:, 0] - low[0])[:, None] + np.arange(width)
    column = (corner[:, 1] - low[1])[:, None] + np.arange(width)
    index = row[:, :, None] * columns + column[:, None, :]
    row_mev = charge.share[seen, axes[0]] * charge.energy_mev[seen, None]
    mev = row_mev[:, :, None] * charge.share[seen, axes[1]][:, None, :]
    planes = np.bincount(index.ravel(), weights=mev.ravel(), minlength=2 * rows * columns)
    shower, track = planes.reshape(2, rows, columns)
    row, column = np.nonzero(shower + track > threshold_mev)
    shower, track = shower[row, column], track[row, column]
    row, column = row + low[0], column + low[1]
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < size)
    return View(size, row[inside], column[inside], shower[inside], track[inside])


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


def charge_centre(view: View, counts: np.ndarray) -> tuple[int, int] | None:
    """Return the charge-weighted mean row and column, truncated; None without any charge."""
    total = counts.sum(dtype=np.float64)
    if total == 0.0:
        return None
    weight = counts.astype(np.float64)
    return int((weight * view.row).sum() / total), int((weight * view.column).sum() / total)


def cut(
    charge: Charge, projection: int, centre_px: np.ndarray, config: ml_collections.ConfigDict
) -> Crop | None:
    """Render one projection and cut its crop, or return None if the selection rejects it.

    Args:
        charge: smeared charge of one event.
        projection: axis to look along, 0 to 2.
        centre_px: grid pixel ``[3]`` that the view is centred on.
        config: settings of the simulation.
    """
    half = config.image_size // 2
    corner = np.delete(centre_px, projection) - config.view_size // 2
    origin = (int(corner[0]), int(corner[1]))
    view = render(
        charge,
        projection,
        origin_px=origin,
        size=config.view_size,
        threshold_mev=config.threshold_mev,
    )
    counts, scale = quantise(view, config)
    centre = charge_centre(view, counts)
    if centre is None or not all(half < c < config.view_size - half for c in centre):
        return None
    row, column = view.row - centre[0] + half, view.column - centre[1] + half
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < 2 * half) & (counts > 0)
    if inside.sum() < config.min_lit_fraction * config.image_size**2:
        return None
    pixels = row[inside], column[inside]
    image = np.zeros((config.image_size, config.image_size), np.uint8)
    image[pixels] = counts[inside]
    label = np.zeros_like(image)
    is_track = view.track_mev[inside] > view.shower_mev[inside]
    label[pixels] = np.where(is_track, PixelClass.TRACK, PixelClass.SHOWER)
    return Crop(
        image=image,
        label=label,
        projection=projection,
        origin_px=(centre[0] - half, centre[1] - half),
        view_origin_px=origin,
        counts_per_mev=scale,
        crop_mev=float(view.total_mev[inside].sum()),
    )
