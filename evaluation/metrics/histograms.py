"""Histograms of observables and how two of them compare, in the published form and a proper one."""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.stats import chi2 as chi2_distribution

# Edges of the published histograms; the last bin of each also takes all that lies above.
PAPER_EDGES = MappingProxyType(
    {
        "track_length_px": np.arange(-2.0, 94.0, 2.0),
        "track_width_px": np.arange(-1.0, 30.0, 1.0),
        "shower_charge": np.arange(-800.0, 37_600.0, 800.0),
    }
)


@dataclass(frozen=True)
class HistogramTest:
    """A chi2 between two histograms and the probability of a larger one in equal samples."""

    chi2: float
    degrees_of_freedom: int
    p: float


def paper_histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count ``values`` between ``edges`` ``[k + 1]``, those outside in the outermost bins: ``[k]``.

    Raises:
        ValueError: if a value is NaN.
    """
    values = np.asarray(values, np.float64)
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {values.size} values are NaN: drop them")
    return np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)[0]


def chi2_paper(reference: np.ndarray, other: np.ndarray) -> float:
    """Return the chi2 of arXiv:2307.13687, Table 1, between two histograms of equal bins.

    ``other`` is scaled to the size of ``reference``, whose counts are also the variances; bins
    empty in the reference are left out and the errors of ``other`` ignored. For samples of one
    distribution it is therefore near ``bins * (1 + sum(reference) / sum(other))``.

    Args:
        reference: counts ``[k]`` of the real images.
        other: counts ``[k]`` of the generated images.
    """
    expected, counts = _histograms(reference, other)
    used = expected > 0
    scaled = counts * expected.sum() / counts.sum()
    return float((((scaled - expected) ** 2)[used] / expected[used]).sum())


def chi2_two_sample(a: np.ndarray, b: np.ndarray) -> HistogramTest:
    """Test two histograms ``[k]`` of equal bins for one common shape, with the errors of both."""
    a, b = _histograms(a, b)
    used = a + b > 0
    ratio = np.sqrt(b.sum() / a.sum())
    value = float(((ratio * a - b / ratio)[used] ** 2 / (a + b)[used]).sum())
    degrees = int(used.sum()) - 1
    return HistogramTest(value, degrees, float(chi2_distribution.sf(value, degrees)))


def _histograms(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two histograms as floats, or say why they cannot be compared."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.sum() == 0 or b.sum() == 0:
        raise ValueError(
            f"cannot compare histograms of {a.shape} bins with {a.sum():.0f} entries and "
            f"{b.shape} bins with {b.sum():.0f}: bins must agree and neither may be empty"
        )
    return a, b
