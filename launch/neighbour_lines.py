"""What a search for the nearest images by exact transport of charge costs.

    python -m launch.neighbour_lines --images=train --queries=test

Processor seconds, the transport problems solved and the memory of searching each of some images,
spread over the queries, among all images; the answers are exact, with a proof of stopping.
"""

import argparse
import resource
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evaluation.image_emd import EmdIndex, emd_index
from evaluation.nearest import nearest_by_emd
from sgm_jax.data import open_images

NEIGHBOURS = 5
SEARCHES = 9


class Search(NamedTuple):
    """One search: processor seconds, problems solved, lit pixels of the image, distances in px."""

    seconds: float
    solves: int
    lit_pixels: int
    distances_px: np.ndarray


class Searched(NamedTuple):
    """Searches among so many images, what their index cost, and the peak memory."""

    images: int
    index_seconds: float
    index_mb: float
    searches: list[Search]
    peak_gb: float

    @property
    def median_seconds(self) -> float:
        """Median processor seconds of a search."""
        return statistics.median(search.seconds for search in self.searches)


def measure(images: np.ndarray, queries: np.ndarray, *, count: int = SEARCHES) -> Searched:
    """Measure the index of ``[N, H, W]`` images and searches for ``count`` of ``[Q, H, W]``.

    Raises:
        ValueError: fewer queries with charge than searches.
    """
    lit = np.flatnonzero(queries.any(axis=(1, 2)))
    if len(lit) < count:
        raise ValueError(f"{len(lit)} queries with charge for {count} searches: give more")
    start = time.process_time()
    index = emd_index(images)
    seconds = time.process_time() - start
    places = lit[np.linspace(0, len(lit) - 1, count).astype(int)]
    searches = [_search(queries[place], index) for place in places]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Searched(len(images), seconds, index.profiles.nbytes / 1e6, searches, peak)


def table(found: Searched) -> str:
    """Lay the searches out, the quickest first, below what they have in common."""
    rows = [
        f"{found.images:,} images: index {found.index_seconds:.2f} CPU-s, {found.index_mb:.0f} MB; "
        f"process {found.peak_gb:.1f} GB at most",
        f"median of {len(found.searches)} searches for the {NEIGHBOURS} nearest: "
        f"{found.median_seconds:.2f} CPU-s",
        f"{'CPU-s':>8}{'solved':>8}{'share':>9}{'lit px':>8}  nearest (px)",
    ]
    for search in sorted(found.searches, key=lambda one: one.seconds):
        nearest = " ".join(f"{distance:.2f}" for distance in search.distances_px)
        rows.append(
            f"{search.seconds:>8.2f}{search.solves:>8}{search.solves / found.images:>9.3%}"
            f"{search.lit_pixels:>8}  {nearest}"
        )
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure the images given and print the table."""
    parser = argparse.ArgumentParser(prog="python -m launch.neighbour_lines", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--images", required=True, type=Path, help="to search: folder, npy, npz...")
    parser.add_argument("--queries", required=True, type=Path, help="whose neighbours are searched")
    parser.add_argument("--count", type=int, default=SEARCHES, help="searches")
    given = parser.parse_args(arguments)
    try:
        images, queries = (_read(path) for path in (given.images, given.queries))
        print(table(measure(images, queries, count=given.count)))
    except (ValueError, OSError) as error:
        parser.exit(1, f"{error}\n")


def _search(image: np.ndarray, index: EmdIndex) -> Search:
    start = time.process_time()
    found = nearest_by_emd(image, index, count=NEIGHBOURS)
    seconds = time.process_time() - start
    return Search(seconds, found.solves, int((image > 0).sum()), found.distances)


def _read(path: Path) -> np.ndarray:
    opened = open_images(str(path), num_channels=1, image_size=None)
    return opened[np.arange(len(opened))][..., 0]


if __name__ == "__main__":
    main()
