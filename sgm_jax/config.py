"""Is a configuration one that can run? Checked before anything is touched.

The configurations themselves are files under ``configs/``; field names are those of the original.
Here are the fields that every family of generators has; each family checks its own, see
:mod:`sgm_jax.generator`.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import ml_collections

from sgm_jax.data.normalise import TRANSFORMS
from sgm_jax.data.scaling import Scaling
from sgm_jax.models import condition
from sgm_jax.run.workdir import CONDITIONAL, FREQUENCIES, flatten

__all__ = [
    "Rules",
    "check",
    "check_grids",
    "check_halved",
    "check_judged",
    "check_shift",
    "check_sparse",
    "check_threshold",
    "check_unguided",
    "flatten",
    "simulated_folder",
]


@dataclasses.dataclass(frozen=True)
class Rules:
    """What the fields of a configuration can be, by name ``section.field``.

    Attributes:
        choices: the values of a field that has a list of them.
        at_least_one: fields that count something.
        positive: fields above 0.
        fractions: fields in [0, 1).
        shares: fields in [0, 1].
        ascending: pairs of which the first is below the second.
        lists: fields that are lists of numbers.
    """

    choices: dict[str, tuple] = dataclasses.field(default_factory=dict)
    at_least_one: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    fractions: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    ascending: tuple[tuple[str, str], ...] = ()
    lists: tuple[str, ...] = ()

    def check(self, fields: dict[str, Any]) -> None:
        """Refuse the flattened fields of a configuration that break a rule.

        Raises:
            ValueError: with the field, its value and what it can be.
        """
        pairs = [name for pair in self.ascending for name in pair]
        numbers = (*self.at_least_one, *self.positive, *self.fractions, *self.shares, *pairs)
        require_fields(fields, (*self.choices, *numbers, *self.lists))
        for name in numbers:
            _require(_is_number(fields[name]), name, fields, "must be a number")
        for name in self.lists:
            listed = isinstance(fields[name], list) and all(map(_is_number, fields[name]))
            _require(listed, name, fields, 'must be a list of numbers, such as "(1, 2)"')
        for name, choices in self.choices.items():
            if fields[name] not in choices:
                known = ", ".join(map(repr, choices))
                raise ValueError(f"--config.{name} is {fields[name]!r}; it can be: {known}")
        for name in self.at_least_one:
            _require(fields[name] >= 1, name, fields, "must be at least 1")
        for name in self.positive:
            _require(0 < fields[name] < math.inf, name, fields, "must be above 0")
        for name in self.fractions:
            _require(0 <= fields[name] < 1, name, fields, "must lie in [0, 1)")
        for name in self.shares:
            _require(0 <= fields[name] <= 1, name, fields, "must lie in [0, 1]")
        for low, high in self.ascending:
            above = f"must be below --config.{high}, {fields[high]}"
            _require(fields[low] < fields[high], low, fields, above)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


RULES = Rules(
    choices={
        "optim.schedule": ("constant", "cosine", "linear", "inverse_sqrt"),
        "optim.optimizer": ("Adam", "Muon"),
        "data.num_channels": (1, 3),
        "data.planes": (False, True),
        "data.transform": tuple(TRANSFORMS),
        "training.keep_best": (False, True),
        "sampling.symmetry": ("none", "mirror", "flips"),
    },
    at_least_one=(
        *FREQUENCIES,
        "training.batch_size",
        "training.n_jitted_steps",
        "optim.decay_start",
        "eval.batch_size",
        "eval.num_samples",
        "eval.num_images",
    ),
    positive=("optim.lr", "optim.adam_lr", "optim.eps", "model.momentum_scale"),
    fractions=(
        "optim.decay_fraction",
        "model.ema_rate",
        "optim.beta1",
        "optim.beta2",
        "training.drop_condition",
        "training.drop_field",
    ),
    shares=("data.saturation",),
    lists=("model.ema_rates", "data.momentum_range"),
)


# Those without a rule.
_OTHERS = ("generator", "seed", "data.scaling")


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse a configuration with a value that cannot work.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    # Families import their parts, and some of those need the rules above.
    from sgm_jax import generator

    fields = flatten(config)
    require_fields(fields, (*_OTHERS, *CONDITIONAL))
    RULES.check(fields)
    _require(fields["seed"] >= 0, "seed", fields, "must not be negative")
    _check_images(fields)
    condition.check_fields(fields)
    _check_averages(fields)
    _check_steps(fields)
    generator.check(config)


def require_fields(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    """Refuse a configuration that lacks fields, as one built from nothing may.

    Raises:
        ValueError: with their names.
    """
    missing = [name for name in names if name not in fields]
    if missing:
        raise ValueError(
            f"the configuration has no --config.{', --config.'.join(missing)}; start from "
            "configs/larcv_png64.py, which has every field"
        )


def check_sparse(fields: dict[str, Any]) -> None:
    """Refuse images that a family of sparse ones cannot draw: of one channel, 0 where it is dark.

    Raises:
        ValueError: with the field and the fix.
    """
    if fields["data.num_channels"] != 1 or fields["data.planes"]:
        raise ValueError(
            f"--config.data.num_channels is {fields['data.num_channels']}; this family draws whole "
            "levels of one channel: set --config.data.num_channels=1"
        )
    if fields["data.centered"]:
        raise ValueError(
            "--config.data.centered=True puts the background at -1, and this family needs it at "
            "exactly 0; set --config.data.centered=False"
        )
    if fields["data.saturation"]:
        raise ValueError(
            f"--config.data.saturation={fields['data.saturation']} is for the score family; set it "
            "to 0"
        )


def check_unguided(fields: dict[str, Any]) -> None:
    """Refuse to guide what draws as it was learnt.

    Raises:
        ValueError: with the fix.
    """
    if fields["sampling.guidance"] != 1 or fields["sampling.guidance_interval"]:
        raise ValueError(
            f"--guidance={fields['sampling.guidance']} is for the score family; this one follows "
            "a condition as it was learnt: set --config.sampling.guidance=1"
        )


def check_grids(fields: dict[str, Any]) -> None:
    """Refuse networks of :mod:`sgm_jax.models.dcgan` that do not fit, and what goes with them.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    check_halved(fields, 'coarse ones first, such as "(128, 64, 32, 16)"')
    check_judged(fields)


