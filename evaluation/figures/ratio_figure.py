"""A figure of shares in bins with their errors, above their ratios to the real set."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_COLOURS = ("#1f6fb4", "#d9602b", "#2a9d6f", "#8a5bb5")  # of the generated sets, in order
_REAL = "#9aa3ad"
_RATIOS = (0.4, 1.6)  # shown

Shares = dict[str, tuple[np.ndarray, np.ndarray]]  # shares and errors of each set; real ones first


def ratio_figure(edges: np.ndarray, shares: Shares, label: str, *, unit: str) -> Figure:
    """Draw shares with their errors above their ratios to the first, with the errors of both."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.3])
    (real_name, (real, real_error)), *others = shares.items()
    above.stairs(real, edges, fill=True, color=_REAL, alpha=0.55, label=real_name)
    below.axhline(1.0, color="black", linewidth=0.8)
    for place, (who, (share, error)) in enumerate(others):
        colour = _COLOURS[place % len(_COLOURS)]
        # Side by side, so that equal sets do not hide each other.
        x = edges[:-1] + np.diff(edges) * (place + 1) / (len(others) + 1)
        above.errorbar(x, share, error, fmt="o", ms=2.5, lw=1, color=colour, label=who)
        used = (real > 0) & (share > 0)
        ratio = share[used] / real[used]
        spread = ratio * np.hypot(error[used] / share[used], real_error[used] / real[used])
        _draw_ratios(below, x[used], ratio, spread, colour=colour)
    above.set_ylabel(unit)
    above.legend(frameon=False)
    below.set(xlabel=label, ylabel=f"ratio to {real_name}", ylim=_RATIOS)
    below.grid(axis="y", alpha=0.3)
    return figure


def image_shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares ``[k]`` of counts ``[n, k]`` of the pixels of n images, and their errors.

    The pixels of an image belong together, so errors are from the spread among images.
    """
    counts = counts.astype(np.float64)
    of_image = counts.sum(axis=1, keepdims=True)
    total = max(of_image.sum(), 1.0)
    share = counts.sum(axis=0) / total
    return share, np.sqrt(((counts - share * of_image) ** 2).sum(axis=0)) / total


def poisson_shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares ``[k]`` of a histogram and their errors."""
    total = max(counts.sum(), 1)
    return counts / total, np.sqrt(counts) / total


def _draw_ratios(
    axes: Axes, x: np.ndarray, ratio: np.ndarray, error: np.ndarray, *, colour: str
) -> None:
    """Draw ratios; those out of range as triangles at its edge."""
    low, high = _RATIOS
    inside = (ratio > low) & (ratio < high)
    axes.errorbar(x[inside], ratio[inside], error[inside], fmt="o", ms=2.5, lw=1, color=colour)
    for marker, outside, edge in (
        ("^", ratio >= high, high - 0.03),
        ("v", ratio <= low, low + 0.03),
    ):
        axes.plot(x[outside], np.full(outside.sum(), edge), marker, ms=4, color=colour, ls="none")
