"""The figure of how probable a generator finds real images, and those that it drew itself."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from evaluation.figures.distributions import ratio_figure
from evaluation.figures.figure import Drawn, Figures
from sgm_jax.run.files import read_arrays

BINS = 40
_COLUMN = "bits_per_dim"


def read_bits(path: str | Path) -> np.ndarray:
    """Return the bits per pixel of each image ``[N]`` that ``--mode=likelihood`` measured.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: if it is damaged, or holds something else.
    """
    fix = "give a likelihood.npz of --mode=likelihood"
    if not Path(path).is_file():
        raise FileNotFoundError(f"no likelihoods {path}; {fix}")
    return read_arrays(Path(path), fix=fix, names=(_COLUMN,))[_COLUMN]


def likelihood_figures(bits: Mapping[str, np.ndarray]) -> Figures:
    """Return the figure of bits per pixel of sets by their names, the real one first, if any."""
    return {"likelihoods": partial(draw_likelihoods, bits)} if bits else {}


def draw_likelihoods(bits: Mapping[str, np.ndarray]) -> Drawn:
    """Draw how the probabilities of images are distributed: -log2 p for each pixel."""
    values = np.concatenate(list(bits.values()))
    edges = np.linspace(values.min(), np.nextafter(values.max(), np.inf), BINS + 1)
    counts = {name: np.histogram(column, edges)[0] for name, column in bits.items()}
    shares = {
        name: (histogram / histogram.sum(), np.sqrt(histogram) / histogram.sum())
        for name, histogram in counts.items()
    }
    figure = ratio_figure(edges, shares, "-log2 p, bits per pixel", unit="fraction of images")
    return figure, {"edges": edges} | {f"counts_{name}": x for name, x in counts.items()}
