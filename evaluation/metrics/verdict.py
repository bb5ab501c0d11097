"""Whether a number is above its floor. Does not import JAX."""

import math

from scipy.stats import norm

SIGNIFICANT = 0.001  # probability, in equal sets, of what counts as a difference


def excess(value: float | None, floor: float | None, stderr: float | None) -> float | None:
    """Return how many errors a value lies above its floor, below if negative; None if unknown.

    Value and floor have about the same error, so that of their difference is sqrt(2) times it.
    """
    numbers = (value, floor, stderr)
    if any(number is None or math.isnan(number) for number in numbers) or stderr <= 0:
        return None
    return (value - floor) / (math.sqrt(2) * stderr)


def stands_out(p: float | None, above: float | None) -> bool | None:
    """Return whether a number tells the sets apart, None if it cannot say.

    It is judged by p, or without one by its `excess`, two-sided.
    """
    if p is not None:
        return p < SIGNIFICANT
    return None if above is None else bool(abs(above) > norm.isf(SIGNIFICANT / 2))


def family(metric: str) -> str:
    """Return what the ids of rows that say nearly the same have in common."""
    parts = metric.partition("@")[0].split("/")
    kept = parts[:-1] if len(parts) > 1 and parts[:-1] != ["physics", "all"] else parts
    return "/".join(kept)
