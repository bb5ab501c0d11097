"""The folder of composed events: the charges of their particles, added, cut and written.

``samples.npz  truth.npz  particles.csv  grid.png  recipe.json``, and while events are drawn
``parts/``, which holds what each particle left. The truth is all that is drawn: images are its
sums.
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.data import to_uint8
from sgm_jax.data.events import Events
from sgm_jax.data.grid import save_grid
from sgm_jax.drawn import GRID_IMAGES
from sgm_jax.run import workdir
from sgm_jax.run.files import atomic_write, write_arrays, write_blocks, write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts

FAINT = 4  # levels up to this are cut from the sum, as from samples
INSIDE, CANVAS, UNFINISHED = "inside", "canvas", "unfinished"
ENDS = (INSIDE, CANVAS, UNFINISHED)
TRUTH = ("event", "particle", "row", "column", "charge_mev")
# Particles between two writes.
BLOCK = 128


def blocks_of(events: Events) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of parts and the events ``[m]`` of each, some hundred particles."""
    ids, count = np.unique(events.event, return_counts=True)
    block = (np.cumsum(count) - count) // BLOCK
    for number in np.unique(block):
        yield f"{number:09d}.npz", ids[block == number]


def assemble(
    folder: Path,
    recipe: dict[str, Any],
    events: Events,
    parts: Parts,
    *,
    mev: float,
    size: tuple[int, int],
    names: Sequence[str],
) -> None:
    """Add the charges and write the final files.

    Args:
        folder: of the files.
        recipe: JSON values that decide what they are.
        events: the list of particles.
        parts: a part with the truth for each block of events.
        mev: of a grey level.
        size: height and width of the images.
        names: of the kinds of particle.
    """
    blocks = list(blocks_of(events))
    tables = [parts.load(name) for name, _ in blocks]
    ids, shape = events.ids, (len(events.ids), *size, 1)
    clipped = Counter(images=0, pixels=0)

    def raw() -> Iterator[np.ndarray]:
        for table, (_, numbers) in zip(tables, blocks, strict=True):
            ends = np.searchsorted(table["event"], [*numbers, numbers[-1] + 1])
            flat = table["row"].astype(np.int64) * size[1] + table["column"]
            for first, stop in itertools.pairwise(ends):
                total = np.bincount(
                    flat[first:stop], table["charge_mev"][first:stop], size[0] * size[1]
                )
                yield (total / mev).astype(np.float32).reshape(1, *size, 1)

    def samples() -> Iterator[np.ndarray]:
        for levels in raw():
            bright = (levels >= 256).sum(axis=(1, 2, 3))
            clipped.update(images=int((bright > 0).sum()), pixels=int(bright.sum()))
            yield to_uint8(levels, FAINT)

    arrays = {
        "samples": (shape, np.uint8, samples()),
        "raw": (shape, np.float32, raw()),
        "event": (ids.shape, np.int64, [ids.astype(np.int64)]),
    }
    write_blocks(folder / "samples.npz", arrays)
    truth = {name: np.concatenate([table[name] for table in tables]) for name in TRUTH}
    write_arrays(folder / "truth.npz", truth)
    ends = _write_particles(folder / "particles.csv", events, tables, names)
    with np.load(folder / "samples.npz") as stack:
        save_grid(folder / "grid.png", stack["samples"][:GRID_IMAGES])
    drawn = int(sum(table["images"].sum() for table in tables))
    about = {"num_samples": len(ids), "particles": len(events.event), "images_drawn": drawn}
    about |= {"clipped": dict(clipped), "ends": ends}
    write_json(folder / "recipe.json", recipe | about | workdir.provenance())
    LOGGER.info(
        "%d events of %d particles, drawn in %d images, in %s; %d pixels above %.4g MeV, in %d "
        "events, are clipped",
        *(len(ids), len(events.event), drawn, folder),
        *(clipped["pixels"], 255 * mev, clipped["images"]),
    )
    LOGGER.info(
        "particles that end inside their images: %d; beyond the canvas: %d; beyond an image, and "
        "not continued: %d",
        *(ends[name] for name in ENDS),
    )


def _write_particles(
    path: Path, events: Events, tables: list[dict[str, np.ndarray]], names: Sequence[str]
) -> dict[str, int]:
    """Write what became of each particle; return how many ended how."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["event", "number", "particle", "px", "py", "pz", "charge_mev", "images", "end"]
    )
    ends = dict.fromkeys(ENDS, 0)
    for table in tables:
        for row, images, code in zip(table["list_row"], table["images"], table["end"], strict=True):
            event, number = int(events.event[row]), int(events.number[row])
            own = (table["event"] == event) & (table["particle"] == number)
            charge = f"{table['charge_mev'][own].sum(dtype=np.float64):.2f}"
            momentum = (f"{p:.6g}" for p in events.momentum[row])
            name = names[events.particle[row]]
            writer.writerow([event, number, name, *momentum, charge, int(images), ENDS[code]])
            ends[ENDS[code]] += 1
    with atomic_write(path) as stream:
        stream.write(text.getvalue().encode())
    return ends
