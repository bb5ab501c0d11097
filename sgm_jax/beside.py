"""Drawn images that a discriminator is shown beside real ones, and which generator drew them."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sgm_jax.data import Batches, Images, open_images
from sgm_jax.run.files import read_object
from sgm_jax.run.log import LOGGER

PATH = "--config.data.drawn_path"
_RECIPE = "recipe.json"
_DRAW = "draw some: --mode=sample --num_samples=20000 --config.seed=1 --samples_dir=drawn"
# What says how images came to be, in the field ``data.drawn_from``.
PARAMETERS, CONDITIONS, GENERATOR = "parameters", "conditions", "generator"
# And, where others have chosen among them, by which discriminators.
REJECTION = "rejection"


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Some of a set of images, those at ``places``, in that order."""

    images: Images
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.images[self.places[rows]]


@dataclasses.dataclass(frozen=True, eq=False)
class Beside:
    """Drawn images.

    Attributes:
        train: to learn from.
        test: the last ones of the set, as many as test images are looked at.
        fingerprint: of the whole set.
        origin: which generator drew them and how, as JSON; "" where nothing says so.
    """

    train: Part
    test: Part
    fingerprint: str
    origin: str


@dataclasses.dataclass(frozen=True, eq=False)
class Paired:
    """Batches of real images, with as many drawn ones beside them as ``drawn``."""

    real: Batches
    drawn: Batches

    def at(self, step: int) -> dict[str, Any]:
        """Return this process's share of the global batch of a step."""
        return self.real.at(step) | {"drawn": self.drawn.at(step)["image"]}


def open_beside(config: ml_collections.ConfigDict) -> Beside | None:
    """Return the drawn images of a configuration; None if it names none.

    Raises:
        FileNotFoundError: if they are not there.
        ValueError: if they do not fit the configuration, or are too few.
    """
    data = config.data
    path = data.get("drawn_path", "")
    if not path:
        return None
    options = {"num_channels": data.num_channels, "image_size": data.image_size}
    try:
        images = open_images(path, planes=data.planes, **options)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{PATH}: {error}; {_DRAW}") from error
    tested = config.eval.num_images
    least = tested + config.training.batch_size
    if len(images) < least:
        raise ValueError(
            f"{PATH}={path} holds {len(images)} images, and --config.eval.num_images={tested} of "
            f"them are kept for the test: at least {least} are needed; {_DRAW}"
        )
    train, test = np.split(np.arange(len(images)), [len(images) - tested])
    return Beside(Part(images, train), Part(images, test), images.fingerprint, _of(path))


def fingerprint(of_images: str, beside: Beside | None) -> str:
    """Return the fingerprint of training images and of those beside them."""
    if beside is None:
        return of_images
    both = f"{of_images} {beside.fingerprint}".encode()
    return hashlib.blake2b(both, digest_size=16).hexdigest()


def with_origin(
    config: ml_collections.ConfigDict, beside: Beside | None
) -> ml_collections.ConfigDict:
    """Return the configuration with the origin of the drawn images, kept from the first start."""
    if beside is None or config.data.drawn_from:
        return config
    config = config.copy_and_resolve_references()
    config.data.drawn_from = beside.origin
    return config


def _of(path: str) -> str:
    """Return which generator drew images, as the recipe beside them says."""
    place = Path(path.partition("::")[0]).expanduser()
    note = (place if place.is_dir() else place.parent) / _RECIPE
    recipe = read_object(note, fix="restore it, or draw them again") if note.is_file() else {}
    if PARAMETERS not in recipe:
        LOGGER.warning(
            "nothing beside %s=%s says which weights drew these images: that they are those of the "
            "generator which will be improved cannot be checked",
            PATH,
            path,
        )
        return ""
    if recipe.get(REJECTION):
        raise ValueError(
            f"{PATH}={path}: these images were chosen by a discriminator themselves; draw some "
            'with --config.sampling.rejection="" (a second discriminator learns from the same ones '
            "as the first, which it is given as --config.sampling.rejection)"
        )
    fields = recipe.get("config", {})
    return origin_of(recipe[PARAMETERS], recipe.get(CONDITIONS), fields)


def origin_of(parameters: str, conditions: Any, fields: dict[str, Any]) -> str:
    """Return, as JSON, what decides how drawn images are distributed.

    Args:
        parameters: hash of those of the generator.
        conditions: on the images, see :attr:`sgm_jax.conditions.Conditions.recipe`.
        fields: of the generator's configuration, flattened, those that a recipe has.
    """
    drawing = {name: value for name, value in fields.items() if name.startswith("sampling.")}
    known = {PARAMETERS: parameters, CONDITIONS: conditions, GENERATOR: fields.get(GENERATOR)}
    return json.dumps(known | drawing, sort_keys=True)
