"""What a trained generator is read from: a checkpoint of a run, or a file of weights.

A file of weights is an ``.npz`` with the averaged parameters and, as JSON, the configuration that
they belong to. Some come with the package, in ``sgm_jax/weights``, each with a model card.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from sgm_jax import generator as contract
from sgm_jax.config import check
from sgm_jax.generator import Generator
from sgm_jax.models.condition import PARAMETERS
from sgm_jax.models.lines import LINES
from sgm_jax.models.momentum_map import MAP
from sgm_jax.models.overview import OVERVIEW
from sgm_jax.run.experiment import from_json
from sgm_jax.run.files import read_arrays, read_object, write_arrays
from sgm_jax.run.log import LOGGER
from sgm_jax.run.restore import load_state, matching_config, newest_step, state_hash
from sgm_jax.run.workdir import differences, flatten, read_config
from sgm_jax.step import Variables, averaged_variables, check_ema_rate

PACKAGED = Path(__file__).parent / "weights"
# What a network's output means depends on these fields, beside its shape.
MEANING = (
    "generator",
    "data.transform",
    "data.centered",
    "data.num_channels",
    "data.planes",
    "training.objective",
    "training.sde",
    "training.continuous",
    "model.head",
    "model.threshold",
    "model.last_level",
    "model.order",
    "model.order_seed",
    "model.stages",
    "model.stage",
    "model.output",
    "model.as_published",
    "prior.mask",
    "model.layers",
    "model.strip",
    "model.transform",
    "model.permutation",
    "model.permutation_seed",
    "model.tail_bound",
    "model.least_bin",
    "model.alpha",
    "model.energy_alpha",
)
# And these of a network with conditions.
MEANING_OF_CONDITIONS = ("model.condition", "data.particles", "model.momentum_scale")
_ABOUT = "about"
_FIX = "take another file, or export it again: --mode=convert --export=FILE"


class Trained(NamedTuple):
    """A generator and what it was trained to.

    Attributes:
        config: as it was trained, with ``eval``, ``sampling`` and ``seed`` as they are asked for.
        generator: built from it.
        origin: where the weights are from, for a recipe.
        load: reads the weights.
        step: updates that they are made of.
    """

    config: ml_collections.ConfigDict
    generator: Generator
    origin: dict[str, Any]
    load: Callable[[], Variables]
    step: int


def stored_config(run: Path) -> ml_collections.ConfigDict:
    """Return the configuration of a run, locked, as it is stored in its workdir.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if the file is damaged, or this program cannot work with what it says.
    """
    if read_config(run) is None:  # which also refuses a damaged one
        raise FileNotFoundError(f"{run} holds no training run; give the --workdir of one")
    config = from_json(read_object(Path(run) / "config.json", fix="restore it"))
    check(config)
    return config


def from_run(
    config: ml_collections.ConfigDict,
    run: Path,
    *,
    checkpoint: int | None = None,
    ema_rate: float | None = None,
) -> Trained:
    """Return what a run has come to.

    Args:
        config: checked; its ``eval``, ``sampling`` and ``seed`` may differ from the run's.
        run: the workdir.
        checkpoint: its step; the newest if not given.
        ema_rate: of the average to take; ``config.model.ema_rate`` if not given.

    Raises:
        FileNotFoundError: if there is no run, or no checkpoint yet.
        ValueError: if the configuration is not the run's, or it keeps no such average.
    """
    # What a run began with is in its weights, and may have had another name.
    free = (*contract.free_fields(config), "training.initial_weights")
    config = matching_config(config, run, free=free)
    rate = check_ema_rate(config, ema_rate)
    generator = contract.build(config)
    step = newest_step(run) if checkpoint is None else checkpoint
    origin = {
        "checkpoint_step": step,
        "ema_rate": rate,
        "checkpoint": state_hash(generator, run, step),
    }

    def load() -> Variables:
        return averaged_variables(load_state(generator, run, step), config, rate)

    return Trained(config, generator, origin, load, step)


def chosen(
    config: ml_collections.ConfigDict | None,
    run: Path,
    *,
    pretrained: str | None,
    checkpoint: int | None = None,
    ema_rate: float | None = None,
) -> Trained:
    """Return the generator of a file of weights, if there is a name of one, or else of a run.

    The arguments, and what is raised, are those of :func:`from_weights` and :func:`from_run`.
    """
    if pretrained is not None:
        return from_weights(pretrained, config)
    return from_run(config, run, checkpoint=checkpoint, ema_rate=ema_rate)


def from_weights(source: str, config: ml_collections.ConfigDict | None = None) -> Trained:
    """Return the generator of a file of weights.

    Args:
        source: a name in :func:`packaged`, or the path of a file.
        config: checked; if given, its ``eval``, ``sampling``, ``seed`` and what the family lets
            change are taken, and all that belongs to the training must be as in the file.

    Raises:
        FileNotFoundError: if there is no such file; with the names of those of the package.
        ValueError: if the file is damaged, or belongs to another configuration.
    """
    weights = read_weights(source)
    stored = weights.config
    if config is not None:
        theirs, free = flatten(stored), contract.free_fields(stored)
        # Another seed draws other images from the same network.
        changes = differences(flatten(config) | {"seed": theirs["seed"]}, theirs, free=free)
        if changes:
            raise ValueError(f"{weights.path} is of another configuration: {'; '.join(changes)}")
        stored = stored.copy_and_resolve_references()
        stored.seed, stored.sampling, stored.eval = config.seed, config.sampling, config.eval
        for place in free:
            section, name = place.split(".")
            stored[section][name] = config[section][name]
    generator = contract.build(stored)
    origin = {
        "checkpoint_step": weights.step,
        "weights": weights.path.name,
        "sha256": weights.sha256,
    }
    return Trained(stored, generator, origin, lambda: weights.variables(generator), weights.step)


def from_either(source: str, *, family: str, flag: str, fix: str) -> Trained:
    """Return a network that leads another one: of a file of weights, or what a run has come to.

    Args:
        source: a name in :func:`packaged`, the path of a file, or a workdir.
        family: that it must be of.
        flag: that names it, for the message.
        fix: what to do about a wrong one.

    Raises:
        FileNotFoundError: if there are no such weights and no such run, or no checkpoint yet.
        ValueError: if it is of another family.
    """
    if Path(source).is_file() or source in packaged():
        trained = from_weights(source)
        theirs = trained.config.generator
    else:
        if not (Path(source) / "config.json").is_file():
            raise FileNotFoundError(
                f"{flag}={source}: there are no such weights, and it holds no training run; {fix}"
            )
        stored = stored_config(Path(source))
        theirs = stored.generator
        trained = from_run(stored, Path(source)) if theirs == family else None
    if theirs != family:
        raise ValueError(
            f"{flag}={source} is of the family {theirs!r}, and one of the family {family!r} is "
            f"needed; {fix}"
        )
    return trained


class Weights(NamedTuple):
    """The content of a file of weights.

    Attributes:
        path: of the file.
        config: that the weights were trained with.
        step: updates that they are made of.
        sha256: of the file.
        arrays: by name.
    """

    path: Path
    config: ml_collections.ConfigDict
    step: int
    sha256: str
    arrays: dict[str, np.ndarray]

    def variables(self, generator: Generator, *, begins: bool = False) -> Variables:
        """Return what a generator is used with.

        Args:
            generator: whose network it is.
            begins: leave out the embedding of conditions, the overview, the map of the momentum
                and the lines if the network of this file has none: they begin at random, and
                their last layers with zeros.

        Raises:
            ValueError: if its network is another one.
        """
        like = jax.eval_shape(lambda key: generator.initial_state(key).averaged, jax.random.key(0))
        if begins:
            model = self.config.model
            theirs = {PARAMETERS: model.condition, OVERVIEW: model.get("overview")}
            theirs |= {MAP: model.get("momentum_map"), LINES: model.get("directions")}
            fresh = [name for name, there in theirs.items() if not there]
            like = like._replace(params={k: v for k, v in like.params.items() if k not in fresh})

        def leaf(place: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
            name = _name(place)
            stored = self.arrays[name].shape if name in self.arrays else None
            if stored != shape.shape:
                raise ValueError(
                    f"{self.path} is of another network: {name} is {stored} there, "
                    f"{shape.shape} here; give the model fields that it was trained with"
                )
            return self.arrays[name].astype(shape.dtype)

        return jax.tree_util.tree_map_with_path(leaf, like)

    def check_begins(self, config: ml_collections.ConfigDict) -> None:
        """Refuse to begin a training in which the same weights would mean something else.

        Raises:
            ValueError: with the fields that differ.
        """
        ours, theirs = flatten(config), flatten(self.config)
        conditional = MEANING_OF_CONDITIONS if theirs["model.condition"] else ()
        # What their network does not look at, ours may.
        optional = ("model.overview", "model.momentum_map", "model.directions")
        looks = [name for name in optional if theirs.get(name)]
        changes = [
            f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} here"
            for name in (*MEANING, *conditional, *looks)
            if ours.get(name) != theirs.get(name)
        ]
        if changes:
            raise ValueError(
                f"--config.training.initial_weights {self.path} mean something else with this "
                f"configuration ({'; '.join(changes)}); set these fields as they were"
            )


def read_weights(source: str) -> Weights:
    """Read a file of weights.

    Args:
        source: a name in :func:`packaged`, or the path of a file.

    Raises:
        FileNotFoundError: if there is no such file; with the names of those of the package.
        ValueError: if the file is damaged.
    """
    path = _path(source)
    arrays = read_arrays(path, fix=_FIX)
    try:
        about = json.loads(bytes(arrays.pop(_ABOUT)))
        step = int(about["step"])
        config = from_json(about["config"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no file of weights ({error}); {_FIX}") from error
    check(config)
    return Weights(path, config, step, _sha256(path), arrays)


def packaged() -> list[str]:
    """Return the names of the weights that come with the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.npz"))


