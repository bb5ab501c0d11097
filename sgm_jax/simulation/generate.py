"""Simulate a data set: chunks of events on all cores, written in order, whole or not at all."""

import contextlib
import itertools
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import h5py
import ml_collections
from tqdm import tqdm

from sgm_jax.simulation.argon_data import Geant4Data, find_or_write_data
from sgm_jax.simulation.chunk import (
    SPLIT_EVENTS,
    SPLITS,
    Chunk,
    load_chunk,
    make_chunk_file,
    start_worker,
)
from sgm_jax.simulation.config import check
from sgm_jax.simulation.dataset import (
    LABELS,
    RECIPE,
    LabelFile,
    SplitWriter,
    count_images,
    is_complete,
    make_recipe,
)
from sgm_jax.simulation.draft import Draft, draft_folder, explain_full_disk, is_draft, lock_draft
from sgm_jax.simulation.geant4 import import_calzone

_BARREN_CHUNKS = 20  # this many chunks in a row without a single image: the settings are at fault


class NoImagesError(ValueError):
    """The settings let no image pass the selection."""


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

    Equal settings and seed give equal bytes, whatever the number of processes and however often
    the run was interrupted. The folder appears by one rename when all is written. Until then the
    finished chunks lie in ``<out>.partial``, from where the same call goes on.

    Args:
        config: as from ``default_simulation_config``.
        out: folder to make; a complete one of the same recipe is kept and reported.
        seed: seed of everything random, >= 0.
        progress: whether to show bars with images per second.

    Raises:
        ValueError: if a setting is bad, ``out`` or ``<out>.partial`` holds something else, another
            process is at it, or no image passes.
        ModuleNotFoundError: if calzone or xraydb is not installed.
        OSError: if the disk is full.
        RuntimeError: if a worker process dies.
    """
    check(config)
    if seed < 0:
        raise ValueError(f"seed = {seed} must be >= 0")
    import_calzone()
    data = find_or_write_data()
    recipe = make_recipe(config, seed, data)
    out = Path(out)
    started = time.monotonic()
    reused = is_complete(out, recipe)
    if not reused or is_draft(draft_folder(out)):
        with lock_draft(out) as draft:
            reused = is_complete(out, recipe)  # another process may just have finished it
            if not reused:
                _make(config, data, draft, out, seed=seed, progress=progress, recipe=recipe)
            draft.remove()
    images, events = count_images(out)
    seconds = 0.0 if reused else time.monotonic() - started
    return Summary(images, events, data.kind, seconds, reused)


def _make(
    config: ml_collections.ConfigDict,
    data: Geant4Data,
    draft: Draft,
    out: Path,
    *,
    seed: int,
    progress: bool,
    recipe: dict,
) -> None:
    """Make the data set in its draft and move it to ``out``."""
    with explain_full_disk(draft.folder):
        draft.prepare(recipe)
        try:
            with _pool(config, data) as pool:
                _write(pool, config, draft, seed=seed, progress=progress, recipe=recipe)
            draft.data.rename(out)
        except NoImagesError:
            draft.remove()
            raise
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a simulation process died (killed, or out of memory?). The finished chunks are "
                f"kept in {draft.folder}, and the same command goes on from there; use a smaller "
                "simulation.num_workers if memory is short"
            ) from error
        finally:
            draft.drop_data()
            draft.remove_if_barren()


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
    pool: ProcessPoolExecutor, draft: Draft, seed: int, split: str, *, ahead: int
) -> Iterator[Chunk]:
    """Yield the chunks 0, 1, 2, ... of a split, ``ahead`` of them in the making at any time.

    Only those that an earlier run has not finished are made.
    """
    pending: deque[tuple[Path, Future | None]] = deque()
    try:
        for number in itertools.count():
            path = draft.chunk_path(split, number)
            job = (seed, SPLITS.index(split), number, path)
            future = None if path.exists() else pool.submit(make_chunk_file, *job)
            pending.append((path, future))
            if len(pending) < ahead:
                continue
            path, future = pending.popleft()
            if future is not None:
                future.result()
            yield load_chunk(path)
    finally:
        for _, future in pending:
            if future is not None:
                future.cancel()


def _write(
    pool: ProcessPoolExecutor,
    config: ml_collections.ConfigDict,
    draft: Draft,
    *,
    seed: int,
    progress: bool,
    recipe: dict,
) -> None:
    """Write the whole data set into ``draft.data``."""
    with LabelFile(draft.data / LABELS, "w+") as file:
        with h5py.File(file, "w") as labels:
            labels.attrs["recipe"] = json.dumps(recipe, sort_keys=True)
            for split in SPLITS:
                wanted, size = config[f"num_{split}"], config.image_size
                writer = SplitWriter(
                    draft.data, labels, split=split, wanted=wanted, image_size=size
                )
                ahead = 2 * count_workers(config)
                chunks = _ordered_chunks(pool, draft, seed, split, ahead=ahead)
                with contextlib.closing(chunks):
                    _fill(writer, chunks, wanted, split=split, progress=progress, file=file)
                labels[split].attrs["events"] = _events_up_to_last(labels[split], split)
        file.check()
    (draft.data / RECIPE).write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")


def _events_up_to_last(group: h5py.Group, split: str) -> int:
    """Return the number of events simulated for the images of a split."""
    if "event_id" not in group:
        return 0
    return int(group["event_id"][-1]) - SPLITS.index(split) * SPLIT_EVENTS + 1


def _fill(
    writer: SplitWriter,
    chunks: Iterator[Chunk],
    wanted: int,
    *,
    split: str,
    progress: bool,
    file: LabelFile,
) -> None:
    """Feed chunks to the writer until it has the wanted number of images."""
    barren = 0
    with tqdm(total=wanted, desc=split, unit="img", disable=not progress) as bar:
        while writer.written < wanted:
            added = writer.add(next(chunks))
            file.check()
            barren = 0 if added else barren + 1
            if barren == _BARREN_CHUNKS:
                raise NoImagesError(
                    f"no image in {barren} chunks of events passed the selection; "
                    "lower simulation.threshold_mev or min_lit_fraction, or raise the momenta"
                )
            bar.update(added)
