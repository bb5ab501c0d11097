"""What an image says of its particle's momentum: charge, direction, range. And their spread.

All see an image from the particle's start, the middle of pixel ``(H // 2, W // 2)``.
"""

import numpy as np

TUBE_PX = 1.5  # pixels whose middle is so near to the axis belong to the track
GAP_PX = 2.0  # a longer gap along the axis ends the track
CENTRAL = 0.9  # share of the images that mean and width are of


def direction(images: np.ndarray) -> np.ndarray:
    """Return the directions ``[n, 2]``, down and right, in which images ``[n, H, W]`` point.

    That of the main axis of the charge about the start: the eigenvector of the charge-weighted
    second moments (PCA about a known point). It points to where more of the charge lies. NaN where
    no direction stands out, as in an empty image.
    """
    charge = images.astype(np.float64)
    down, right = _offsets(images)
    by_row, by_column = charge.sum(axis=2), charge.sum(axis=1)
    mixed = np.einsum("nhw,h,w->n", charge, down, right, optimize=True)
    difference = by_column @ right**2 - by_row @ down**2
    angle = 0.5 * np.arctan2(2.0 * mixed, difference)
    axis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    ahead = axis[:, 0] * (by_row @ down) + axis[:, 1] * (by_column @ right)
    axis[ahead < 0] *= -1.0
    axis[np.hypot(2.0 * mixed, difference) == 0] = np.nan
    return axis


def angle_deg(measured: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the angles ``[n]`` between directions ``[n, 2]``, 0 to 180 degrees."""
    cosine = (measured * asked).sum(axis=1)
    cosine = cosine / (np.linalg.norm(measured, axis=1) * np.linalg.norm(asked, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def reach_px(images: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return how far tracks of ``[n, H, W]`` images go from the start along ``[n, 2]`` directions.

    To the last lit pixel of those within :data:`TUBE_PX` of the axis before a gap of more than
    :data:`GAP_PX`, so that the electron of a muon's decay is left out. Zero without any.
    """
    down, right = _offsets(images)
    reach = np.zeros(len(images))
    for place, (image, axis) in enumerate(zip(images, directions, strict=True)):
        row, column = np.nonzero(image)
        along = down[row] * axis[0] + right[column] * axis[1]
        aside = right[column] * axis[0] - down[row] * axis[1]
        track = np.sort(along[(np.abs(aside) <= TUBE_PX) & (along > -TUBE_PX)])
        if track.size:
            gaps = np.flatnonzero(np.diff(track) > GAP_PX)
            reach[place] = max(track[gaps[0]] if gaps.size else track[-1], 0.0)
    return reach


def leaves(images: np.ndarray) -> np.ndarray:
    """Tell which of ``[n, H, W]`` images have charge in a pixel at the border."""
    lit = images > 0
    sides = (lit[:, 0], lit[:, -1], lit[:, :, 0], lit[:, :, -1])
    return np.any([side.any(axis=1) for side in sides], axis=0)


def central(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the central 90 % of weighted values.

    Args:
        values: ``[n]``.
        weights: ``[R, n]``, each row for itself.

    Returns:
        Both ``[R]``. Values on the edge of the 90 % count with the part inside. NaN without weight.
    """
    order = np.argsort(values)
    kept = np.diff(np.clip(_cumulated(weights[:, order]), *_ends()), axis=1, prepend=_ends()[0])
    values = values[order].astype(np.float64)
    mean = kept @ values / CENTRAL
    spread = kept @ values**2 / CENTRAL - mean**2
    return mean, np.sqrt(np.maximum(spread, 0.0))


def median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the medians ``[R]`` of values ``[n]`` with weights ``[R, n]``; NaN without weight."""
    order = np.argsort(values)
    cumulated = _cumulated(weights[:, order])
    place = np.minimum((cumulated < 0.5 - 1e-9).sum(axis=1), len(values) - 1)
    return np.where(np.isnan(cumulated[:, -1]), np.nan, values[order][place])


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the means ``[R]`` of values ``[n]`` with weights ``[R, n]``; NaN without weight."""
    with np.errstate(invalid="ignore"):
        return weights @ values / weights.sum(axis=1)


def _offsets(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far rows lie below the start, and columns to its right."""
    height, width = images.shape[1:]
    return np.arange(height) - height // 2.0, np.arange(width) - width // 2.0


def _cumulated(weights: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.cumsum(weights, axis=1) / weights.sum(axis=1, keepdims=True)


def _ends() -> tuple[float, float]:
    return (1.0 - CENTRAL) / 2.0, (1.0 + CENTRAL) / 2.0
