"""Drawn images that a discriminator keeps or rejects, so that what is kept is distributed as real.

A generator draws from a density q that is near to that of real images, p. A discriminator knows
p / q (:mod:`sgm_jax.generators.discriminator`). Of the images that are drawn each is kept with
probability min(1, p / (M q)), and in place of a rejected one another is drawn: von Neumann's
method, with a learnt ratio (discriminator rejection sampling, arXiv:1810.06758). If the ratio is
right and nowhere above M, what is kept is distributed as p. On average one of M is kept.

Image i is the first of its candidates (i, 0), (i, 1), ... that is kept. So it depends on the seed
and on i only.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import ml_collections
import numpy as np

from sgm_jax.beside import origin_of
from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale
from sgm_jax.data.batches import random_bits
from sgm_jax.drawer import Drawer, Progress
from sgm_jax.run import parallel
from sgm_jax.run.checkpoints import digest
from sgm_jax.run.log import LOGGER, announced
from sgm_jax.run.workdir import flatten
from sgm_jax.step import Variables
from sgm_jax.trained import Trained, from_either, packaged

_FIELD, _BOUND = "--config.sampling.rejection", "--config.sampling.rejection_bound"
_FAMILY, _CONFIG = "discriminator", "--config=configs/discriminator64.py"
_NONE = f'draw without one: {_FIELD}=""'
# Candidates of an image; the last is kept whatever it is.
MOST_CANDIDATES = 200
# A discriminator that keeps fewer of so many candidates belongs to other images.
_LEAST_SHARE, _LOOKED_AT = 0.01, 500
# Images whose candidates are drawn together, in batches of the generator: at the end, where few are
# missing, batches hold several candidates of each.
_BATCHES_AT_ONCE = 4
# Of the bits that decide, beside the seed, the image and the candidate.
_PURPOSE = 7


@dataclasses.dataclass(frozen=True, eq=False)
class Rejecting:
    """A discriminator, and how large ratios it can tell.

    Attributes:
        trained: the discriminator.
        bound: M; larger ratios count as that.
    """

    trained: Trained
    bound: float

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides which images are kept."""
        return {"bound": self.bound, **self.trained.origin}


def read_rejection(config: ml_collections.ConfigDict, conditions: Conditions) -> Rejecting | None:
    """Return the discriminator that ``config.sampling`` names; None if it names none.

    Args:
        config: of the generator, checked.
        conditions: on the images.

    Raises:
        FileNotFoundError: if there are no such weights, or there is no checkpoint yet.
        ValueError: if it is no discriminator, or one of other images; or for conditions, which it
            knows nothing of.
    """
    source = config.sampling.get("rejection", "")
    if not source:
        return None
    bound = float(config.sampling.rejection_bound)
    if not 1 <= bound < math.inf:
        raise ValueError(
            f"{_BOUND} is {bound:g}; it must be a number of at least 1: images up to so many times "
            "as likely to be real are told apart, and one of so many is kept"
        )
    if conditions.requested:
        raise ValueError(
            f"{_FIELD}={source} chooses among images of all kinds, and these have conditions "
            f"({', '.join(conditions.requested)}); {_NONE}"
        )
    names = ", ".join(name for name in packaged() if name.endswith(_FAMILY))
    fix = f"train one with {_CONFIG}, take one of the package ({names}), or {_NONE}"
    trained = from_either(source, family=_FAMILY, flag=_FIELD, fix=fix)
    channels = config.data.num_channels if config.data.planes else 1
    ours = (*conditions.size, channels)
    if trained.generator.image_shape != ours:
        raise ValueError(
            f"{_FIELD}={source} looks at images of {trained.generator.image_shape}, and those that "
            f"are drawn are {ours} (height, width, channels); {_NONE}"
        )
    return Rejecting(trained, bound)