def check_halved(fields: dict[str, Any], order: str) -> None:
    """Refuse features of grids that an image cannot be halved to.

    Args:
        fields: of a configuration, flattened.
        order: of the grids in ``model.channels``, with an example, for the message.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    channels, side = fields["model.channels"], fields["data.image_size"]
    if not channels or not all(isinstance(n, int) and n >= 1 for n in channels):
        raise ValueError(
            f"--config.model.channels is {tuple(channels)}; it must have a whole number above 0 "
            f"for each grid, {order}"
        )
    if side % 2 ** len(channels):
        raise ValueError(
            f"--config.data.image_size is {side}; with {len(channels)} grids in "
            f"--config.model.channels it must be a multiple of {2 ** len(channels)}"
        )


def check_shift(fields: dict[str, Any]) -> None:
    """Refuse shifts that take images away.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    shift, side = fields["model.shift"], fields["data.image_size"]
    if not isinstance(shift, int) or not 0 <= shift <= side // 2:
        raise ValueError(
            f"--config.model.shift is {shift!r}; it is by how many pixels an image is shifted at "
            f"most before the discriminator sees it: a whole number from 0 to {side // 2}"
        )


def check_threshold(fields: dict[str, Any]) -> None:
    """Refuse a level up to which nothing can be cut.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    threshold = fields["model.threshold"]
    if not isinstance(threshold, int) or not 0 <= threshold < 255:
        raise ValueError(
            f"--config.model.threshold is {threshold!r}; it must be a whole number from 0 to 254: "
            "levels up to it become 0, as in the evaluation"
        )


def check_judged(fields: dict[str, Any]) -> None:
    """Refuse what a discriminator cannot be shown, and averages that cannot be kept.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    check_threshold(fields)
    group = fields["model.group"]
    if not isinstance(group, int) or group < 0 or group == 1:
        raise ValueError(
            f"--config.model.group is {group!r}; it is how many images a discriminator compares "
            "with each other: 2 or more, or 0 for none"
        )
    if fields["model.ema_rates"]:
        raise ValueError(
            f"--config.model.ema_rates is {tuple(fields['model.ema_rates'])}; this family keeps "
            'one average of its networks: set --config.model.ema_rates="()"'
        )


def _require(holds: bool, name: str, fields: dict[str, Any], what: str) -> None:
    if not holds:
        raise ValueError(f"--config.{name} is {fields[name]!r}; it {what}")


def _check_images(fields: dict[str, Any]) -> None:
    try:
        Scaling.parse(fields["data.scaling"])
    except ValueError as error:
        raise ValueError(f"--config.data.scaling: {error}") from error
    if fields["data.planes"] and fields["data.num_channels"] != 3:
        raise ValueError(
            "--config.data.planes=True needs three channels; give --config.data.num_channels=3"
        )


def _check_averages(fields: dict[str, Any]) -> None:
    main, others = fields["model.ema_rate"], fields["model.ema_rates"]
    if len({main, *others}) <= len(others) or not all(0 <= rate < 1 for rate in others):
        raise ValueError(
            f"--config.model.ema_rates is {tuple(others)}; these averages are kept beside that of "
            f"--config.model.ema_rate {main}: they must lie in [0, 1), and all be different"
        )


def _check_steps(fields: dict[str, Any]) -> None:
    """Several steps in one dispatch must end where something is to happen."""
    steps = fields["training.n_jitted_steps"]
    for name in FREQUENCIES:
        value = fields[name]
        if value % steps:
            raise ValueError(
                f"--config.{name} {value} is not a multiple of "
                f"--config.training.n_jitted_steps {steps}; try {max(value // steps, 1) * steps}"
            )


def simulated_folder(config: ml_collections.ConfigDict) -> Path:
    """Return the folder whose ``train`` and ``test`` parts the configuration trains on.

    Raises:
        ValueError: if the two paths do not look like what the simulation writes.
    """
    train, test = Path(config.data.train_path), Path(config.data.test_path)
    folder = train.parent.parent
    if (train.parent.name, test.parent.name) != ("train", "test") or folder != test.parent.parent:
        raise ValueError(
            f"--config.data.train_path {train} and test_path {test} are not parts of one simulated "
            "set; say where to with --workdir"
        )
    return folder
