"""Observables: what a physicist measures on each image, and the bins it is counted in.

Images are ``[N, H, W]`` arrays with values >= 0, zero where nothing is seen. Every observable of an
image depends on that image alone. Track length and width and shower charge are those behind
arXiv:2307.13687, so that numbers can be compared with the published ones.
"""

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tqdm
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluation.images.segments import Table
from evaluation.images.sets import ImageSet
from sgm_jax.run.parts import Parts

CLUSTER_EPS_PX = 3.0  # pixels at most this far apart are neighbours
CLUSTER_MIN_PIXELS = 5  # a pixel with this many neighbours, itself included, founds a cluster


@dataclass(frozen=True, eq=False)
class Observable:
    """One number for each image: what it is and how it is counted."""

    meaning: str
    label: str  # of the axis of its figure
    edges: np.ndarray  # of its bins; values outside are counted in the outermost ones
    # SSNet's images that the paper measures it on, "tracks" or "showers", beside all of them.
    of_class: str | None = None


# The edges of the first three are the paper's.
OBSERVABLES = {
    "track_length_px": Observable(
        "largest distance within the largest cluster (DBSCAN 3 px, 5 pixels)",
        "track length (px)",
        np.arange(-2.0, 94.0, 2.0),
        "tracks",
    ),
    "track_width_px": Observable(
        "extent of that cluster along its second principal axis, plus one",
        "track width (px)",
        np.arange(-1.0, 30.0, 1.0),
        "tracks",
    ),
    "charge": Observable(
        "sum of the pixels of an image",
        "charge (sum of pixels, 0..255 each)",
        np.arange(-800.0, 37_600.0, 800.0),
        "showers",
    ),
    "hit_multiplicity": Observable(
        "pixels above zero", "pixels above zero", np.arange(-10.0, 930.0, 20.0)
    ),
    "charge_per_pixel": Observable(
        "mean of the pixels above zero", "charge per lit pixel (0..255)", np.arange(0.0, 258.0, 3.0)
    ),
    "peak": Observable("largest pixel", "largest pixel (0..255)", np.arange(-3.5, 257.0, 4.0)),
    "holes": Observable(
        "zero pixels of which all four direct neighbours are above zero",
        "holes (zero pixels between four lit ones)",
        np.arange(-0.5, 21.0, 1.0),
    ),
    "lit_neighbours": Observable(
        "mean number of the 8 neighbours of a pixel above zero that are as well",
        "lit neighbours of a lit pixel (of 8)",
        np.arange(0.0, 8.1, 0.2),
    ),
    "angle_deg": Observable(
        "direction of the charge-weighted main axis, from a row; undefined left out",
        "direction of the main axis (degrees)",
        np.arange(-90.0, 91.0, 5.0),
    ),
    "clusters": Observable(
        "number of clusters (DBSCAN 3 px, 5 pixels)", "clusters", np.arange(-0.5, 16.0, 1.0)
    ),
}
_BLOCK = 256  # images measured at a time
_BESIDE = ((-1, 0), (0, -1), (0, 1), (1, 0))  # steps to other pixels, in rows and columns
_AROUND = (*_BESIDE, (-1, -1), (-1, 1), (1, -1), (1, 1))


def measured(images: ImageSet, parts: Parts) -> ImageSet:
    """Return the set with its observables, which ``parts`` keeps if it does not have them yet."""
    if images.table:
        return images
    part = f"observables/{images.name}.npz"
    if parts.missing([part]):
        parts.save(part, measure(images.images))
    return replace(images, table=parts.load(part))


def measure(images: np.ndarray) -> Table:
    """Measure every observable on ``[N, H, W]`` images: ``[N]`` each."""
    starts = tqdm.trange(0, len(images), _BLOCK, unit_scale=_BLOCK, unit="img", desc="observables")
    blocks = [_measure_block(images[start : start + _BLOCK]) for start in starts]
    return {name: np.concatenate([block[name] for block in blocks]) for name in OBSERVABLES}


def _measure_block(images: np.ndarray) -> Table:
    shapes = track_shapes(images)
    return {
        "track_length_px": shapes.length_px,
        "track_width_px": shapes.width_px,
        "charge": total_charge(images),
        "hit_multiplicity": lit_pixels(images).astype(np.float64),
        "charge_per_pixel": charge_per_lit_pixel(images),
        "peak": images.max(axis=(1, 2)).astype(np.float64),
        "holes": holes(images).astype(np.float64),
        "lit_neighbours": lit_neighbours(images),
        "angle_deg": axis_angle_deg(images),
        "clusters": shapes.clusters.astype(np.float64),
    }


@dataclass(frozen=True)
class TrackShapes:
    """Length and width of the largest cluster of each of ``n`` images; zeros without a cluster."""

    length_px: np.ndarray  # [n] between the centres of its two farthest pixels
    width_px: np.ndarray  # [n] whole pixels across, at least one
    cluster_pixels: np.ndarray  # [n] pixels in the largest cluster
    clusters: np.ndarray  # [n] number of clusters