def check_origin(
    rejecting: Rejecting, config: ml_collections.ConfigDict, conditions: Conditions, parameters: str
) -> None:
    """Refuse a discriminator that learnt from images of other weights, or drawn otherwise.

    Args:
        rejecting: the discriminator.
        config: of the generator.
        conditions: on the images.
        parameters: hash of the generator's, see :func:`parameters_of`.

    Raises:
        ValueError: with what differs.
    """
    known = rejecting.trained.config.data.drawn_from
    if not known:
        LOGGER.warning(
            "%s=%s does not say whose drawn images it has learnt from; if those are of other "
            "weights, what it keeps is wrong",
            _FIELD,
            config.sampling.rejection,
        )
        return
    theirs = json.loads(known)
    ours = json.loads(origin_of(parameters, conditions.recipe, flatten(config)))
    changes = [
        f"{name}: {theirs[name]!r} there, {ours[name]!r} in what draws"
        for name in sorted(theirs.keys() & ours.keys())
        if theirs[name] != ours[name]
    ]
    if changes:
        raise ValueError(
            f"{_FIELD}={config.sampling.rejection} has learnt from images that were drawn "
            f"otherwise: {'; '.join(changes)}. Draw as there, train another one, or {_NONE}"
        )


def parameters_of(variables: Variables) -> str:
    """Return a hash of what a generator was trained to, wherever its weights are kept."""
    return digest(parallel.to_host(variables))


class RejectionDrawer:
    """Draws images with a generator and a discriminator; it is used as a :class:`Drawer`."""

    def __init__(
        self,
        drawer: Drawer,
        rejecting: Rejecting,
        *,
        seed: int,
        samples: Callable[[np.ndarray], np.ndarray],
    ):
        """Prepare the functions; they are compiled when first used.

        Args:
            drawer: of the generator.
            rejecting: the discriminator.
            seed: of the images.
            samples: from network space of the generator to finished images on 0..255.
        """
        trained = rejecting.trained
        self.drawing = drawer.drawing
        self.batch_size = _BATCHES_AT_ONCE * drawer.batch_size
        self.drawn, self.kept, self.forced = 0, 0, 0
        self._drawer, self._seed, self._samples = drawer, seed, samples
        self._log_bound = math.log(rejecting.bound)
        self._params = parallel.replicate(trained.load().params)
        self._scale = PixelScale.from_config(trained.config.data)
        self._log_ratio = parallel.batch_function(trained.generator.log_ratio, in_axes=(None, 0))

    def compile(self, variables: Variables) -> None:
        """Compile everything."""
        self._drawer.compile(variables)
        with announced("compiling the discriminator"):
            shape = (self._drawer.batch_size, *self._drawer.image_shape)
            self._ratios(self._samples(np.zeros(shape, np.float32)))

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
        LOGGER.info("the discriminator kept %.1f %% of the images", 100 * share)
        if self.forced:
            LOGGER.warning(
                "%d images are the last of %d candidates, though the discriminator rejected it",
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
        chance = np.array([_uniform(self._seed, *number) for number in numbers.tolist()])
        return np.log(chance) < self._ratios(self._samples(images)) - self._log_bound

    def _ratios(self, samples: np.ndarray) -> np.ndarray:
        """Return ``log(p / q)`` of finished images, a batch of the generator ``[n, H, W, C]``."""
        local = samples[parallel.local_rows(len(samples))]
        return parallel.gather(
            self._log_ratio(self._params, parallel.shard(self._scale.to_model(local)))
        )

    def _check_share(self) -> None:
        if self.drawn >= _LOOKED_AT and self.kept < _LEAST_SHARE * self.drawn:
            raise ValueError(
                f"the discriminator kept {self.kept} of {self.drawn} images: it has hardly seen "
                f"any like these, or they are too unlike real ones. Lower {_BOUND}, or {_NONE}"
            )


def _uniform(seed: int, image: int, candidate: int) -> float:
    """Return a number in (0, 1) that depends on the arguments only."""
    bits = int(random_bits((seed, image, candidate, _PURPOSE), 1)[0]) >> 11
    return (bits + 0.5) * 2.0**-53
