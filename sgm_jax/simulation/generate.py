"""Simulate a data set: chunks of events on all cores, written in order, whole or not at all."""

import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import shutil
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

from sgm_jax.run.files import write_json
from sgm_jax.run.parts import RECIPE, Parts, is_claimed, open_parts
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
    Counts,
    LabelFile,
    SplitWriter,
    count_images,
    is_complete,
    make_recipe,
)
from sgm_jax.simulation.geant4 import import_calzone

_CHUNKS, _DATA = "chunks", "data"  # folders of the finished chunks and of the data set they become
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BARREN_CHUNKS = 20  # after so many chunks in a row without an image, the settings are to blame


class NoImagesError(ValueError):
    """The settings let no image pass the selection."""


@dataclass(frozen=True)
class Summary(Counts):
    """What a simulation made: per split, the images and the events they came from."""

    mev_per_level: float | None  # None if every image has a scale of its own
    data_kind: str  # of Geant4's data: official or approximated
    seconds: float
    reused: bool  # a data set of the same recipe existed already

    def __str__(self) -> str:
        counts = ", ".join(
            f"{self.images[split]} {split} images from {self.events[split]} events"
            for split in SPLITS
        )
        verb = (
            "exists already, with the same recipe"
            if self.reused
            else f"made in {self.seconds:.0f} s"
        )
        return f"{counts}{self._scale()}; Geant4 data {self.data_kind}; {verb}"

    def _scale(self) -> str:
        """Say what the one scale of all images is, if they have one, and what it costs."""
        if self.mev_per_level is None:
            return ""
        pixels, images = (sum(c.values()) for c in (self.clipped_pixels, self.clipped_images))
        return (
            f"; a grey level is {self.mev_per_level:.4g} MeV in all of them, and {pixels} pixels "
            f"above {255 * self.mev_per_level:.4g} MeV, in {images} images, are clipped"
        )


def simulate(
    config: ml_collections.ConfigDict, out: Path, *, seed: int, progress: bool = True
) -> Summary:
    """Simulate the training and test images of ``config`` into the new folder ``out``.

    Equal settings and seed give equal bytes, whatever the number of processes and however often
    the run was interrupted. The folder appears by one rename when everything is written. Until
    then the finished chunks are in ``<out>.partial``, from which the same call continues.

    Args:
        config: as from ``default_simulation_config``.
        out: folder to make; a complete one of the same recipe is kept and reported.
        seed: seed of everything random, >= 0.
        progress: whether to show bars with images per second.

    Raises:
        ValueError: if a setting is bad, ``out`` or ``<out>.partial`` holds something else, another
            process works on it, or no image passes.
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
    partial = out.with_name(f"{out.name}.partial")
    reused = is_complete(out, recipe)
    if not reused or is_claimed(partial):
        fix = f"delete {partial}, or choose another output folder"
        with _explained_if_full(partial), open_parts(partial, recipe, fix=fix) as parts:
            reused = is_complete(out, recipe)  # another process may just have finished it
            if not reused:
                _make(config, data, parts, out, recipe=recipe, progress=progress)
            parts.remove()
    return Summary(
        **vars(count_images(out)),
        mev_per_level=recipe.get("mev_per_level"),
        data_kind=data.kind,
        seconds=0.0 if reused else time.monotonic() - started,
        reused=reused,
    )


def _make(
    config: ml_collections.ConfigDict,
    data: Geant4Data,
    parts: Parts,
    out: Path,
    *,
    recipe: dict,
    progress: bool,
) -> None:
    """Make the missing chunks, write the data set beside them and move it to ``out``."""
    chunks, draft = parts.path(_CHUNKS), parts.path(_DATA)
    chunks.mkdir(exist_ok=True)
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    draft.mkdir()
    # Spawned, for a forked JAX or Geant4 may hang.
    pool = ProcessPoolExecutor(
        count_workers(config),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(config, data),
    )
    try:
        with pool, _ended_if_stopped():
            _write(pool, config, chunks, draft, recipe=recipe, progress=progress)
        draft.rename(out)
    except NoImagesError:
        parts.remove()
        raise
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a simulation process died (killed, or out of memory?). The finished chunks are kept "
            f"in {parts.folder}, and the same command goes on from there; use a smaller "
            "--config.simulation.num_workers if memory is short"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _ended_if_stopped() -> Iterator[None]:
    """End the processes that were started in the block if it is interrupted, in mid-chunk."""
    before = multiprocessing.active_children()
    try:
        yield
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            if process not in before:
                process.terminate()
        raise


@contextlib.contextmanager
def _explained_if_full(partial: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that says what is kept and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        free_mb = shutil.disk_usage(partial.parent).free / 1e6
        raise OSError(
            error.errno,
            f"the disk of {partial} is full, or a quota is reached ({error.strerror}; "
            f"{free_mb:.0f} MB free). Finished chunks are kept there: make room and repeat the "
            "same command",
        ) from error


def count_workers(config: ml_collections.ConfigDict) -> int:
    """Return the number of processes: as configured, or one for each core this process may use."""
    if config.num_workers != -1:
        return config.num_workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ordered_chunks(
    pool: ProcessPoolExecutor, folder: Path, seed: int, split: str, *, ahead: int
) -> Iterator[Chunk]:
    """Yield the chunks 0, 1, 2, ... of a split, with up to ``ahead`` of them being made.

    Chunks that an earlier run has finished are not made again.
    """
    pending: deque[tuple[Path, Future | None]] = deque()
    try:
        for number in itertools.count():
            path = folder / f"{split}-{number:06d}.npz"
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
    chunk_folder: Path,
    draft: Path,
    *,
    recipe: dict,
    progress: bool,
) -> None:
    """Write the whole data set into ``draft``."""
    ahead = 2 * count_workers(config)
    with LabelFile(draft / LABELS, "w+") as file:
        with h5py.File(file, "w") as labels:
            labels.attrs["recipe"] = json.dumps(recipe, sort_keys=True)
            for split in SPLITS:
                wanted, size = config[f"num_{split}"], config.image_size
                writer = SplitWriter(draft, labels, split=split, wanted=wanted, image_size=size)
                chunks = _ordered_chunks(pool, chunk_folder, recipe["seed"], split, ahead=ahead)
                with (
                    contextlib.closing(chunks),
                    tqdm(total=wanted, desc=split, unit="img", disable=not progress) as bar,
                ):
                    _fill(writer, chunks, bar, file)
                labels[split].attrs["events"] = _events_up_to_last(labels[split], split)
        file.check()
    write_json(draft / RECIPE, recipe)


def _events_up_to_last(group: h5py.Group, split: str) -> int:
    """Return the number of events simulated for the images of a split."""
    if "event_id" not in group:
        return 0
    return int(group["event_id"][-1]) - SPLITS.index(split) * SPLIT_EVENTS + 1


def _fill(writer: SplitWriter, chunks: Iterator[Chunk], bar: tqdm, file: LabelFile) -> None:
    """Feed chunks to the writer until it has the wanted number of images."""
    barren = 0
    while writer.written < writer.wanted:
        added = writer.add(next(chunks))
        file.check()
        barren = 0 if added else barren + 1
        if barren == _BARREN_CHUNKS:
            raise NoImagesError(
                f"no image in {barren} chunks of events passed the selection; "
                "lower --config.simulation.threshold_mev or min_lit_fraction, or raise the momenta"
            )
        bar.update(added)
