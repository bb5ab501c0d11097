"""Which configuration a command line means: a file of one, and the fields that differ from it.

A file is one of ``configs/``, or the ``config.json`` that a run left in its workdir.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

_OVERRIDE = re.compile(r"--?(no)?config\.\S+")


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command line without its ``--config.FIELD=VALUE``, and those.

    The fields are known only when the configuration is, which other flags may name.
    """
    arguments = flags.FLAGS.read_flags_from_files(list(arguments), force_gnu=False)
    rest, overrides = arguments[:1], []
    waiting = arguments[1:]
    while waiting:
        argument = waiting.pop(0)
        if not _OVERRIDE.match(argument):
            rest.append(argument)
        elif "=" not in argument and waiting and not waiting[0].startswith("-"):
            overrides.append(f"{argument}={waiting.pop(0)}")
        else:
            overrides.append(argument)
    return rest, overrides


def overridden(
    config: ml_collections.ConfigDict, overrides: Sequence[str]
) -> ml_collections.ConfigDict:
    """Return a configuration, locked, with the fields of ``--config.FIELD=VALUE`` changed.

    Raises:
        ValueError: for a field that does not exist, or a value of another type.
    """
    config = config.copy_and_resolve_references()
    values = flags.FlagValues()
    arguments = ["", *overrides]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        unread = values(arguments)[1:]
    except (AttributeError, KeyError) as error:
        raise ValueError(_no_field(config, overrides)) from error
    except (flags.Error, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{' '.join(overrides)}: {reason}") from error
    if unread:
        raise ValueError(f"unexpected argument {unread[0]}")
    return config.lock()


def _no_field(config: ml_collections.ConfigDict, overrides: Sequence[str]) -> str:
    """Say which of the fields does not exist, and which one may be meant."""
    known = _names(config)
    for override in overrides:
        name = override.partition("=")[0].partition("config.")[2]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean --config.{near[0]}?" if near else ""
            return f"the configuration has no field --config.{name}{hint}"
    return f"the configuration has not all fields of {' '.join(overrides)}"


def _names(config: ml_collections.ConfigDict, prefix: str = "") -> list[str]:
    names = []
    for name, value in config.items():
        names.append(f"{prefix}{name}")
        if isinstance(value, ml_collections.ConfigDict):
            names += _names(value, f"{prefix}{name}.")
    return names


def read_experiment(path: str) -> ml_collections.ConfigDict:
    """Return the configuration of a file, locked.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no configuration.
    """
    file = Path(path.partition(":")[0] if not Path(path).exists() else path)
    if file.is_dir() and (file / "config.json").is_file():
        file = file / "config.json"
    if not file.is_file():
        raise FileNotFoundError(f"no configuration {path} (working directory {Path.cwd()})")
    if file.suffix == ".json":
        from sgm_jax.run.files import read_object

        return from_json(read_object(file, fix="restore it, or give another --config"))
    if file.suffix != ".py":
        raise ValueError(
            f"--config={path} is no configuration; give a .py file of configs/, or the "
            "config.json of a run"
        )
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=[""])
    values(["", f"--config={path}"])
    return values.config


def from_json(stored: dict[str, Any]) -> ml_collections.ConfigDict:
    """Return a configuration that was written as JSON, locked, with the fields that came later."""
    from sgm_jax.run.workdir import completed

    return ml_collections.ConfigDict(_with_tuples(completed(stored))).lock()


def _with_tuples(value: Any) -> Any:
    """Return a configuration with the tuples that JSON made lists."""
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(value) if isinstance(value, list) else value
