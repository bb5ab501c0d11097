"""The stage that has to be trained before a generator: where it is, and that it is the right one.

A generator of two stages names the first one in ``config.model.first_stage``, a workdir or a file
of weights; with "" it is trained in the folder ``first_stage`` of the workdir. What comes of it
lies frozen in the state of the second one, and its hash in that one's configuration.
"""

from pathlib import Path
from typing import NamedTuple

import ml_collections

from sgm_jax.run.checkpoints import digest, steps
from sgm_jax.run.parallel import to_host
from sgm_jax.run.workdir import flatten, read_config
from sgm_jax.step import Variables
from sgm_jax.trained import Trained, from_run, from_weights, stored_config

FOLDER = "first_stage"
# Fields that must be the same in both stages, beside those of the network, ``model``.
_SHARED = (
    *("generator", "data.image_size", "data.num_channels", "data.planes"),
    *("data.transform", "data.centered"),
)
# And fields of ``model`` that need not.
_OWN = ("model.first_stage", "model.first_stage_hash", "model.ema_rate", "model.ema_rates")
_OWN += ("model.condition", "model.momentum_scale")


class Frozen(NamedTuple):
    """A finished first stage.

    Attributes:
        variables: what it is used with.
        hash: of them.
    """

    variables: Variables
    hash: str


def place_of(config: ml_collections.ConfigDict, run: Path) -> Path:
    """Return the workdir or the file of the first stage of a run."""
    return Path(config.model.first_stage or Path(run) / FOLDER)


def is_finished(stage: ml_collections.ConfigDict, place: Path) -> bool:
    """Tell whether a workdir holds as many updates as this and its own configuration ask for."""
    stored = read_config(place) or {}
    wanted = max(stage.training.n_iters, stored.get("training.n_iters", 0))
    return max(steps(place), default=0) >= wanted


def read(stage: ml_collections.ConfigDict, place: Path) -> Frozen:
    """Read a finished first stage.

    Args:
        stage: the configuration that it should have.
        place: a workdir or a file of weights.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, unfinished, or of another configuration.
    """
    try:
        trained = _trained(stage, place)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--config.model.first_stage={place}: {error}; name the workdir or the file of weights "
            'of a finished first stage, or "" to train one'
        ) from error
    wanted = trained.config.training.n_iters
    if trained.step < wanted:
        raise ValueError(
            f"the first stage {place} is unfinished, {trained.step} of {wanted} updates; go on "
            f"with it: python -m sgm_jax.main --workdir={place}"
        )
    variables = to_host(trained.load())
    return Frozen(variables, digest(variables))


def check_hash(frozen: Frozen, known: str, *, place: Path, owner: Path) -> None:
    """Refuse another first stage than the one that lies in a run or in a file of weights.

    Args:
        frozen: what was read from ``place``.
        known: the hash that ``owner`` has.
        place: of the first stage.
        owner: what was trained on one.

    Raises:
        ValueError: if it is another.
    """
    if frozen.hash != known:
        raise ValueError(
            f"{owner} was trained on another first stage than {place} now is (hash {known} there, "
            f"{frozen.hash} here); restore that one, or choose another --workdir for a prior of "
            "this one"
        )


def _trained(stage: ml_collections.ConfigDict, place: Path) -> Trained:
    if place.suffix == ".npz":
        trained = from_weights(str(place))
        _check_same(stage, trained.config, place)
        return trained
    config = stored_config(place)
    _check_same(stage, config, place)
    return from_run(config, place)


def _check_same(
    ours: ml_collections.ConfigDict, theirs: ml_collections.ConfigDict, place: Path
) -> None:
    ours, theirs = flatten(ours), flatten(theirs)
    networks = sorted(n for n in ours.keys() | theirs.keys() if n.startswith("model."))
    changes = [
        f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} here"
        for name in (*_SHARED, *networks)
        if name not in _OWN and ours.get(name) != theirs.get(name)
    ]
    if changes:
        raise ValueError(
            f"the first stage {place} does not fit this configuration ({'; '.join(changes)}); set "
            "these fields as they are there, or --config.model.first_stage to another one"
        )
