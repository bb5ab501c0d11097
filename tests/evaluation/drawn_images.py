"""Images made in a moment: a straight line and a blob each, with charges that vary."""

import numpy as np


def drawn_images(count: int, *, seed: int, size: int = 64) -> np.ndarray:
    """Return uint8 ``[count, size, size]``, each with its brightest pixel at 255 or close to it."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    images = np.empty((count, size, size), np.uint8)
    for image in images:
        angle, length, width = (
            rng.uniform(0, np.pi),
            rng.uniform(0.2, 0.6) * size,
            rng.uniform(1, 2),
        )
        along = column * np.cos(angle) - row * np.sin(angle)
        across = column * np.sin(angle) + row * np.cos(angle)
        line = np.exp(-0.5 * (across / width) ** 2) * (np.abs(along) < length / 2)
        place = rng.uniform(-0.3, 0.3, 2) * size
        blob = np.exp(-0.5 * ((row - place[0]) ** 2 + (column - place[1]) ** 2) / 4.0)
        charge = (line + rng.uniform(0.2, 0.9) * blob) * rng.uniform(0.7, 1.3, (size, size))
        charge = 255 * charge / charge.max()
        image[:] = np.where(charge > 12, charge, 0)
    return images