def export_weights(trained: Trained, path: Path) -> str:
    """Write a file of weights; return its SHA-256.

    Raises:
        FileNotFoundError: if the folder is not there.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"--export is {path}; name a file that ends with .npz")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder {path.absolute().parent} for --export")
    about = {"step": trained.step, "config": trained.config.to_dict()}
    leaves = jax.tree_util.tree_leaves_with_path(trained.load())
    arrays = {_name(place): np.asarray(leaf) for place, leaf in leaves}
    arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_arrays(path, arrays)
    digest = _sha256(path)
    LOGGER.info("%s: %.1f MB, SHA-256 %s", path, path.stat().st_size / 1e6, digest)
    return digest


def _path(source: str) -> Path:
    """Return the file that a name or a path means, whose hash is right if it is the package's."""
    path = PACKAGED / f"{source}.npz" if source in packaged() else Path(source)
    if not path.is_file():
        names = ", ".join(packaged()) or "none"
        raise FileNotFoundError(
            f"no weights {source}; give the path of an .npz file, or a name of the package: {names}"
        )
    note = path.with_name(path.name + ".sha256")
    if note.is_file() and note.read_text().split()[:1] != [_sha256(path)]:
        raise ValueError(f"{path} is damaged: its hash is not that of {note.name}; {_FIX}")
    return path


def _name(place: Any) -> str:
    return jax.tree_util.keystr(place, simple=True, separator="/")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
