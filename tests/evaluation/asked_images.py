"""Images made by a known function of a momentum: straight tracks from the middle."""

import numpy as np

from evaluation.conditional.sets import Shown

LEVELS = 0.3  # of charge for one MeV/c
LENGTH_PX = 0.05  # for one MeV/c in the plane
SIDE = 64


def momenta(count, *, seed, flat=False, low=100.0, high=500.0):
    """Momenta of sizes uniform in a range; isotropic, or in the plane of the image."""
    rng = np.random.default_rng([seed, 0])
    direction = rng.normal(size=(count, 3))
    if flat:
        direction[:, 0] = 0.0
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return rng.uniform(low, high, (count, 1)) * direction


def tracks(momentum, *, seed, spread=0.1, charge=LEVELS, wide=0.0, turn_deg=0.0):
    """Draw ``[n, SIDE, SIDE]`` tracks, of a charge and a length in proportion to the momentum.

    Charges vary by a share of ``spread``; each of ``wide`` pixels to either side has as much.
    """
    rng = np.random.default_rng([seed, 1])
    size = np.linalg.norm(momentum, axis=1)
    total = charge * size * (1 + spread * rng.normal(size=len(size)))
    angle = np.arctan2(momentum[:, 1], momentum[:, 2]) + np.radians(turn_deg)
    length = LENGTH_PX * np.hypot(momentum[:, 1], momentum[:, 2])
    images = np.zeros((len(size), SIDE, SIDE), np.float32)
    wide = np.broadcast_to(wide, len(size))
    for image, q, a, long, w in zip(images, total, angle, length, wide, strict=True):
        along, aside = np.meshgrid(np.linspace(0, long, 160), np.linspace(-w, w, 7 if w else 1))
        row = SIDE // 2 + along * np.sin(a) + aside * np.cos(a)
        column = SIDE // 2 + along * np.cos(a) - aside * np.sin(a)
        place = np.rint(row).astype(int), np.rint(column).astype(int)
        np.add.at(image, place, max(q, 0) / along.size)
    return images


def shown(count=1_200, *, seed, kinds=("electron", "muon"), **options):
    """Return images of kinds in turn, electrons wider than muons, with what they show."""
    asked = {key: options.pop(key) for key in ("flat", "low", "high") if key in options}
    about = {k: options.pop(k) for k in ("trained", "guidance", "event") if k in options}
    momentum = momenta(count, seed=seed, **asked)
    particle = np.array(kinds)[np.arange(count) % len(kinds)]
    wide = np.where(particle == "electron", 1.5, 0.0)
    images = tracks(momentum, seed=seed, wide=wide, **options)
    units = {"mev_per_level": 0.1, "pixel_mm": 10.0}
    return Shown(images, particle, momentum, **units | about)