def track_shapes(images: np.ndarray) -> TrackShapes:
    """Measure the largest cluster of lit pixels of ``[n, H, W]`` images, as arXiv:2307.13687 does.

    Pixels above zero are clustered with DBSCAN (3 px, 5 pixels); of equally large clusters the one
    met first in reading order counts. Length is the largest distance between two of its pixels, so
    a line across 64 pixels has 63; if all lie on one straight line it is rounded to whole pixels.
    Width is the extent along the second principal axis, rounded, plus one.

    Raises:
        ValueError: if ``images`` is no stack of images, or holds negative numbers or NaN.
    """
    lit = _checked(images) > 0
    clustered = pixel_clusters(lit, radius_px=CLUSTER_EPS_PX, fewest=CLUSTER_MIN_PIXELS)
    ends = np.searchsorted(clustered.image, np.arange(len(lit) + 1))
    rows = [
        _shape(clustered.pixels[start:stop], clustered.number[start:stop])
        for start, stop in itertools.pairwise(ends)
    ]
    length, width, pixels, clusters = np.array(rows, np.float64).reshape(-1, 4).T
    return TrackShapes(length, width, pixels.astype(np.int64), clusters.astype(np.int64))


def lit_pixels(images: np.ndarray) -> np.ndarray:
    """Count the pixels above zero (hit multiplicity) of ``[n, H, W]`` images: ``[n]``."""
    return np.count_nonzero(_checked(images), axis=(1, 2))


def total_charge(images: np.ndarray) -> np.ndarray:
    """Sum the values of ``[n, H, W]`` images: ``[n]``, exact for 8-bit images.

    On shower images of 0..255 this is the shower charge of arXiv:2307.13687.
    """
    return _checked(images).sum(axis=(1, 2), dtype=np.float64)


def charge_per_lit_pixel(images: np.ndarray) -> np.ndarray:
    """Return the mean value ``[n]`` of the lit pixels of ``[n, H, W]`` images; 0 if none is lit."""
    return total_charge(images) / np.maximum(lit_pixels(images), 1)


def axis_angle_deg(images: np.ndarray) -> np.ndarray:
    """Return the direction ``[n]`` of the charge-weighted main axis of ``[n, H, W]`` images.

    In degrees in (-90, 90]: 0 along a row, positive where the axis climbs to the right as printed.
    NaN where no direction stands out: an empty image, one pixel, equal spread both ways.
    """
    images = _checked(images).astype(np.float64)
    height, width = images.shape[1:]
    charge = images.sum(axis=(1, 2))
    weight = images / np.where(charge > 0, charge, 1.0)[:, None, None]
    up, right = -np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64)
    by_row, by_column = weight.sum(axis=2), weight.sum(axis=1)
    up = up - (by_row @ up)[:, None]  # [n, H], from the centre of charge
    right = right - (by_column @ right)[:, None]  # [n, W]
    difference = (by_column * right**2).sum(axis=1) - (by_row * up**2).sum(axis=1)
    twice_mixed = 2.0 * np.einsum("nhw,nh,nw->n", weight, up, right, optimize=True)
    angle = 0.5 * np.degrees(np.arctan2(twice_mixed, difference))
    rounding = 1e-12 * (height**2 + width**2)
    undefined = (charge == 0) | (np.hypot(difference, twice_mixed) <= rounding)
    return np.where(undefined, np.nan, np.where(angle <= -90.0, angle + 180.0, angle))


def holes(images: np.ndarray) -> np.ndarray:
    """Count the zero pixels ``[N]`` of ``[N, H, W]`` whose four direct neighbours are all lit.

    Charge leaves no holes: they show single dropped pixels.
    """
    lit = images > 0
    return ((_count(lit, _BESIDE) == 4) & ~lit).sum(axis=(1, 2))


def lit_neighbours(images: np.ndarray) -> np.ndarray:
    """Return the mean number ``[N]`` of lit pixels among the 8 neighbours of a lit pixel.

    It is 0 without lit pixels.
    """
    lit = images > 0
    around = _count(lit, _AROUND) * lit
    return around.sum(axis=(1, 2)) / np.maximum(lit.sum(axis=(1, 2)), 1)


