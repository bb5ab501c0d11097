"""The folder of a run: what is in it, and that it belongs to this configuration.

``config.json  provenance.jsonl  metrics.jsonl  log.txt  checkpoints/<step>/  samples/``
"""

import contextlib
import copy
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections

from sgm_jax.run import distributed, parallel
from sgm_jax.run.checkpoints import steps
from sgm_jax.run.files import append_json, read_object, write_json
from sgm_jax.run.lock import locked
from sgm_jax.run.log import LOGGER, to_file

DATA_FILE = "data.json"
# How long and how closely a run is watched.
FREQUENCIES = (
    "training.n_iters",
    "training.log_freq",
    "training.eval_freq",
    "training.snapshot_freq",
    "training.snapshot_freq_for_preemption",
)
# What may change between two starts of one run.
FREE = (
    *FREQUENCIES,
    "training.n_jitted_steps",
    "training.snapshot_sampling",
    "training.keep_best",
    "training.tensorboard",
    "data.train_path",
    "data.test_path",
    "data.labels_path",
    "data.condition",
)
# Fields that say nothing to a network that sees no conditions, and their values there.
CONDITIONAL = {
    "data.condition": "",
    "data.particles": (),
    "data.momentum_range": (),
    "model.condition": (),
    "model.momentum_scale": 500.0,
    "training.drop_condition": 0.1,
    "training.drop_field": 0.1,
    "sampling.guidance": 1.0,
    "sampling.guidance_interval": (),
}
# Fields that came after the first published weights; the values mean what was done before them.
ADDED = {
    "optim.decay_start": 1000,
    "data.planes": False,
    "data.saturation": 0.0,
    "training.keep_best": False,
    "sampling.ode_batch": 4,
    "sampling.rejection": "",
    "sampling.rejection_bound": 4.0,
    "sampling.symmetry": "none",
    **CONDITIONAL,
}
# The same, of families that learn scores or look at noised images.
ADDED_TO_NOISED = {
    "model.overview": 0,
    "model.momentum_map": False,
    "sampling.weaker": "",
    "sampling.autoguidance": 2.0,
    "sampling.gain": 1.0,
    "sampling.gain_interval": (0.2, 3.0),
}
# And of the autoregressive family.
ADDED_TO_SARM = {
    "model.saturated": False,
    "sampling.gate_temperature": 1.0,
    "sampling.one_saturated": False,
}
# Of discriminators, which saw no lines.
ADDED_TO_DISCRIMINATORS = {"model.directions": 0, "model.line_channels": [16, 32, 48]}
ADDED_TO_FAMILIES = {"sarm": ADDED_TO_SARM, "discriminator": ADDED_TO_DISCRIMINATORS}
# Fields that a run measures when it begins, and their values before.
MEASURED = {
    "data.std": -1,
    "data.momentum_range": [],
    "model.order_places": [],
    "model.first_stage_hash": "",
    "model.standard": [],
    "data.drawn_from": "",
}
# Those of them that only some families have.
MEASURED_BY_FAMILIES = ("model.order_places", "model.first_stage_hash", "model.standard")
MEASURED_BY_FAMILIES += ("data.drawn_from",)
FREE_SECTIONS = ("sampling", "eval", "simulation")
PACKAGES = ("sgm_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def read_config(workdir: Path) -> dict[str, Any] | None:
    """Return the flattened configuration that a workdir was made with, if it was.

    Raises:
        ValueError: if the file is damaged.
    """
    path = Path(workdir) / "config.json"
    if not path.is_file():
        return None
    fix = "restore it or start another run"
    content = read_object(path, fix=fix)
    try:
        return flatten(ml_collections.ConfigDict(completed(content)))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); {fix}") from error


