"""Small labelled images, and a network that is right by construction."""

import numpy as np

from evaluation.ssnet.scores import Scores
from sgm_jax.simulation.truth import PixelClass
from studies.ssnet_tally import Labelled

BRIGHT, DIM = 200, 50  # pixels that the network below calls track and shower


def brightness_network(images):
    """Call bright pixels track, dim ones shower, empty ones background, each with score 0.9."""
    value = images[..., 0]
    winner = np.where(value > 128, 2, np.where(value > 0, 1, 0))
    scores = np.where(np.arange(3) == winner[..., None], 0.9, 0.05).astype(np.float32)
    rows = value.reshape(len(value), 4, -1).sum(axis=2)
    return Scores(scores, rows.reshape(-1, 1, 1, 4).astype(np.float32))


def labelled(codes, images=None, *, kind=2, kinetic_mev=500.0, start_px=-5.0, event=None):
    """Return images of these codes, bright where track is unless they are given."""
    codes = np.asarray(codes, np.uint8)
    count = len(codes)
    if images is None:
        images = np.where(codes == PixelClass.TRACK, BRIGHT, np.where(codes > 0, DIM, 0))
    return Labelled(
        images=np.asarray(images, np.uint8),
        codes=codes,
        event=np.arange(count) if event is None else np.asarray(event),
        kind=np.broadcast_to(kind, count),
        kinetic_mev=np.broadcast_to(kinetic_mev, count),
        start_px=np.broadcast_to(np.float32(start_px), (count, 2)),
    )


def random_codes(count, side, seed=0):
    """Return codes ``[count, side, side]`` with a fifth of the pixels lit, of all kinds."""
    rng = np.random.default_rng(seed)
    lit = rng.random((count, side, side)) < 0.2
    codes = rng.choice([1, 2, 3, 4], lit.shape, p=[0.4, 0.4, 0.1, 0.1])
    return np.where(lit, codes, 0)
