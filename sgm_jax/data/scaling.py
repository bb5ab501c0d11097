"""From stored values to the scale 0..255, written as one word, such as ``fixed:4095``.

Zero stays zero on every scale: no charge is no charge, whatever else an image holds.
"""

import math
from dataclasses import dataclass

import numpy as np

NONE, PER_IMAGE, QUANTILE, FIXED = "none", "per_image", "quantile", "fixed"
CHOICES = (NONE, PER_IMAGE, QUANTILE, "fixed:FULL")
# Of the lit pixels of an image, with the scaling "quantile".
SHARE = 0.99


@dataclass(frozen=True)
class Scaling:
    """How stored values come to the scale 0..255.

    Attributes:
        kind: one of

            - ``"none"``: they are on it.
            - ``"per_image"``: each image is divided by its largest value, as the paper does with
              absolute charges (without its rounding to integers): its brightest pixel is 255.
            - ``"quantile"``: each image is divided by the value that 99 % of its positive pixels do
              not exceed, see :func:`quantile_top`, and cut at 255. A single hot pixel never is that
              value.
            - ``"fixed"``: all images are divided by `full` and cut at 255. Charges of different
              images can be compared.

            All but the first make negative values 0. The largest value of an image with several
            channels is that of all its channels.
        full: with ``"fixed"``, the value that becomes 255, in the unit of the data.
    """

    kind: str
    full: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Scaling":
        """Read ``"none"``, ``"per_image"``, ``"quantile"`` or ``"fixed:FULL"``.

        Raises:
            ValueError: any other text, with those that there are.
        """
        kind, colon, number = str(text).partition(":")
        if kind in (NONE, PER_IMAGE, QUANTILE) and not colon:
            return cls(kind)
        if kind != FIXED:
            raise ValueError(f"unknown scaling {text!r}; it can be: {', '.join(CHOICES)}")
        try:
            full = float(number)
        except ValueError:
            full = math.nan
        if not 0 < full < math.inf:
            raise ValueError(
                f"scaling {text!r} needs the value that becomes 255, a number above 0, as in "
                "fixed:4095"
            )
        return cls(kind, full)

    def __str__(self) -> str:
        """Return the text that :meth:`parse` reads."""
        return self.kind if self.full is None else f"{self.kind}:{self.full!r}"

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return images ``[N, ...]`` of finite numbers on 0..255: as they are, or float32."""
        if self.kind == NONE:
            return images
        top = self._tops(images)
        # In float64, so that images do not depend on the type in which they are stored; and divided
        # first, because the largest number times 255 would be infinite.
        with np.errstate(over="ignore"):
            share = images / np.where(top > 0, top, 1).astype(np.float64)
        return (np.clip(share, 0, 1) * 255).astype(np.float32)

    def _tops(self, charge: np.ndarray) -> np.ndarray:
        """Return the value that becomes 255 in each image of `charge`, ``[N, 1, ...]``.

        It is not above 0 where an image holds nothing positive.
        """
        axes = tuple(range(1, charge.ndim))
        if self.kind == FIXED:
            return np.full((len(charge), *[1] * len(axes)), self.full)
        if self.kind == QUANTILE:
            return quantile_top(charge)
        return charge.max(axis=axes, keepdims=True)


def flag(scaling: str) -> str:
    """Return how a scaling is typed, for messages."""
    return f"--config.data.scaling={scaling} (in the evaluation --scaling={scaling})"


def quantile_top(charge: np.ndarray) -> np.ndarray:
    """Return the 99 % quantile of the positive values of each image ``[N, ...]``, ``[N, 1, ...]``.

    Of n rising values it is the one at place ``floor(0.99 (n - 1))``, counted from 0. So it is one
    of the values, and the largest only where there is no other; 0 where there is none at all.
    """
    flat = charge.reshape(len(charge), -1)
    rank = quantile_rank(np.count_nonzero(flat > 0, axis=1))
    top = np.sort(flat, axis=1)[np.arange(len(flat)), -rank]
    return np.maximum(top, 0).reshape(-1, *[1] * (charge.ndim - 1))


def quantile_rank(lit: np.ndarray) -> np.ndarray:
    """Return the place of the 99 % quantile of `lit` positive values, 1 for the largest."""
    lit = np.maximum(lit, 1)
    return lit - np.floor(SHARE * (lit - 1)).astype(np.int64)