def completed(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored configuration with the fields that came after it was written.

    Those are of generators; a run of SSNet has fields of its own.
    """
    if "generator" not in stored:
        return stored
    stored = copy.deepcopy(stored)
    noised = isinstance(stored.get("training"), dict) and "objective" in stored["training"]
    added = ADDED | (ADDED_TO_NOISED if noised else {})
    added |= ADDED_TO_FAMILIES.get(stored["generator"], {})
    for place, value in added.items():
        section, name = place.split(".")
        if isinstance(stored.get(section), dict):
            stored[section].setdefault(name, value)
    return stored


def stored_std(workdir: Path, stored: dict[str, Any]) -> float:
    """Return the standard deviation of the pixels that a run measured when it began.

    Raises:
        ValueError: if its configuration has none.
    """
    std = stored.get("data.std")
    if isinstance(std, bool) or not isinstance(std, int | float):
        raise ValueError(
            f"{workdir}/config.json is damaged (data.std is {std!r}); restore it or start another "
            "run"
        )
    return float(std)


def stored_range(workdir: Path, stored: dict[str, Any]) -> tuple[float, ...]:
    """Return the range of momenta that a run measured when it began.

    Raises:
        ValueError: if its configuration has none.
    """
    ends = stored.get("data.momentum_range")
    if not isinstance(ends, list) or not all(isinstance(end, int | float) for end in ends):
        raise ValueError(
            f"{workdir}/config.json is damaged (data.momentum_range is {ends!r}); restore it or "
            "start another run"
        )
    return tuple(map(float, ends))


def stored_by_family(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the family of a run measured when it began, if any."""
    fields = {name: stored[name] for name in MEASURED_BY_FAMILIES if name in stored}
    return {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}


def check_workdir(
    workdir: Path, config: ml_collections.ConfigDict, *, free: tuple[str, ...] = ()
) -> None:
    """Refuse a workdir that cannot be written, or that holds checkpoints of another configuration.

    Touches nothing.

    Args:
        workdir: of the run.
        config: of this start.
        free: fields that may differ, beside those of :func:`is_free`.

    Raises:
        PermissionError: if it cannot be written.
        ValueError: with the fields that differ.
    """
    workdir = Path(workdir)
    _check_writable(workdir)
    stored = read_config(workdir)
    if not steps(workdir):
        return
    if stored is None:
        raise ValueError(
            f"{workdir} holds checkpoints and no config.json; choose another --workdir"
        )
    different = differences(flatten(config), stored, free=free)
    if different:
        raise ValueError(
            f"{workdir} holds checkpoints of another configuration; choose another --workdir. "
            f"It differs in {'; '.join(different)}"
        )


def _check_writable(workdir: Path) -> None:
    """Refuse a workdir in which, or above which, nothing can be made."""
    for folder in (workdir, workdir / "checkpoints"):
        where = folder.absolute()
        try:
            where = next(path for path in (where, *where.parents) if path.exists())
            allowed = where.is_dir() and os.access(where, os.W_OK | os.X_OK, effective_ids=True)
        except PermissionError:  # not even to look into
            allowed = False
        if not allowed:
            raise PermissionError(
                f"workdir {workdir} cannot be written: {where}; choose another --workdir, or "
                "change who may write there"
            )


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Return the fields as ``{"section.field": value}``, tuples as lists, as JSON would."""
    nested = json.loads(json.dumps(config.to_dict()))
    flat = {}
    for section, value in nested.items():
        if isinstance(value, dict):
            flat |= {f"{section}.{name}": item for name, item in value.items()}
        else:
            flat[section] = value
    return flat


def without_conditions(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the flattened fields that mean something: of a network without conditions, not those.

    So what was made before there were such fields is still of the same recipe.
    """
    if fields.get("model.condition"):
        return fields
    return {name: value for name, value in fields.items() if name not in CONDITIONAL}


def is_free(name: str) -> bool:
    """Tell whether a field may change without making another network."""
    return name in FREE or name.split(".")[0] in FREE_SECTIONS


def differences(
    ours: dict[str, Any], stored: dict[str, Any], *, free: tuple[str, ...] = ()
) -> list[str]:
    """Return which fields stop two flattened configurations from being one run, as text.

    Args:
        ours: the configuration of this start.
        stored: that of the run.
        free: fields that may differ, beside those of :func:`is_free`.
    """
    different = []
    for name in sorted(ours.keys() | stored.keys()):
        measured = name in MEASURED and ours.get(name) == MEASURED[name]
        # Such a learning rate depends on where it ends.
        falling = ours.get("optim.schedule") in ("cosine", "linear")
        schedule = name == "training.n_iters" and falling
        may_change = measured or name in free or (is_free(name) and not schedule)
        if not may_change and ours.get(name) != stored.get(name):
            different.append(f"{name}: {stored.get(name)!r} there, {ours.get(name)!r} here")
    return different


def prepare(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Make the folder, and record the configuration and where it ran."""
    if not parallel.is_main():
        return
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "config.json", config.to_dict())
    append_json(workdir / "provenance.jsonl", provenance())


def check_data(
    workdir: Path, fingerprint: str, *, source: str = "--config.data.train_path"
) -> None:
    """Refuse to go on with other training images than a run began with.

    Args:
        workdir: of the run.
        fingerprint: of the images.
        source: the flag that names them, for the message.

    Raises:
        ValueError: if they are others; nothing is touched.
    """
    note = Path(workdir) / DATA_FILE
    fix = "remove it to go on with the images that are there now"
    begun = read_object(note, fix=fix).get("train") if note.is_file() else fingerprint
    if steps(workdir) and begun != fingerprint:
        raise ValueError(
            f"{workdir} was trained on other images (or on other labels of them) than "
            f"{source} now holds (fingerprint {begun} there, {fingerprint} here); restore them, "
            "choose another "
            f"--workdir, or remove {note} to go on with these"
        )


def began_with(workdir: Path, weights: str) -> bool:
    """Tell whether a run began with the weights of this hash, whatever their file was called.

    Raises:
        ValueError: if the note of it is damaged.
    """
    note = Path(workdir) / DATA_FILE
    return note.is_file() and read_object(note, fix="restore it").get("initial") == weights


def note_data(workdir: Path, fingerprint: str, initial: str | None) -> None:
    """Keep the fingerprint of the training images, and the hash of the weights to begin with."""
    note = {"train": fingerprint} | ({} if initial is None else {"initial": initial})
    write_json(Path(workdir) / DATA_FILE, note)


@contextlib.contextmanager
def claimed(
    workdir: Path,
    config: ml_collections.ConfigDict,
    fingerprint: str,
    *,
    initial: str | None = None,
) -> Iterator[None]:
    """Hold a workdir for this run alone, and keep what runs in it and what it says.

    Args:
        workdir: accepted by :func:`check_workdir` and :func:`check_data`.
        config: of the run.
        fingerprint: of the images that it trains on.
        initial: hash of the weights that it begins with, if it does.

    Raises:
        ValueError: on all processes, if another run holds it.
    """
    with contextlib.ExitStack() as stack:

        def take() -> bool:
            stack.enter_context(locked(workdir, fix="choose another --workdir"))
            prepare(workdir, config)
            note_data(workdir, fingerprint, initial)
            stack.enter_context(to_file(Path(workdir) / "log.txt"))
            return True

        distributed.decided(take)
        LOGGER.info("%s; workdir %s", parallel.describe(), workdir)
        yield


def provenance() -> dict[str, Any]:
    """Return time, command, git commit, versions and devices of this process."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "git_commit": _git_commit(),
        "python": sys.version.split()[0],
        "versions": {name: package_version(name) for name in PACKAGES},
        "devices": parallel.describe(),
    }


def package_version(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the source tree, with a + where files differ from it."""
    where = Path(__file__).parent
    command = ["git", "-C", str(where), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
