"""Variants and samplers from the command line, and the rows of the table that follow from them."""

import dataclasses
import re
import shlex
from typing import Any

import ml_collections
from absl import flags

from sgm_jax.run.experiment import overridden, split_overrides

BASE, DEFAULT = "base", "default"


@dataclasses.dataclass(frozen=True)
class Option:
    """A named variant or sampler: a configuration, and how it is drawn."""

    name: str
    config: ml_collections.ConfigDict
    arguments: tuple[str, ...] = ()
    num_samples: int | None = None
    ema: float | None = None


def parse_option(text: str, base: ml_collections.ConfigDict, *, sampler: bool) -> Option:
    """Return what ``NAME: --config.FIELD=VALUE ...`` makes of a configuration.

    Args:
        text: as typed.
        base: is not changed.
        sampler: whether --num_samples and --ema are allowed.

    Raises:
        ValueError: for text of another form, an unknown field, or a value that does not fit.
    """
    name, colon, rest = text.partition(":")
    flag = "--sampler" if sampler else "--variant"
    if not colon or not name.strip():
        raise ValueError(f'{flag}="{text}" has no name; write {flag}="NAME: --config.FIELD=VALUE"')
    values = flags.FlagValues()
    if sampler:
        flags.DEFINE_integer("num_samples", None, "", lower_bound=2, flag_values=values)
        flags.DEFINE_float("ema", None, "", flag_values=values)
    try:
        arguments, overrides = split_overrides(["sweep", *shlex.split(rest)])
        unread = values(arguments)[1:]
        config = overridden(base, overrides)
    except (flags.Error, ValueError) as error:
        raise ValueError(f'{flag}="{text}": {error}') from error
    if unread:
        raise ValueError(f'{flag}="{text}": {unread[0]} is no flag; write --config.FIELD=VALUE')
    options = {key: values[key].value for key in ("num_samples", "ema")} if sampler else {}
    return Option(name.strip(), config, (*overrides, *arguments[1:]), **options)


@dataclasses.dataclass(frozen=True)
class Case:
    """A row of the table: a network, and how images are drawn from it."""

    variant: Option
    sampler: Option
    network: str  # name of the variant that is trained for it


def plan(
    base: ml_collections.ConfigDict, variants: list[str], samplers: list[str]
) -> tuple[dict[str, Option], list[Case]]:
    """Return the variants to train, by name, and the rows of the table.

    Raises:
        ValueError: if anything in the lists cannot be run; nothing has been touched then.
    """
    from sgm_jax.config import check, flatten
    from sgm_jax.run.workdir import differences

    options = [Option(BASE, base), *(parse_option(text, base, sampler=False) for text in variants)]
    _check_names([BASE, *(option.name for option in options[1:])], "--variant")
    trained: dict[str, Option] = {}
    cases, shown = [], []
    for variant in options:
        check(variant.config)
        fields = _network_fields(variant.config)
        same = (n for n, other in trained.items() if _network_fields(other.config) == fields)
        network = next(same, variant.name)
        trained.setdefault(network, variant)
        drawn = [Option(DEFAULT, variant.config)]
        drawn += [parse_option(text, variant.config, sampler=True) for text in samplers]
        _check_names([sampler.name for sampler in drawn], "--sampler")
        for sampler in drawn:
            check(sampler.config)
            other = differences(flatten(sampler.config), flatten(variant.config))
            if other:
                raise ValueError(
                    f"sampler {sampler.name!r} changes the network ({'; '.join(other)}); make it a "
                    "--variant"
                )
            images = network, sampler.config.to_dict(), sampler.num_samples, sampler.ema
            if images not in shown:
                shown.append(images)
                cases.append(Case(variant, sampler, network))
    return trained, cases


def _network_fields(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Return the fields that are not of sampling and evaluation alone."""
    from sgm_jax.config import flatten

    fields = flatten(config)
    return {k: v for k, v in fields.items() if k.split(".")[0] not in ("sampling", "eval")}


def _check_names(names: list[str], flag: str) -> None:
    folders = [folder_name(name) for name in names]
    twice = {n for n, folder in zip(names, folders, strict=True) if folders.count(folder) > 1}
    if twice:
        raise ValueError(f"{flag}: names must differ; rename {', '.join(sorted(twice))}")


def folder_name(name: str) -> str:
    """Return a name that can be part of a path."""
    return re.sub(r"[^\w.+-]+", "_", name)
