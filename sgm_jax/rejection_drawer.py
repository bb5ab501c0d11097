"""Draws images with a generator, of which discriminators keep some.

Image i is the first of its candidates (i, 0), (i, 1), ... that is kept. So it depends on the seed
and on i only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sgm_jax.data.batches import random_bits
from sgm_jax.drawer import Drawer, Progress
from sgm_jax.rejection import BOUND, NONE, Chances, Rejecting
from sgm_jax.run.log import LOGGER, announced
from sgm_jax.step import Variables

# Candidates of an image; the last is kept whatever it is.
MOST_CANDIDATES = 200
# Discriminators that keep fewer of so many candidates belong to other images.
_LEAST_SHARE, _LOOKED_AT = 0.005, 1000
# Images whose candidates are drawn together, in batches of the generator: at the end, where few are
# missing, batches hold several candidates of each.
_BATCHES_AT_ONCE = 4
# Of the bits that decide, beside the seed, the image and the candidate.
_PURPOSE = 7


class RejectionDrawer:
    """Draws images with a generator and discriminators; it is used as a :class:`Drawer`."""

    def __init__(
        self,
        drawer: Drawer,
        rejecting: tuple[Rejecting, ...],
        *,
        seed: int,
        samples: Callable[[np.ndarray], np.ndarray],
    ):
        """Prepare the functions; they are compiled when first used.

        Args:
            drawer: of the generator.
            rejecting: the discriminators.
            seed: of the images.
            samples: from network space of the generator to finished images on 0..255.
        """
        self.drawing = drawer.drawing
        self.batch_size = _BATCHES_AT_ONCE * drawer.batch_size
        self.drawn, self.kept, self.forced = 0, 0, 0
        self._drawer, self._seed, self._samples = drawer, seed, samples
        self._chances = Chances(rejecting)

    def compile(self, variables: Variables) -> None:
        """Compile everything."""
        self._drawer.compile(variables)
        with announced("compiling the discriminator"):
            shape = (self._drawer.batch_size, *self._drawer.image_shape)
            self._chances.log_of(self._samples(np.zeros(shape, np.float32)))

    def draw(
        self, variables: Variables, first: int, count: int, *, progress: Progress
    ) -> np.ndarray:
        """Return images ``first`` to ``first + count``, as :meth:`Drawer.draw` does.

        Raises:
            ValueError: if the discriminator keeps next to nothing.
        """
        images = np.empty((count, *self._drawer.image_shape), np.float32)
        missing, tried = np.arange(count), np.zeros(count, np.int64)
        while len(missing):
            rows, attempts = self._candidates(missing, tried)
            numbers = np.stack([first + rows, attempts], axis=1)
            drawn = self._drawer.draw_each(variables, numbers, {}, progress=lambda done: None)
            keeps = self._keeps(drawn, numbers)
            forced = ~keeps & (attempts >= MOST_CANDIDATES - 1)
            rows, drawn, forced = (values[keeps | forced] for values in (rows, drawn, forced))
            # The first that is kept of each image; further ones were drawn for nothing.
            kept, places = np.unique(rows, return_index=True)
            images[kept] = drawn[places]
            self.drawn, self.kept = self.drawn + len(keeps), self.kept + int(keeps.sum())
            self.forced += int(forced[places].sum())
            np.maximum.at(tried, numbers[:, 0] - first, attempts + 1)
            missing = np.setdiff1d(missing, kept)
            progress(len(kept) * self.drawing.num_steps)
            self._check_share()
        return images

    def report(self) -> dict[str, Any]:
        """Return, for a recipe, and log how many candidates were kept."""
        if not self.drawn:
            return {}
        share = self.kept / self.drawn
        LOGGER.info("%.1f %% of the drawn images were kept", 100 * share)
        if self.forced:
            LOGGER.warning(
                "%d images are the last of %d candidates, though that was rejected as well",
                self.forced,
                MOST_CANDIDATES,
            )
        return {"kept_share": share}

    def _candidates(self, missing: np.ndarray, tried: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return of which images to draw which candidates, a batch of them."""
        slots = np.arange(self._drawer.batch_size)
        rows = missing[slots % len(missing)]
        return rows, tried[rows] + slots // len(missing)

    def _keeps(self, images: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return which candidates ``[n, H, W, C]`` are kept, bool ``[n]``."""
        drawn = np.array([_uniform(self._seed, *number) for number in numbers.tolist()])
        return np.log(drawn) < self._chances.log_of(self._samples(images))

    def _check_share(self) -> None:
        if self.drawn >= _LOOKED_AT and self.kept < _LEAST_SHARE * self.drawn:
            raise ValueError(
                f"{self.kept} of {self.drawn} drawn images were kept: their discriminator has "
                "hardly seen any like these, or they are too unlike real ones. Lower the bound "
                f"({BOUND}, or the number after each discriminator), or {NONE}"
            )


def _uniform(seed: int, image: int, candidate: int) -> float:
    """Return a number in (0, 1) that depends on the arguments only."""
    bits = int(random_bits((seed, image, candidate, _PURPOSE), 1)[0]) >> 11
    return (bits + 0.5) * 2.0**-53
