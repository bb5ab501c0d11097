"""What a metric returns: never a bare number."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Result:
    """One metric of one pair of image sets, with what is needed to judge it."""

    metric: str  # id of the definition, like "w1/paper"; two rows compare only if it agrees
    value: float
    stderr: float | None = None  # standard error of the value; None if it is not defined
    floor: float | None = None  # the same metric between two sets of real images of equal n
    p: float | None = None  # probability of such a value or a larger one in equal distributions
    n: int = 0  # images of each set that entered; the smaller number if they differ
    converged: bool = True
    note: str = ""

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
        """Return this result without its value, marked as one whose solver did not arrive."""
        note = join_notes(self.note, reason)
        return dataclasses.replace(
            self, value=float("nan"), stderr=None, converged=False, note=note
        )


def join_notes(*notes: str) -> str:
    """Return the notes that say something, in one line."""
    return "; ".join(note for note in notes if note)


def skipped(metric: str, reason: str) -> Result:
    """Return a row without a value that says why there is none."""
    return Result(metric=metric, value=float("nan"), converged=False, note=f"skipped: {reason}")
