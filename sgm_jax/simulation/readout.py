"""From smeared charge to the lit pixels of a view: projection, electronics noise, threshold."""

from dataclasses import dataclass, replace

import numpy as np

from sgm_jax.simulation.drift import Charge
from sgm_jax.simulation.truth import PixelClass


@dataclass(frozen=True)
class View:
    """The ``n`` lit pixels of a square view."""

    size: int  # side in pixels
    row: np.ndarray  # [n]
    column: np.ndarray  # [n]
    total_mev: np.ndarray  # [n] what is read out: charge and noise
    energy_mev: np.ndarray  # [n] what was deposited
    class_mev: np.ndarray  # [n, PixelClass] charge by class, without noise


@dataclass(frozen=True)
class _Footprints:
    """Pixels that ``n`` pieces of charge cover, in the box that holds all of them.

    The box is mostly far smaller than the view.
    """

    piece: np.ndarray  # [n] which pieces of the event these are
    corner: np.ndarray  # [n, 2] lowest row and column of each piece, in the box
    row_share: np.ndarray  # [n, width]
    column_share: np.ndarray  # [n, width]
    low: np.ndarray  # [2] the box's corner, in the view's pixels
    shape: np.ndarray  # [2] rows and columns of the box

    def sum(self, mev: np.ndarray, plane: np.ndarray | None = None, count: int = 1) -> np.ndarray:
        """Sum the pieces' ``mev`` over the box, each in its plane: ``[count, rows, columns]``."""
        rows, columns = self.shape
        first = self.corner[:, 0] if plane is None else plane * rows + self.corner[:, 0]
        reach = np.arange(self.row_share.shape[1])
        row, column = first[:, None] + reach, self.corner[:, 1, None] + reach
        index = row[:, :, None] * columns + column[:, None, :]
        row_mev = self.row_share * mev[:, None]
        shared = row_mev[:, :, None] * self.column_share[:, None, :]
        summed = np.bincount(index.ravel(), shared.ravel(), minlength=count * rows * columns)
        return summed.reshape(count, rows, columns)

    def take(self, rows: np.ndarray) -> "_Footprints":
        """Return the footprints of some pieces, in the same box."""
        return replace(
            self,
            piece=self.piece[rows],
            corner=self.corner[rows],
            row_share=self.row_share[rows],
            column_share=self.column_share[rows],
        )


def render(
    charge: Charge,
    projection: int,
    *,
    origin_px: tuple[int, int],
    size: int,
    threshold_mev: float,
    noise_mev: np.ndarray | None = None,
) -> View:
    """Project charge onto a view and keep the pixels above threshold.

    Args:
        charge: smeared charge of one event.
        projection: axis to look along; the other two, in order, give rows and columns.
        origin_px: grid pixel of the view's corner.
        size: side of the view in pixels.
        threshold_mev: pixels at or below it stay dark.
        noise_mev: to add before the threshold, ``[size, size]``.
    """
    prints = _footprints(charge, projection, np.asarray(origin_px), size)
    seen = prints.piece
    charge_mev, energy_mev = charge.charge_mev[seen], charge.energy_mev[seen]
    shower, track = prints.sum(charge_mev, charge.is_track[seen].astype(np.int64), 2)
    planes = {PixelClass.TRACK: track}
    for kind in (PixelClass.MICHEL, PixelClass.DELTA):
        rows = np.flatnonzero(charge.class_mev[seen, kind])
        if rows.size:
            planes[kind] = prints.take(rows).sum(charge.class_mev[seen[rows], kind])[0]
    total = shower + track
    for kind in planes.keys() - {PixelClass.TRACK}:
        shower = shower - planes[kind]
    planes[PixelClass.SHOWER] = shower
    # Without losses the charge is the energy, and need not be summed again.
    lossless = np.array_equal(charge_mev, energy_mev)
    energy = total if lossless else prints.sum(energy_mev)[0]

    row, column, read = _lit_pixels(total, prints.low, size, threshold_mev, noise_mev)
    boxed, place = _places(row, column, prints)
    class_mev = np.zeros((row.size, len(PixelClass)))
    for kind, plane in planes.items():
        class_mev[boxed, kind] = plane[place]
    deposited = np.zeros(row.size)
    deposited[boxed] = energy[place]
    return View(size, row, column, read, deposited, class_mev)


def _footprints(charge: Charge, projection: int, origin_px: np.ndarray, size: int) -> _Footprints:
    """Return the footprints of the pieces that touch a view."""
    axes = [axis for axis in range(3) if axis != projection]
    width = charge.share.shape[2]
    corner = charge.first_px[:, axes] - origin_px
    piece = np.flatnonzero(np.all((corner > -width) & (corner < size), axis=1))
    corner = corner[piece]
    low = corner.min(axis=0, initial=size)
    return _Footprints(
        piece=piece,
        corner=corner - low,
        row_share=charge.share[piece, axes[0]],
        column_share=charge.share[piece, axes[1]],
        low=low,
        shape=np.maximum(corner.max(axis=0, initial=-width) - low, 0) + width,
    )


def _lit_pixels(
    total: np.ndarray,
    low: np.ndarray,
    size: int,
    threshold_mev: float,
    noise_mev: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row and column in the view, and reading, of the pixels above threshold."""
    if noise_mev is None:
        row, column = np.nonzero(total > threshold_mev)
        read = total[row, column]
        row, column = row + low[0], column + low[1]
        inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < size)
        return row[inside], column[inside], read[inside]
    first, last = np.maximum(low, 0), np.minimum(low + total.shape, size)
    seen = noise_mev.copy()
    if np.all(first < last):
        inner = tuple(slice(*edge) for edge in zip(first - low, last - low, strict=True))
        seen[first[0] : last[0], first[1] : last[1]] += total[inner]
    row, column = np.nonzero(seen > threshold_mev)
    return row, column, seen[row, column]


def _places(
    row: np.ndarray, column: np.ndarray, prints: _Footprints
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return which pixels of a view lie in the box, and where in it those lie."""
    row, column = row - prints.low[0], column - prints.low[1]
    rows, columns = prints.shape
    boxed = (np.minimum(row, column) >= 0) & (row < rows) & (column < columns)
    return boxed, (row[boxed], column[boxed])
