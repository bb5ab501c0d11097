"""Simulate a data set: chunks of events on all cores, written in order, whole or not at all."""

import contextlib
import itertools
import json
import multiprocessing
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import h5py
import ml_collections
from tqdm import tqdm

from sgm_jax.simulation.argon_data import Geant4Data, find_or_write_data
from sgm_jax.simulation.chunk import SPLIT_EVENTS, SPLITS, Chunk, make_chunk, start_worker
from sgm_jax.simulation.config import check
from sgm_jax.simulation.dataset import (
    LABELS,
    RECIPE,
    SplitWriter,
    is_complete,
    make_recipe,
)
from sgm_jax.simulation.geant4 import import_calzone

_BARREN_CHUNKS = 20  # this many chunks in a row without a single image: the settings are at fault


@dataclass(frozen=True)
class Summary:
    """What a simulation made: per split, the images and the events they came from."""

    images: dict[str, int]
    events: dict[str, int]
    data_kind: str  # of Geant4's data: official or approximated
    seconds: float
    reused: bool  # the data set was already there, made by the same recipe

    def __str__(self) -> str:
        counts = ", ".join(
            f"{self.images[split]} {split} images from {self.events[split]} events"
            for split in SPLITS
        )
        verb = "already there, same recipe" if self.reused else f"made in {self.seconds:.0f} s"
        return f"{counts}; Geant4 data {self.data_kind}; {verb}"


def simulate(
    config: ml_collections.ConfigDict, out: Path, *, seed: int, progress: bool = True
) -> Summary:
    """Simulate the training and test images of ``config`` into the new folder ``out``.

    Equal settings and seed give equal bytes, whatever the number of processes. The folder appears
    by one rename when all is written; a run that fails or is killed leaves at most a folder
    ``<out>.partial-*``.

    Args:
        config: as from ``default_simulation_config``.
        out: folder to make; a complete one of the same recipe is kept and reported.
        seed: seed of everything random, >= 0.
        progress: whether to show bars with images per second.

    Raises:
        ValueError: if a setting is bad, ``out`` holds something else, or no image passes.
        ModuleNotFoundError: if calzone or xraydb is not installed.
        RuntimeError: if a worker process dies.
    """
    check(config)
    if seed < 0:
        raise ValueError(f"seed = {seed} must be >= 0")
    import_calzone()
    data = find_or_write_data()
    recipe = make_recipe(config, seed, data)
    out = Path(out)
    if is_complete(out, recipe):
        return _read_summary(out, data.kind)
    started = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f"{out.name}.partial-{uuid.uuid4().hex[:8]}")
    draft.mkdir()
    try:
        with _pool(config, data) as pool:
            images, events = _write(
                pool, config, draft, seed=seed, progress=progress, recipe=recipe
            )
        draft.rename(out)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a simulation process died (killed, or out of memory?); nothing was written to {out}. "
            f"Start again, with a smaller simulation.num_workers if memory is short"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    seconds = time.monotonic() - started
    return Summary(images, events, data.kind, seconds, reused=False)


def count_workers(config: ml_collections.ConfigDict) -> int:
    """Return the number of processes: as configured, or one for each core this process may use."""
    if config.num_workers != -1:
        return config.num_workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pool(config: ml_collections.ConfigDict, data: Geant4Data) -> ProcessPoolExecutor:
    """Return the pool of processes; spawned, for a forked JAX or Geant4 may hang."""
    return ProcessPoolExecutor(
        count_workers(config),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(config, data),
    )


def _ordered_chunks(
    pool: ProcessPoolExecutor, seed: int, split: int, ahead: int
) -> Iterator[Chunk]:
    """Yield the chunks 0, 1, 2, ... of a split, ``ahead`` of them in the making at any time."""
    pending = deque(pool.submit(make_chunk, seed, split, k) for k in range(ahead))
    try:
        for number in itertools.count(ahead):
            yield pending.popleft().result()
            pending.append(pool.submit(make_chunk, seed, split, number))
    finally:
        for future in pending:
            future.cancel()


def _write(
    pool: ProcessPoolExecutor,
    config: ml_collections.ConfigDict,
    draft: Path,
    *,
    seed: int,
    progress: bool,
    recipe: dict,
) -> tuple[dict[str, int], dict[str, int]]:
    """Write the whole data set into ``draft``; return images and events per split."""
    images, events = {}, {}
    with h5py.File(draft / LABELS, "w") as labels:
        labels.attrs["recipe"] = json.dumps(recipe, sort_keys=True)
        for index, split in enumerate(SPLITS):
            wanted = config[f"num_{split}"]
            writer = SplitWriter(
                draft, labels, split=split, wanted=wanted, image_size=config.image_size
            )
            events[split] = 0
            if wanted:
                ahead = 2 * count_workers(config)
                with contextlib.closing(_ordered_chunks(pool, seed, index, ahead)) as chunks:
                    _fill(writer, chunks, wanted, split=split, progress=progress)
                last = int(labels[split]["event_id"][-1])
                events[split] = last - index * SPLIT_EVENTS + 1
            images[split] = writer.written
            labels[split].attrs["events"] = events[split]
    (draft / RECIPE).write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")
    return images, events


def _fill(
    writer: SplitWriter, chunks: Iterator[Chunk], wanted: int, *, split: str, progress: bool
) -> None:
    """Feed chunks to the writer until it has the wanted number of images."""
    barren = 0
    with tqdm(total=wanted, desc=split, unit="img", disable=not progress) as bar:
        while writer.written < wanted:
            added = writer.add(next(chunks))
            barren = 0 if added else barren + 1
            if barren == _BARREN_CHUNKS:
                raise ValueError(
                    f"no image in {barren} chunks of events passed the selection; "
                    "lower simulation.threshold_mev or min_lit_fraction, or raise the momenta"
                )
            bar.update(added)


def _read_summary(out: Path, data_kind: str) -> Summary:
    """Return the summary of a data set that is already there."""
    with h5py.File(out / LABELS) as labels:
        events = {split: int(labels[split].attrs["events"]) for split in SPLITS}
        images = {
            split: len(labels[split]["event_id"]) if "event_id" in labels[split] else 0
            for split in SPLITS
        }
    return Summary(images, events, data_kind, 0.0, reused=True)
