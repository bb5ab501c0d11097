"""Which configuration a command line means: a file of one, and the fields that differ from it.

A file is one of ``configs/``, by its name alone where the package is installed, or the
``config.json`` that a run left in its workdir.
"""

import difflib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from sgm_jax.run.address import refuse_address, refuse_addresses

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
    refuse_addresses({"config": config})
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


def with_found_config(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose ``--config`` is a file, see :func:`find_config`."""
    found = list(arguments)
    for place, argument in enumerate(found):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config") and equals:
            found[place] = f"{flag}={find_config(value)}"
        elif flag in ("--config", "-config") and place + 1 < len(found):
            found[place + 1] = find_config(found[place + 1])
    return found


def find_config(name: str) -> str:
    """Return the file of a configuration that is named as in a checkout, or by its name alone.

    ``configs/demo.py``, ``demo.py`` and ``demo`` mean the installed one, from any folder, unless
    there is such a file here. What is not found comes back as it is.
    """
    path, colon, argument = name.partition(":")
    path = Path(path)
    named = str(path.parent) in (".", "configs") and path.suffix in ("", ".py")
    if not named or path.is_file() or (path / "config.json").is_file():
        return name
    files = (folder / f"{path.stem}.py" for folder in _installed())
    return next((f"{file}{colon}{argument}" for file in files if file.is_file()), name)


def config_names() -> list[str]:
    """Return the names of the configurations that are installed."""
    files = [file.stem for folder in _installed() for file in folder.glob("*.py")]
    return sorted(name for name in set(files) if not name.startswith("_"))


def _installed() -> list[Path]:
    """Return the folders of the package ``configs``, without importing it."""
    spec = importlib.util.find_spec("configs")
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def read_experiment(path: str) -> ml_collections.ConfigDict:
    """Return the configuration of a file, locked.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no configuration.
    """
    refuse_address(path, "--config")
    path = find_config(path)
    file = Path(path.partition(":")[0] if not Path(path).exists() else path)
    if file.is_dir() and (file / "config.json").is_file():
        file = file / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"no configuration {path} (working directory {Path.cwd()}); give a file, or a name of "
            f"the package: {', '.join(config_names())}"
        )
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
