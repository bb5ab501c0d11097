"""How many images a report uses, and how often it draws them again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Images at most (None: all) and re-drawings."""

    real: int | None
    generated: int | None
    train: int | None
    permutations: int
    image_permutations: int  # of whole images, each a sum over all of their pixels
    splits: int  # random halves for an error
    annealed_batch: int = 1_000  # images of annealed transport, iterated hundreds of times
    at_once: int = 1  # metrics; of many images each takes gigabytes


BUDGETS = {
    "small": Budget(2_000, 2_000, 2_000, 1_000, 1_000, 20, at_once=2),
    "paper": Budget(10_000, 50_000, 50_000, 1_000, 200, 20, 10_000),
    "full": Budget(None, None, None, 1_000, 200, 20, 10_000),
}
