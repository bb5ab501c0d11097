"""The folder of drawn images: it grows, and no image in it is drawn twice.

``samples.npz  grid.png  recipe.json``, and while images are drawn ``parts/``. Image i depends on
the recipe and on i only, so a folder of more images than are asked for holds those that are.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale
from sgm_jax.data.arrays import read_npz
from sgm_jax.data.grid import save_grid
from sgm_jax.run import distributed, parallel
from sgm_jax.run.files import write_blocks, write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.run.parts import Parts, finished_count

FIX = "choose another --samples_dir"
GRID_IMAGES = 64
_BLOCK = 1024


class Drawn:
    """Images of one recipe in a folder."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any]):
        """Look into a folder, which need not exist.

        Args:
            folder: of the images.
            recipe: JSON values that decide what they are; their number is not among them.

        Raises:
            ValueError: if it holds images of another recipe.
        """
        self.folder, self.recipe = Path(folder), dict(recipe)
        self.finished = distributed.counted(self._finished)

    def gaps(self, parts: Parts, count: int) -> list[tuple[int, int]]:
        """Return which of the first ``count`` images are missing, from where to before where.

        It is the same on all processes.
        """
        there = np.zeros(count, np.int32)
        if parallel.is_main():
            there[: self.finished] = 1
            for first, stop, _ in _stretches(parts):
                there[first:stop] = 1
        there = parallel.broadcast(there)
        edges = np.flatnonzero(np.diff(np.concatenate([[1], there, [1]])))
        return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]

    def save(self, parts: Parts, first: int, images: np.ndarray) -> None:
        """Keep images from number ``first`` on, in network space ``[n, H, W, C]``."""
        parts.save(f"{first:09d}.npy", images)

    def assemble(
        self,
        parts: Parts,
        *,
        conditions: Conditions,
        channels: int,
        scale: PixelScale,
        about: Mapping[str, Any],
    ) -> int:
        """Join all images up to the first gap into the final files; return how many they are.

        Args:
            parts: with the images that are not in the final files yet.
            conditions: of the images.
            channels: of the images.
            scale: of network space.
            about: what the recipe is to say beside what the images are made of.
        """
        total = self._whole(parts)
        measured: list[np.ndarray] = []

        def samples() -> Iterator[np.ndarray]:
            first = 0
            for raw in self._raw(parts, total, scale):
                images = conditions.to_samples(raw, np.arange(first, first + len(raw)))
                measured.append(conditions.reached(images))
                first += len(raw)
                yield images

        size = (total, *conditions.size)
        arrays = {
            "samples": ((*size, channels if conditions.planes else 1), np.uint8, samples()),
            "raw": ((*size, channels), np.float32, self._raw(parts, total, scale)),
        }
        known = conditions.given(np.arange(total)).get("condition", {})
        arrays |= {name: (rows.shape, rows.dtype, [rows]) for name, rows in known.items()}
        write_blocks(self.folder / "samples.npz", arrays)
        with np.load(self.folder / "samples.npz") as stack:
            save_grid(self.folder / "grid.png", stack["samples"][:GRID_IMAGES])
        reached = conditions.summary(np.concatenate(measured))
        if reached is not None:
            _say(reached, conditions)
        recipe = self.recipe | {"num_samples": total, "reached": reached}
        write_json(self.folder / "recipe.json", recipe | dict(about))
        return total

    def _finished(self) -> int:
        """Return how many images are in the final files."""
        note = self.folder / "recipe.json"
        number = finished_count(note, self.recipe, name="num_samples", fix=FIX)
        return number if (self.folder / "samples.npz").is_file() else 0

    def _whole(self, parts: Parts) -> int:
        """Return how many images there are without a gap."""
        total = self.finished
        for first, stop, _ in _stretches(parts):
            if first > total:
                break
            total = max(total, stop)
        return total

    def _raw(self, parts: Parts, total: int, scale: PixelScale) -> Iterator[np.ndarray]:
        """Yield the first images, a block at a time, on the scale 0..255."""
        done = 0
        if self.finished:
            earlier = read_npz(self.folder / "samples.npz", member="raw")
            for done in range(0, self.finished, _BLOCK):
                yield np.array(earlier[done : min(done + _BLOCK, self.finished)])
            done = self.finished
        for first, stop, name in _stretches(parts):
            if done < min(stop, total):
                yield scale.from_model(parts.load(name)[done - first :])
                done = stop


def _say(reached: dict[str, float], conditions: Conditions) -> None:
    """Log how near images came to the target of an observable."""
    near = reached["within_three_spreads"]
    LOGGER.info(
        "%s of the samples: %.6g on average, from %.6g to %.6g; %.0f %% are within three spreads "
        "(%.6g) of %.6g",
        conditions.observable,
        *(reached[name] for name in ("mean", "smallest", "largest")),
        100 * near,
        3 * conditions.spread,
        conditions.target,
    )
    if near < 0.95:
        LOGGER.warning(
            "%.0f %% of the images did not come so near: the network hardly knows such images, or "
            "it needs more steps, --config.sampling.num_steps=, or a wider --spread",
            100 * (1 - near),
        )


def _stretches(parts: Parts) -> list[tuple[int, int, str]]:
    """Return the first number of each part, the one after its last, and its name, in order."""
    return [(int(name[:9]), int(name[:9]) + rows, name) for name, rows in parts.rows().items()]