def _count(lit: np.ndarray, steps: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Count the marked pixels of ``[N, H, W]`` that lie some steps of one pixel from each."""
    height, width = lit.shape[1:]
    padded = np.pad(lit.astype(np.uint8), ((0, 0), (1, 1), (1, 1)))
    return sum(
        padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        for down, right in steps
    )


def _checked(images: np.ndarray) -> np.ndarray:
    """Return a stack of images, or say what is wrong with it."""
    images = np.asarray(images)
    if images.ndim != 3:
        raise ValueError(f"images of shape {images.shape} given where [N, H, W] is needed")
    if images.size and not (images.min() >= 0 and np.isfinite(images.max())):
        raise ValueError(
            f"images range from {images.min()} to {images.max()}; pixels must be finite and >= 0 "
            "(network output in -1..1 has to be brought back to 0..255 first)"
        )
    return images


def _shape(pixels: np.ndarray, number: np.ndarray) -> tuple[float, float, int, int]:
    """Return length, width and pixels of the largest cluster of an image, and its clusters.

    The pixels ``[n, 2]`` are those of all clusters, in reading order; ``number [n]`` is the
    cluster of each.
    """
    if len(pixels) == 0:
        return 0.0, 0.0, 0, 0
    sizes = np.bincount(number)
    cluster = pixels[number == sizes.argmax()]
    centred = cluster - cluster.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)  # in rising order of spread
    extent = np.ptp(centred @ axes, axis=0)
    length = np.rint(extent[1]) if _collinear(cluster) else _diameter(cluster)
    return float(length), float(np.rint(extent[0])) + 1.0, len(cluster), sizes.size


def _collinear(points: np.ndarray) -> bool:
    """Return whether whole-numbered ``points`` ``[n, 2]`` lie on one straight line; exact."""
    step = points - points[0]
    far = step[np.abs(step).sum(axis=1).argmax()]
    return not np.any(step[:, 0] * far[1] - step[:, 1] * far[0])


def _diameter(points: np.ndarray) -> float:
    """Return the largest distance between two of ``[n, 2]`` pixels sorted by row."""
    # The farthest two are corners of the convex hull, and so first or last in their rows.
    new_row = np.flatnonzero(np.diff(points[:, 0]))
    ends = np.concatenate([[0], new_row, new_row + 1, [len(points) - 1]])
    row, column = points[ends].T
    squared = np.subtract.outer(row, row) ** 2 + np.subtract.outer(column, column) ** 2
    return float(np.sqrt(squared.max()))


# Clusters of lit pixels (DBSCAN) of many images at once. On a grid the neighbours of a pixel are
# at known places, so that counting them is a few shifts of all images together. That takes a tenth
# of the time of a search in each image. The result, with its numbers, is that of DBSCAN going
# through the pixels in reading order.


class Clusters(NamedTuple):
    """The clustered pixels of a stack of images, image by image and in reading order."""

    image: np.ndarray  # [P] rising
    pixels: np.ndarray  # [P, 2], row and column
    number: np.ndarray  # [P] of its cluster: 0, 1, ... in each image, by their first core pixel


def pixel_clusters(lit: np.ndarray, *, radius_px: float, fewest: int) -> Clusters:
    """Cluster the marked pixels of each image ``[N, H, W]``.

    A pixel with ``fewest`` marked ones within ``radius_px``, itself included, is a core; cores
    within that of each other share a cluster. Another pixel near cores joins the first
    of their clusters; pixels near no core are left out.
    """
    margin = int(radius_px)
    wide = np.pad(lit, ((0, 0), (margin, margin), (margin, margin)))
    marked = wide.ravel()
    at = np.flatnonzero(marked)
    near = _places_within(radius_px, wide.shape[2])
    neighbours = np.zeros(len(at), np.int64)
    for step in near:
        neighbours += marked[at + step]
    cores = at[neighbours >= fewest]
    cluster = np.full(marked.size, len(cores))  # no cluster has so large a number
    cluster[cores] = np.arange(len(cores))
    cluster[cores] = _components(cluster, cores, near)
    number = cluster[at]
    outside = np.flatnonzero(neighbours < fewest)
    for step in near:
        number[outside] = np.minimum(number[outside], cluster[at[outside] + step])
    image, row, column = np.unravel_index(at, wide.shape)
    kept = number < len(cores)
    image, number = image[kept], number[kept]
    # Clusters are numbered through all images; each image begins anew.
    first = np.full(len(lit), len(cores))
    np.minimum.at(first, image, number)
    pixels = np.stack([row[kept] - margin, column[kept] - margin], axis=1)
    return Clusters(image, pixels, number - first[image])


def _places_within(radius_px: float, width: int) -> np.ndarray:
    """Return the steps in the flat array to all pixels within a radius, including zero."""
    reach = np.arange(-int(radius_px), int(radius_px) + 1)
    row, column = np.meshgrid(reach, reach, indexing="ij")
    return (row * width + column)[row**2 + column**2 <= radius_px**2]


def _components(place: np.ndarray, cores: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the component of each of C cores, numbered by their first.

    ``place`` is the number of the core at each pixel, C at all others; the cores lie at rising
    places ``[C]``, and ``near`` are the steps to their neighbours.
    """
    count, pairs = len(cores), []
    for step in near[near > 0]:  # the others are the same pairs the other way round
        other = place[cores + step]
        first = np.flatnonzero(other < count)
        pairs.append(np.stack([first, other[first]]))
    first, second = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    total, component = connected_components(graph, directed=False)
    first_core = np.full(total, count)
    np.minimum.at(first_core, component, np.arange(count))
    return np.argsort(np.argsort(first_core))[component]
