"""From a list of final-state particles to images of whole events.

Each particle is drawn by a conditional generator, moved to the vertex of its event and added to the
others; the sum is cut and rounded once. Tracks that leave their image go on in another one, with
the momentum that is left, see :mod:`sgm_jax.tracks`. Particle j of event i depends on the seed, i,
j and its condition alone, and everything that was drawn is on disk at once.
"""

import dataclasses
import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from sgm_jax import generator as contract
from sgm_jax.autoguidance import read_weaker
from sgm_jax.composed import (
    CANVAS,
    ENDS,
    FAINT,
    INSIDE,
    TRUTH,
    UNFINISHED,
    assemble,
    blocks_of,
)
from sgm_jax.conditions import Conditions, Request, read_conditions
from sgm_jax.data import PixelScale
from sgm_jax.data.events import Events, read_events
from sgm_jax.drawer import Drawer
from sgm_jax.drawn import FIX
from sgm_jax.rejection import read_rejection
from sgm_jax.run import distributed, parallel
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts, finished_count, open_parts
from sgm_jax.sample import guidance_names, loaded, progress_bar, recipe_of
from sgm_jax.simulation.config import ABSOLUTE, KIND_NAMES, START
from sgm_jax.simulation.particles import MASS_MEV
from sgm_jax.symmetry import check_turnable
from sgm_jax.tracks import leaving, reaches_border
from sgm_jax.trained import Trained, chosen

