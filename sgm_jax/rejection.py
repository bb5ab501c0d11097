"""Drawn images that discriminators keep or reject, so that what is kept is distributed as real.

A generator draws from a density q that is near to that of real images, p. A discriminator knows
p / q (:mod:`sgm_jax.generators.discriminator`). Of the images that are drawn each is kept with
probability min(1, p / (M q)), and in place of a rejected one another is drawn: von Neumann's
method, with a learnt ratio (discriminator rejection sampling, arXiv:1810.06758). If the ratio is
right and nowhere above M, what is kept is distributed as p. On average one of M is kept.

A second discriminator may have learnt from what the first keeps, and chooses among that. Two
densities that are near to each other have a ratio that is easier to learn (arXiv:2006.12204).
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sgm_jax.beside import REJECTION
from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale
from sgm_jax.run import parallel
from sgm_jax.run.checkpoints import digest
from sgm_jax.run.log import LOGGER
from sgm_jax.step import Variables
from sgm_jax.trained import Trained, from_either, packaged

FIELD, BOUND = "--config.sampling.rejection", "--config.sampling.rejection_bound"
_FAMILY, _CONFIG = "discriminator", "--config=configs/discriminator64.py"
NONE = f'draw without one: {FIELD}=""'


@dataclasses.dataclass(frozen=True, eq=False)
class Rejecting:
    """A discriminator, and how large ratios it can tell.

    Attributes:
        trained: the discriminator.
        bound: M; larger ratios count as that.
        source: what names it.
    """

    trained: Trained
    bound: float
    source: str = ""

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides which images are kept."""
        return {"bound": self.bound, **self.trained.origin}


def read_rejection(
    config: ml_collections.ConfigDict, conditions: Conditions
) -> tuple[Rejecting, ...]:
    """Return the discriminators that ``config.sampling`` names, in their order.

    Args:
        config: of the generator, checked.
        conditions: on the images.

    Raises:
        FileNotFoundError: if there are no such weights, or there is no checkpoint yet.
        ValueError: if one is no discriminator, or one of other images; or for conditions, which
            they know nothing of.
    """
    named = config.sampling.get("rejection", "")
    if not named:
        return ()
    if conditions.requested:
        raise ValueError(
            f"{FIELD}={named} chooses among images of all kinds, and these have conditions "
            f"({', '.join(conditions.requested)}); {NONE}"
        )
    channels = config.data.num_channels if config.data.planes else 1
    bounds = _bounds(named, float(config.sampling.rejection_bound))
    return tuple(_read(source, M, (*conditions.size, channels)) for source, M in bounds)


def _bounds(named: str, default: float) -> list[tuple[str, float]]:
    """Return each discriminator of ``first:8,second:2`` with its bound."""
    if Path(named).exists():
        return [(named, default)]
    pairs = []
    for part in named.split(","):
        source, _, number = part.strip().rpartition(":")
        try:
            pairs.append((source, float(number)) if source else (number, default))
        except ValueError:
            pairs.append((part.strip(), default))
    if not all(source for source, _ in pairs):
        raise ValueError(
            f"{FIELD}={named} names no discriminator in one place; several are written as "
            "FIRST:8,SECOND:2, each with its bound"
        )
    return pairs


def _read(source: str, bound: float, image_shape: tuple[int, int, int]) -> Rejecting:
    if not 1 <= bound < math.inf:
        raise ValueError(
            f"the bound of {FIELD}={source} is {bound:g} ({BOUND}, or the number after it); it "
            "must be a number of at least 1: images up to so many times as likely to be real are "
            "told apart, and one of so many is kept"
        )
    names = ", ".join(name for name in packaged() if _FAMILY in name)
    fix = f"train one with {_CONFIG}, take one of the package ({names}), or {NONE}"
    trained = from_either(source, family=_FAMILY, flag=FIELD, fix=fix)
    if trained.generator.image_shape != image_shape:
        raise ValueError(
            f"{FIELD}={source} looks at images of {trained.generator.image_shape}, and those that "
            f"are drawn are {image_shape} (height, width, channels); {NONE}"
        )
    return Rejecting(trained, bound, source)


def check_origin(rejecting: tuple[Rejecting, ...], origin: str) -> None:
    """Refuse discriminators that learnt from other images than those they choose among.

    Args:
        rejecting: the discriminators, in their order.
        origin: of the drawn images, see :func:`sgm_jax.beside.origin_of`.

    Raises:
        ValueError: with what differs.
    """
    links = chain(rejecting[:-1])
    for number, each in enumerate(rejecting):
        name, known = each.source, each.trained.config.data.drawn_from
        if not known:
            LOGGER.warning(
                "%s=%s does not say whose drawn images it has learnt from; if those are of other "
                "weights, what it keeps is wrong",
                FIELD,
                name,
            )
            continue
        theirs, ours = json.loads(known), json.loads(origin)
        before = theirs.pop(REJECTION, [])
        if before != links[:number]:
            bounds = [f"a discriminator with a bound of {link['bound']:g}" for link in before]
            learnt = " and ".join(bounds) or "no discriminator"
            raise ValueError(
                f"{FIELD}: {name} has learnt from images that {learnt} had chosen, and it has to "
                "choose among such: name the same before it, with their bounds, as in "
                "FIRST:8,SECOND:2, and none other"
            )
        changes = [
            f"{field}: {theirs[field]!r} there, {ours[field]!r} in what draws"
            for field in sorted(theirs.keys() & ours.keys())
            if theirs[field] != ours[field]
        ]
        if changes:
            raise ValueError(
                f"{FIELD}={name} has learnt from images that were drawn otherwise: "
                f"{'; '.join(changes)}. Draw as there, train another one, or {NONE}"
            )


def chain(rejecting: tuple[Rejecting, ...]) -> list[dict[str, Any]]:
    """Return by which discriminators images are chosen, wherever their weights are kept."""
    return [
        {"parameters": parameters_of(each.trained.load()), "bound": each.bound}
        for each in rejecting
    ]


def recipe_of_rejection(rejecting: tuple[Rejecting, ...]) -> Any:
    """Return what decides which images are kept, for a recipe; None if all are."""
    recipes = [each.recipe for each in rejecting]
    # Folders of one discriminator hold its recipe alone.
    return (recipes[0] if len(recipes) == 1 else recipes) if recipes else None


def parameters_of(variables: Variables) -> str:
    """Return a hash of what a network was trained to, wherever its weights are kept."""
    return digest(parallel.to_host(variables))


class Chances:
    """How likely images are to be kept by all discriminators."""

    def __init__(self, rejecting: tuple[Rejecting, ...]):
        """Put their weights on the devices."""
        self._judges = [
            (
                parallel.replicate(each.trained.load().params),
                PixelScale.from_config(each.trained.config.data),
                parallel.batch_function(each.trained.generator.log_ratio, in_axes=(None, 0)),
                math.log(each.bound),
            )
            for each in rejecting
        ]

    def log_of(self, samples: np.ndarray) -> np.ndarray:
        """Return logarithms of the chances ``[n]`` of finished images ``[n, H, W, C]``.

        Args:
            samples: on the scale 0..255, as many as devices can share.
        """
        local, chances = samples[parallel.local_rows(len(samples))], np.zeros(len(samples))
        for params, scale, log_ratio, log_bound in self._judges:
            ratios = parallel.gather(log_ratio(params, parallel.shard(scale.to_model(local))))
            chances += np.minimum(ratios - log_bound, 0.0)
        return chances
