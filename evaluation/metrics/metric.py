"""What a metric is, and what it returns: never a bare number."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget

FEWEST = 20  # images of a set, for most metrics
_NO_FEATURES = (
    f"{MISSING}; features.npy must lie beside labels.h5 (evaluation.label without --nofeatures)"
)

Status = Literal["ok", "skipped", "not converged", "undefined", "too few images", "failed"]


@dataclass(frozen=True)
class Result:
    """One row of a report: a number of one generated set, with what is needed to judge it."""

    metric: str  # id of the row, like "w1/paper"; two rows compare only if it agrees
    value: float
    stderr: float | None = None  # standard error of the value; None if it is not defined
    floor: float | None = None  # the same number between two sets of real images of equal n
    p: float | None = None  # probability of such a value or a larger one in equal distributions
    n: int = 0  # images of each set that entered; the smaller number if they differ
    note: str = ""
    status: Status = "ok"
    # `compute` fills these in.
    set: str = ""  # name of the generated set
    definition: str = ""
    seconds: float = 0.0

    def with_floor(self, floor: "Result") -> "Result":
        """Return this result with the value of ``floor``, the metric between two real sets.

        Raises:
            ValueError: if ``floor`` is another metric or of another number of images.
        """
        if (floor.metric, floor.n) != (self.metric, self.n):
            raise ValueError(
                f"the floor of {self.metric} at n = {self.n} must be that metric at that n, "
                f"got {floor.metric} at n = {floor.n}: compute it with the same sizes"
            )
        return dataclasses.replace(self, floor=floor.value)

    def unconverged(self, reason: str) -> "Result":
        """Return this result without its value, because its solver did not converge."""
        note = join_notes(self.note, reason)
        return dataclasses.replace(
            self, value=math.nan, stderr=None, note=note, status="not converged"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts for JSON, which knows no NaN: those become None."""
        row = {name: _plain(value) for name, value in dataclasses.asdict(self).items()}
        converged = self.status in ("ok", "undefined")
        if not converged:
            row["value"] = None  # a number that is not there cannot be quoted
        return row | {"converged": converged}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Result":
        """Return the result that `to_dict` was called on."""
        fields = {field.name: row[field.name] for field in dataclasses.fields(cls)}
        return cls(**fields | {"value": math.nan if row["value"] is None else row["value"]})


def join_notes(*notes: str) -> str:
    """Return the notes that say something, in one line."""
    return "; ".join(note for note in notes if note)


def skipped(metric: str, reason: str) -> Result:
    """Return a row without a value that says why there is none."""
    return Result(metric, math.nan, note=f"skipped: {reason}", status="skipped")


Compute = Callable[[Pair, Budget, int], Sequence[Result]]  # of the sets, budget and seed
# Of all generated sets at once; the results by the name of the set.
ComputeJoint = Callable[[list[Pair], Budget, int], dict[str, list[Result]]]


@dataclass(frozen=True)
class Metric:
    """An entry of the table of metrics (`evaluation.metrics.table`): one or several rows.

    Attributes:
        name: what ``--metrics`` chooses; its first part is the heading in the report.
        compute: returns the rows of a real and a generated set.
        definitions: what each row is, by its id or by the first parts of it; a text if the metric
            has one row, of the metric's name.
        needs: what SSNet must say of the sets: nothing, ``"labels"``, or ``"features"`` as well.
            Without labels a metric is called all the same; without features it is skipped.
        joint: whether ``compute`` takes the pairs of all generated sets at once.
    """

    name: str
    compute: Compute | ComputeJoint
    definitions: Mapping[str, str] | str
    needs: Literal["", "labels", "features"] = ""
    joint: bool = False

    def __call__(self, pair: Pair, budget: Budget, seed: int) -> list[Result]:
        """Return the rows of a pair of sets; say what to do if features are missing."""
        sets = (pair.real, pair.generated, *pair.floor)
        if self.needs == "features" and not all(image_set.has_features() for image_set in sets):
            return [skipped(next(iter(self._by_id())), _NO_FEATURES)]
        return list(self.compute(pair, budget, seed))

    def definition(self, row: str) -> str:
        """Return what a row is.

        Raises:
            KeyError: if the metric does not define it.
        """
        parts = [name for name in self._by_id() if is_part(name, row)]
        return self._by_id()[max(parts, key=len, default=row)]

    def _by_id(self) -> Mapping[str, str]:
        texts = self.definitions
        return {self.name: texts} if isinstance(texts, str) else texts


def is_part(part: str, name: str) -> bool:
    """Return whether ``part`` is a name, or the first of its parts between slashes."""
    return name == part or name.startswith(part + "/")


def on_rows(
    metric: Callable[..., Result | Sequence[Result]],
    read: Callable[[ImageSet], np.ndarray],
    *,
    draws: str | None = None,
    fewest: int = FEWEST,
    floor_options: Mapping[str, object] | None = None,
    **options: object,
) -> Compute:
    """Turn a metric of arrays, ``metric(real, generated, *, seed, ...)``, into one of image sets.

    Value and floor are taken at one size, the largest that all four sets allow.

    Args:
        metric: takes rows ``[N, D]`` and ``[M, D]``; returns one result or several.
        read: gives the rows of a set, one for each image.
        draws: the budget's number of permutations, if the metric makes any; the floor needs none.
        fewest: images that the metric needs of each set.
        floor_options: what is different for the floor, which needs less.
        **options: of the metric.
    """

    def compute(pair: Pair, budget: Budget, seed: int) -> list[Result]:
        drawn = {"permutations": getattr(budget, draws)} if draws else {}
        undrawn = dict.fromkeys(drawn, 0) | dict(floor_options or {})
        equal = cut_alike(pair, fewest, seed=seed)

        def results(sets: tuple[ImageSet, ImageSet], different: dict) -> Sequence[Result]:
            result = metric(*map(read, sets), seed=seed, **(options | different))
            return [result] if isinstance(result, Result) else result

        values = results((equal.real, equal.generated), drawn)
        floors = results(equal.floor, undrawn)
        return [
            dataclasses.replace(value.with_floor(floor), note=with_origin(value.note, pair))
            for value, floor in zip(values, floors, strict=True)
        ]

    return compute


def on_pixels(metric: Callable[..., Result | Sequence[Result]], **options: object) -> Compute:
    """Return `on_rows` for a metric of images as rows of their pixels."""
    return on_rows(metric, ImageSet.flat, **options)


def on_features(metric: Callable[..., Result | Sequence[Result]], **options: object) -> Compute:
    """Return `on_rows` for a metric of images as rows of SSNet's features."""
    return on_rows(metric, ImageSet.features, **options)


def cut_alike(pair: Pair, fewest: int, *, seed: int) -> Pair:
    """Return the pair with four sets of one size.

    Raises:
        TooFewImagesError: if that is below ``fewest``.
    """
    equal = pair.equal_sizes(seed=seed)
    for image_set in (equal.real, equal.generated):
        image_set.require(fewest)
    return equal


def with_origin(note: str, pair: Pair) -> str:
    """Return a note with where the floor is from."""
    return join_notes(note, f"floor from {pair.floor_from}, at equal size")


def sizes_note(pair: Pair) -> str:
    """Say how many images a value and its floor are from."""
    floor = f"floor from {len(pair.floor[0])} and {len(pair.floor[1])} {pair.floor_from}"
    return f"{len(pair.real)} real, {len(pair.generated)} generated; {floor}"


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
