"""Estimates with statistical errors: from a sample to a number of the report."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import gamma, norm

_GROUPS = 10  # disjoint sets of events whose spread gives an error
_REPLICAS = 200


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    stderr: float


def mean(values: np.ndarray) -> Estimate:
    """Return the mean of ``values`` ``[n]``."""
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(values.size)))


def share(hits: int, total: int) -> Estimate:
    """Return the binomial share ``hits / total``."""
    p = hits / total
    return Estimate(p, float(np.sqrt(max(p * (1.0 - p), 1.0 / total) / total)))


def over_groups(estimate: Callable[[np.ndarray], float], count: int) -> Estimate:
    """Return an estimate on all events, with the error from the spread over ten groups of events.

    ``estimate`` takes the events to use as a mask ``[count]`` and returns the number.

    Raises:
        ValueError: if there are fewer than two events a group.
    """
    if count < 2 * _GROUPS:
        raise ValueError(f"{count} events give no error; simulate at least {2 * _GROUPS}")
    group = np.arange(count) % _GROUPS
    parts = [estimate(group == g) for g in range(_GROUPS)]
    whole = estimate(np.ones(count, bool))
    return Estimate(float(whole), float(np.std(parts, ddof=1) / np.sqrt(_GROUPS)))


def peak(counts: np.ndarray, centres: np.ndarray) -> float:
    """Return where a cubic through the logarithms of the counts around the maximum is highest.

    Takes the contents and the middles of the bins, both ``[n]``.
    """
    smooth = np.convolve(counts, np.ones(5) / 5.0, mode="same")
    top = int(np.argmax(smooth))
    above = smooth > 0.6 * smooth[top]
    low = top - int(np.argmin(above[top::-1])) + 1
    high = top + int(np.argmin(above[top:]))
    window = slice(low, max(high, low + 5))
    x, y = centres[window] - centres[top], np.maximum(counts[window], 0.5)
    coefficients = np.polyfit(x, np.log(y), 3, w=np.sqrt(y))
    roots = np.roots(np.polyder(coefficients))
    flat = roots[np.isreal(roots)].real
    inside = flat[(flat >= x[0]) & (flat <= x[-1])]
    if inside.size == 0:
        return float(centres[top])
    return float(centres[top] + inside[np.argmax(np.polyval(coefficients, inside))])


def most_probable(values: np.ndarray) -> Estimate:
    """Return the most probable value of a peaked sample ``[n]``.

    A cubic is fitted to the logarithm of the histogram where it exceeds 60 % of its peak. The
    error comes from Poisson replicas of the histogram.

    Raises:
        ValueError: if there are fewer than 200 values.
    """
    if values.size < 200:
        raise ValueError(f"{values.size} values make no peak; simulate at least 200")
    low, high = np.quantile(values, [0.002, 0.9])
    counts, edges = np.histogram(values, 80, (low, high))
    centres = 0.5 * (edges[1:] + edges[:-1])
    rng = np.random.default_rng(0)
    replicas = [peak(rng.poisson(counts), centres) for _ in range(_REPLICAS)]
    return Estimate(peak(counts, centres), float(np.std(replicas, ddof=1)))


def interaction_length(path: np.ndarray, interacted: np.ndarray) -> Estimate:
    """Return the maximum-likelihood mean free path of particles that may also leave unharmed.

    Takes the length ``[n]`` up to the interaction or the way out, and which of the two it was.

    Raises:
        ValueError: if nothing interacted.
    """
    hits = int(np.sum(interacted))
    if hits == 0:
        raise ValueError(
            f"none of {path.size} particles interacted; simulate more, or a longer way"
        )
    value = float(np.sum(path) / hits)
    return Estimate(value, value / np.sqrt(hits))


def central_width(angles: np.ndarray) -> Estimate:
    """Return the width of the Gaussian that the central part of a symmetric sample comes from.

    The PDG's Highland formula is for the central 98 %; single scatters make the tails.
    """
    central = 0.98
    limit = np.quantile(np.abs(angles), central)
    inner = angles[np.abs(angles) <= limit]
    cut = norm.ppf(0.5 + 0.5 * central)
    shrink = np.sqrt(1.0 - 2.0 * cut * norm.pdf(cut) / central)
    value = float(np.sqrt(np.mean(inner**2)) / shrink)
    return Estimate(value, value / np.sqrt(2.0 * inner.size))


def gamma_profile(depth: np.ndarray, energy: np.ndarray) -> tuple[float, float]:
    """Return the depth of the maximum and the slope b of a shower profile (PDG 34.36).

    The PDG's gamma distribution is fitted to the energy in each bin ``[n]``; ``depth`` has the
    middles of the bins in radiation lengths.
    """

    def model(t: np.ndarray, total: float, a: float, b: float) -> np.ndarray:
        return total * gamma.pdf(t, a, scale=1.0 / b)

    start = (energy.sum() * (depth[1] - depth[0]), 2.5, 0.5)
    (_, a, b), _ = curve_fit(model, depth, energy, start, bounds=(1e-6, np.inf))
    return float((a - 1.0) / b), float(b)


def containment_radius(radius: np.ndarray, energy: np.ndarray) -> float:
    """Return the radius that holds 90 % of the energy; both arrays are ``[n]``."""
    order = np.argsort(radius)
    summed = np.cumsum(energy[order])
    return float(radius[order][np.searchsorted(summed, 0.9 * summed[-1])])


def distal_depth(depth: np.ndarray, dose: np.ndarray) -> float:
    """Return the depth beyond the peak where the dose has fallen to 80 % of it.

    Takes the middles of the bins ``[n]``, rising, and the dose in each.
    """
    peak = int(np.argmax(dose))
    level = 0.8 * dose[peak]
    below = peak + int(np.argmax(dose[peak:] < level))
    step = (dose[below - 1] - level) / (dose[below - 1] - dose[below])
    return float(depth[below - 1] + step * (depth[below] - depth[below - 1]))
