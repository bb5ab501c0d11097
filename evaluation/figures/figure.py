"""What a figure is: drawn on demand from the compared sets, together with its numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import Result
from sgm_jax.run.files import write_arrays, write_json

DPI = 110

Drawn = tuple[Figure, dict[str, Any]]  # and the numbers behind it
Figures = dict[str, Callable[[], Drawn]]  # by the names of their files


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that figures are drawn from."""

    pairs: list[Pair]
    results: list[Result]
    budget: Budget
    seed: int

    @property
    def real(self) -> ImageSet:
        """Return the real set."""
        return self.pairs[0].real

    @property
    def generated(self) -> list[ImageSet]:
        """Return the generated sets."""
        return [pair.generated for pair in self.pairs]

    @property
    def sets(self) -> list[ImageSet]:
        """Return all sets, the real one first."""
        return [self.real, *self.generated]

    def has(self, family: str) -> bool:
        """Return whether there are results of metrics with this first part."""
        return any(result.metric.partition("/")[0] == family for result in self.results)


def save(drawn: Drawn, path: Path) -> None:
    """Write a figure as PNG and PDF, and its numbers as JSON, or .npz if there are arrays.

    ``path`` is that of the files without their endings. They hold no time, so that equal figures
    are equal files.
    """
    figure, numbers = drawn
    if any(isinstance(values, np.ndarray) for values in numbers.values()):
        write_arrays(path.with_name(path.name + ".npz"), numbers)
    else:
        write_json(path.with_name(path.name + ".json"), numbers)
    figure.savefig(path.with_name(path.name + ".png"), dpi=DPI)
    figure.set_layout_engine("none")  # all is in its place: finding it takes as long as drawing
    figure.savefig(path.with_name(path.name + ".pdf"), metadata={"CreationDate": None})