# Kinds whose tracks go on in another image, and their masses in MeV.
TRACKS = {name: float(MASS_MEV[KIND_NAMES.index(name)]) for name in ("muon", "pion", "proton")}
# Up to these momenta in MeV/c an image that reaches 32 cm each way holds at least two thirds of the
# energy of half of all showers: configs/larcv_cond64.py, 10,000 showers of each kind. Half of it is
# there up to 550 and 370 MeV/c.
SHOWERS = {"electron": 230.0, "photon": 160.0}
SHOWERS_REACH_MM = 320.0
# Below this a drawn pixel is rounding, in levels.
DARK = 0.5
# Images of one track at most.
_MOST_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a pixel of a network is.

    Attributes:
        mev: of a grey level.
        pixel_mm: its side.
        model: of network space.
    """

    mev: float
    pixel_mm: float
    model: PixelScale

    def charge(self, images: np.ndarray) -> np.ndarray:
        """Return images of network space ``[n, H, W, C]`` in MeV, ``[n, H, W]``."""
        levels = self.model.from_model(images).mean(axis=-1, dtype=np.float64)
        if not np.isfinite(levels).all():
            raise ValueError("a drawn image holds NaN or infinity; the sampler diverged")
        return np.where(levels < DARK, 0.0, levels) * self.mev


@dataclasses.dataclass(frozen=True)
class Tile:
    """An image that is to be drawn.

    Attributes:
        row: of the particle in the list.
        number: 0, or how often the track has left an image.
        middle: row and column on the canvas of the pixel where it begins.
        momentum: in MeV/c ``[3]``.
    """

    row: int
    number: int
    middle: tuple[int, int]
    momentum: np.ndarray


def compose(
    config: ml_collections.ConfigDict | None,
    run: Path,
    *,
    events: str,
    canvas: str | None = None,
    checkpoint: int | None = None,
    out: Path | None = None,
    ema_rate: float | None = None,
    pretrained: str | None = None,
    extrapolate: bool | None = None,
    incomplete: bool | None = None,
) -> Path:
    """Draw the events of a list.

    Args:
        config: as for :func:`sgm_jax.sample.sample`.
        run: the workdir of the training run; with ``pretrained``, only where images go by default.
        events: see :func:`sgm_jax.data.events.read_events`.
        canvas: size of the images, ``HEIGHTxWIDTH`` pixels; ``256x256`` if not given.
        checkpoint: its step; the newest if not given.
        out: where to; ``<run>/composed/step_<step>_<name of the list>`` if not given.
        ema_rate: of the average to draw with; ``config.model.ema_rate`` if not given.
        pretrained: a name or file of weights.
        extrapolate: draw also momenta that were not in the training.
        incomplete: draw also showers most of which lies outside of the network's images.

    Returns:
        The folder with ``samples.npz`` (``samples`` and ``raw`` as in a folder of samples, and
        ``event`` ``[N]``), ``truth.npz`` (how much charge in MeV which particle left in which
        pixel: ``event``, ``particle``, ``row``, ``column``, ``charge_mev``, all ``[n]``),
        ``particles.csv``, ``grid.png`` and ``recipe.json``.

    Raises:
        FileNotFoundError: if there is no such list, checkpoint or file of weights.
        ValueError: if the network's charges cannot be added, or the list does not fit to it.
    """
    distributed.check_shared(run)
    trained = chosen(config, run, pretrained=pretrained, checkpoint=checkpoint, ema_rate=ema_rate)
    config = trained.config
    scale, size = _scale(config), _size(canvas)
    listed = read_events(events, particles=tuple(config.data.particles), canvas=size)
    condition = {"particle": listed.particle, "momentum": listed.momentum}
    request = Request(condition=condition, extrapolate=extrapolate)
    conditions = read_conditions(request, config, weaker=read_weaker(config))
    read_rejection(config, conditions)  # which it refuses: there are conditions
    check_turnable(config, conditions)
    if not incomplete:
        _check_showers(listed, config)
    folder = Path(out) if out else _default_folder(run, trained, ema_rate, conditions, events)
    recipe = recipe_of(trained, trained.generator.drawing(conditions), conditions)
    recipe |= {"events": _hash(listed), "canvas": list(size), "threshold_levels": FAINT}
    recipe |= {"mev_per_level": scale.mev, "pixel_mm": scale.pixel_mm}
    note = folder / "recipe.json"
    if distributed.counted(lambda: finished_count(note, recipe, name="num_samples", fix=FIX)):
        LOGGER.info("these %d events are already in %s", len(listed.ids), folder)
        return folder
    for doubt in contract.doubts(config):
        LOGGER.warning("%s", doubt)
    with open_parts(folder / "parts", recipe, fix=FIX) as parts:
        _draw_missing(trained, conditions, listed, parts, scale=scale, size=size)
        if parallel.is_main():
            assemble(
                folder, recipe, listed, parts, mev=scale.mev, size=size, names=config.data.particles
            )
        parts.remove()
    return folder


# ------------------------------------------------------------------------- what is refused


def _scale(config: ml_collections.ConfigDict) -> Scale:
    simulation = config.simulation
    missing = [name for name in ("particle", "momentum") if name not in config.model.condition]
    if missing:
        raise ValueError(
            f"--mode=compose needs a network that was trained with {' and '.join(missing)}, as "
            "with configs/larcv_cond64.py"
        )
    if config.data.planes:
        raise ValueError("--mode=compose adds grey images, and these have config.data.planes")
    for field, needed, why in (
        ("scaling", ABSOLUTE, "charges can only be added on one scale"),
        ("crop", START, "particles must begin in the middle of their images"),
    ):
        if simulation[field] != needed:
            raise ValueError(
                f"this network was trained with simulation.{field} {simulation[field]!r}, and "
                f"{why}; train one as with configs/larcv_cond64.py. If your own images are so, add "
                f"--config.simulation.{field}={needed} and their pixel_mm and counts_per_mev"
            )
    return Scale(
        1.0 / simulation.counts_per_mev, simulation.pixel_mm, PixelScale.from_config(config.data)
    )


def _size(canvas: str | None) -> tuple[int, int]:
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", canvas or "256x256")
    if not size:
        raise ValueError(f"--canvas is {canvas!r}; give HEIGHTxWIDTH, such as 256x256")
    return int(size[1]), int(size[2])


def _check_showers(events: Events, config: ml_collections.ConfigDict) -> None:
    reach_mm = 0.5 * config.data.image_size * config.simulation.pixel_mm
    size = np.linalg.norm(events.momentum, axis=1)
    for place, name in enumerate(config.data.particles):
        if name not in SHOWERS:
            continue
        most = SHOWERS[name] if reach_mm >= SHOWERS_REACH_MM else 0.0
        wrong = np.flatnonzero((events.particle == place) & (size > most))
        if wrong.size:
            known = f"up to {most:g} MeV/c" if most else "at no momentum"
            shown = f"{name} of {size[wrong[0]]:.4g} MeV/c"
            raise ValueError(
                f"{events.name(wrong[0])} is a shower, {shown}. Showers are not continued beyond "
                "their image, and that two thirds of them lie within its "
                f"{0.1 * reach_mm:g} cm each way is known {known}. Leave it out ({wrong.size} are "
                "too large), or add --incomplete to draw what is inside"
            )


def _hash(events: Events) -> str:
    arrays = (events.event, events.number, events.vertex)
    whole = b"".join(np.ascontiguousarray(values, np.int64).tobytes() for values in arrays)
    return hashlib.sha256(whole).hexdigest()


def _default_folder(
    run: Path, trained: Trained, ema_rate: float | None, conditions: Conditions, events: str
) -> Path:
    special = [re.sub(r"[^\w.-]+", "_", Path(events).name.removesuffix(".csv"))]
    special += [f"ema_{ema_rate}"] if ema_rate is not None else []
    special += guidance_names(trained.config, conditions)
    return Path(run) / "composed" / "_".join([f"step_{trained.step:06d}", *special])


# ------------------------------------------------------------------------- what is drawn


def _draw_missing(
    trained: Trained,
    conditions: Conditions,
    events: Events,
    parts: Parts,
    *,
    scale: Scale,
    size: tuple[int, int],
) -> None:
    blocks = dict(blocks_of(events))
    missing = parts.missing(list(blocks))
    if not missing:
        return
    config = trained.config
    rows = {name: events.take(blocks[name]) for name in missing}
    count = sum(map(len, rows.values()))
    if count < len(events.event):
        LOGGER.info("%d of %d particles are there", len(events.event) - count, len(events.event))
    drawer = Drawer(
        trained.generator,
        batch_size=parallel.fitting_batch(len(events.event), most=config.eval.batch_size),
        seed=config.seed,
        conditions=conditions,
    )
    variables = loaded(trained.load(), conditions)
    drawn = _Drawn(events, config=config, scale=scale, size=size)
    waiting, left = [], {name: len(rows[name]) for name in missing}
    part_of = {int(row): name for name in missing for row in rows[name]}
    # Of the images that are known yet: tracks will add theirs.
    with progress_bar(count, drawer.drawing.num_steps, name="compose") as bar:
        while missing or waiting:
            # Whole batches, whatever becomes of the tracks of one part.
            while missing and len(waiting) < drawer.batch_size:
                waiting += [drawn.first(int(row)) for row in rows[missing.pop(0)]]
            tiles, waiting = waiting[: drawer.batch_size], waiting[drawer.batch_size :]
            images = drawer.draw_each(variables, **_asked(events, tiles), progress=bar.update)
            further = []
            for tile, charge in zip(tiles, scale.charge(images), strict=True):
                following = drawn.add(tile, charge)
                if following is not None:
                    further.append(following)
                    continue
                name = part_of[tile.row]
                left[name] -= 1
                if not left[name]:
                    parts.save(name, drawn.arrays(rows[name]))
            # First, so that parts are finished one after the other.
            waiting = further + waiting
            bar.total += len(further) * drawer.drawing.num_steps
            bar.refresh()


def _asked(events: Events, tiles: list[Tile]) -> dict[str, Any]:
    """Return the numbers and the conditions of images, as :meth:`Drawer.draw_each` takes them."""
    rows = np.array([tile.row for tile in tiles])
    number = np.array([tile.number for tile in tiles])
    return {
        "numbers": np.stack([events.event[rows], events.number[rows], number], axis=1),
        "condition": {
            "particle": events.particle[rows],
            "momentum": np.array([tile.momentum for tile in tiles], np.float32),
        },
    }


class _Drawn:
    """What particles have left, while they are drawn."""

    def __init__(
        self,
        events: Events,
        *,
        config: ml_collections.ConfigDict,
        scale: Scale,
        size: tuple[int, int],
    ):
        self._events, self._scale, self._size = events, scale, size
        self._names = tuple(config.data.particles)
        ends = np.asarray(config.data.momentum_range, np.float64).reshape(-1, 2)
        self._least = ends[1:, 0] if len(ends) else np.zeros(len(self._names))
        # By row of the list.
        self._charge: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        self._end: dict[int, str] = {}

    def first(self, row: int) -> Tile:
        """Return the image in which a particle begins."""
        return Tile(row, 0, tuple(self._events.vertex[row].tolist()), self._events.momentum[row])

    def add(self, tile: Tile, image: np.ndarray) -> Tile | None:
        """Put an image on the canvas; return the next one of its track."""
        name = self._names[self._events.particle[tile.row]]
        lit_mev = (FAINT + 0.5) * self._scale.mev
        went, middle = None, np.array(image.shape) // 2
        if name in TRACKS and tile.number + 1 < _MOST_IMAGES:
            went = leaving(
                image,
                np.asarray(tile.momentum, np.float64),
                mass_mev=TRACKS[name],
                least=float(self._least[self._events.particle[tile.row]]),
                lit_mev=lit_mev,
                pixel_mm=self._scale.pixel_mm,
            )
        self._end[tile.row] = INSIDE
        corner = np.array(tile.middle) - middle
        self._keep(tile.row, corner, image if went is None else went.kept)
        if went is None:
            if reaches_border(image, lit_mev=lit_mev):
                self._end[tile.row] = UNFINISHED
            return None
        start = tuple((corner + went.start).tolist())
        if min(start) < 0 or start[0] >= self._size[0] or start[1] >= self._size[1]:
            self._end[tile.row] = CANVAS
            return None
        return Tile(tile.row, tile.number + 1, start, went.momentum)

    def _keep(self, row: int, corner: np.ndarray, image: np.ndarray) -> None:
        place = np.argwhere(image > 0)
        charge = image[tuple(place.T)]
        place = place + corner
        inside = ((place >= 0) & (place < self._size)).all(axis=1)
        flat = place[inside, 0] * self._size[1] + place[inside, 1]
        self._charge[row].append((flat, charge[inside]))

    def arrays(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return, and forget, what particles left in which pixels and what became of them."""
        events, tables, images = self._events, [], []
        for row in rows.tolist():
            drawn = self._charge.pop(row)
            flat = np.concatenate([pixels for pixels, _ in drawn])
            pixels, place = np.unique(flat, return_inverse=True)
            charge = np.bincount(place, np.concatenate([c for _, c in drawn]), len(pixels))
            tables.append((np.full(len(pixels), row), pixels, charge))
            images.append(len(drawn))
        row, pixels, charge = (np.concatenate(column) for column in zip(*tables, strict=True))
        truth = (events.event[row], events.number[row], *divmod(pixels, self._size[1]), charge)
        kinds = (np.int64, np.int32, np.int32, np.int32, np.float32)
        return {n: v.astype(k) for n, v, k in zip(TRUTH, truth, kinds, strict=True)} | {
            "list_row": rows,
            "images": np.array(images),
            "end": np.array([ENDS.index(self._end.pop(row)) for row in rows.tolist()]),
        }
