"""Which configuration a command line means: a file of one, and the fields that differ from it.

A file is one of ``configs/``, by its name alone where the package is installed, or the
``config.json`` that a run left in its workdir.
"""

import difflib
import importlib.util
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from sgm_jax.run.address import refuse_address, refuse_addresses

_OVERRIDE = re.compile(r"--?(no)?config\.\S+")
_SECTIONS = ("data", "model", "training")
_KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: 'a list like "(1, 2)"',
}


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
    for override in overrides:
        _check_field(config, override)
    values = flags.FlagValues()
    arguments = ["", *overrides]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=arguments)
        unread = values(arguments)[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise ValueError(_no_value(config, overrides, error)) from error
    if unread:
        raise ValueError(f"unexpected argument {unread[0]}")
    refuse_addresses({"config": config})
    return config.lock()


def _check_field(config: ml_collections.ConfigDict, override: str) -> None:
    """Refuse a field that does not exist, and name the one that may be meant."""
    name, equals, _ = override.partition("=")
    negated = override.lstrip("-").startswith("noconfig.")
    name = name.partition("config.")[2]
    known = _names(config)
    if name not in known:
        near = _same_name(known, name) or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean --config.{' or --config.'.join(near)}?" if near else ""
        raise ValueError(f"the configuration has no field --config.{name}{hint}")
    if isinstance(known[name], ml_collections.ConfigDict):
        inside = next(iter(known[name]))
        raise ValueError(
            f"--config.{name} is a section; set one of its fields, such as --config.{name}.{inside}"
        )
    if not equals and not isinstance(known[name], bool):
        raise ValueError(f"--config.{name} needs a value: --config.{name}={known[name]}")
    if negated and not isinstance(known[name], bool):
        raise ValueError(f"--config.{name} is {known[name]!r}, which has no opposite")


def fields_called(name: str, source: str | None) -> list[str]:
    """Return the fields with this name in the sections of a configuration, if it can be read."""
    try:
        known = _names(read_experiment(source or "larcv_png64"))
    except (ValueError, OSError):
        return []
    return _same_name(known, name)


def _same_name(known: dict[str, Any], name: str) -> list[str]:
    """Return the fields whose last part is the last part of a name: the section was forgotten."""
    return [field for field in known if field.rpartition(".")[2] == name.rpartition(".")[2]]


def _no_value(config: ml_collections.ConfigDict, overrides: Sequence[str], error: Exception) -> str:
    """Say which value is not of the type of its field."""
    for override in overrides:
        name, _, value = override.partition("=")
        if f"{name.lstrip('-')}={value}" in str(error):
            now = _names(config)[name.partition("config.")[2]]
            kind = _KINDS.get(type(now), "something else")
            return f"{override}: this field is {kind}, such as {now!r}"
    return str(error).partition("\n")[0]


def _names(config: ml_collections.ConfigDict, prefix: str = "") -> dict[str, Any]:
    """Return all fields and sections by the names that are typed."""
    names = {}
    for name, value in config.items():
        names[f"{prefix}{name}"] = value
        if isinstance(value, ml_collections.ConfigDict):
            names |= _names(value, f"{prefix}{name}.")
    return names


def configured(overrides: Sequence[str]) -> ml_collections.ConfigDict:
    """Return the configuration of the flag ``--config``, with the fields of ``--config.FIELD``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if there is no such flag, no such field, or a value does not fit.
    """
    if flags.FLAGS.config is None:
        raise ValueError("no --config: name the experiment, such as --config=configs/demo.py")
    return overridden(read_experiment(flags.FLAGS.config), overrides)


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
        names = config_names()
        near = difflib.get_close_matches(file.stem, names, n=1)
        hint = f"; did you mean --config={near[0]}?" if near else ""
        raise FileNotFoundError(
            f"no configuration {path or '(an empty name)'} (working directory {Path.cwd()}); "
            f"give a file, or a name of the package: {', '.join(names)}{hint}"
        )
    if file.suffix == ".json":
        from sgm_jax.run.files import read_object

        stored = read_object(file, fix="restore it, or give another --config")
        if not all(isinstance(stored.get(name), dict) for name in _SECTIONS):
            raise ValueError(
                f"--config={path} is no configuration: it has no {', '.join(_SECTIONS)}; give a "
                ".py file of configs/, or the config.json of a run"
            )
        return from_json(stored)
    if file.suffix != ".py":
        raise ValueError(
            f"--config={path} is no configuration; give a .py file of configs/, or the "
            "config.json of a run"
        )
    return _executed(file, path.partition(":")[2] if path != str(file) else "")


def _executed(file: Path, argument: str) -> ml_collections.ConfigDict:
    """Return what ``get_config`` of a Python file returns, locked."""
    try:
        spec = importlib.util.spec_from_file_location("experiment", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception as error:  # a program can raise anything
        raise ValueError(f"--config={file} cannot be read: {_reason(error, file)}") from error
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(
            f"--config={file} is no configuration: it has no function get_config(); "
            "configs/demo.py is one"
        )
    try:
        config = module.get_config(*([argument] if argument else []))
    except Exception as error:  # a program can raise anything
        raise ValueError(f"--config={file}: get_config() fails: {_reason(error, file)}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise ValueError(
            f"--config={file} is no configuration: get_config() returns "
            f"{type(config).__name__}, not a ConfigDict"
        )
    return config.lock()


def _reason(error: Exception, file: Path) -> str:
    """Return an error of a Python file in one line, with the line of the file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)]
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    here = [line for line, name in zip(lines, names, strict=True) if Path(name) == file.absolute()]
    # A SyntaxError knows its line itself.
    where = f" in line {here[-1]}" if here else ""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return f"{type(error).__name__}: {' '.join(text.split())}{where}"


def from_json(stored: dict[str, Any]) -> ml_collections.ConfigDict:
    """Return a configuration that was written as JSON, locked, with the fields that came later."""
    from sgm_jax.run.workdir import completed

    return ml_collections.ConfigDict(_with_tuples(completed(stored))).lock()


def _with_tuples(value: Any) -> Any:
    """Return a configuration with the tuples that JSON made lists."""
    if isinstance(value, dict):
        return {name: _with_tuples(item) for name, item in value.items()}
    return tuple(value) if isinstance(value, list) else value
