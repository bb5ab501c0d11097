"""Maps of images: t-SNE of their distances, by pixels and by transport of charge.

Similar images lie near each other; distances between groups mean nothing.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from evaluation.figures.figure import Comparison, Drawn, Figures
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.compute import seed_of
from evaluation.metrics.distances import squared_distances
from evaluation.metrics.image_emd import emd_matrix, projected_matrix
from evaluation.metrics.observables import total_charge, track_shapes

TRANSPORTS = {
    "exact": (emd_matrix, "exact image EMD"),
    "projected": (projected_matrix, "projected image EMD (bound)"),
}
_FEWEST = 10  # images on a map
_PERPLEXITY = 30.0
_MOST_EXACT = 1_000  # images: half a million transport problems, an hour
_COLOURS = ("#8d99a6", "#1f6fb4", "#d9602b", "#2a9d6f")
_CLASS_COLOURS = {"shower": "#1f6fb4", "track": "#d9602b"}


def figures(comparison: Comparison) -> Figures:
    """Return the maps, if there are metrics of neighbours."""
    if not comparison.has("neighbours"):
        return {}
    seed = seed_of("maps", comparison.seed)
    return {
        f"maps_{pair.generated.name}": partial(draw, pair, comparison.budget, seed)
        for pair in comparison.pairs
    }


def draw(pair: Pair, budget: Budget, seed: int) -> Drawn:
    """Draw maps of real and generated images; small budgets take the projected distances."""
    small = budget.generated is not None and budget.generated <= 2_000
    transport = "projected" if small else "exact"
    return draw_maps([pair.real, pair.generated], count=300, transport=transport, seed=seed)


def draw_maps(sets: Sequence[ImageSet], *, count: int, transport: str, seed: int) -> Drawn:
    """Draw images as points near to similar ones: by pixels above, by transport of charge below.

    Each map is coloured by set, by SSNet label where all sets have them, by track length and by
    charge. It shows ``count`` images chosen by ``seed``, as many of each set; those without charge
    are left out. The transport is ``"exact"``, of up to 1,000 images, or ``"projected"``.

    Returns:
        The figure, and places of the images in their sets, positions and divergences of both maps,
        and what coloured them.

    Raises:
        ValueError: an unknown transport, too many images for it or too few for a map.
    """
    if transport not in TRANSPORTS:
        raise ValueError(f"transport {transport!r} must be one of {', '.join(TRANSPORTS)}")
    if transport == "exact" and count > _MOST_EXACT:
        raise ValueError(
            f"exact transport of {count} images takes hours: at most {_MOST_EXACT}, or "
            "take the projected one"
        )
    places = [_choose(image_set, count // len(sets), seed) for image_set in sets]
    chosen = [image_set.take(rows) for image_set, rows in zip(sets, places, strict=True)]
    images = np.concatenate([image_set.images for image_set in chosen])
    if len(images) < _FEWEST:
        raise ValueError(f"{len(images)} images with charge, a map needs at least {_FEWEST}")
    flat = images.reshape(len(images), -1)
    measure, name = TRANSPORTS[transport]
    matrices = {"|x - y| of pixels": np.sqrt(squared_distances(flat, flat)), name: measure(images)}
    maps = {name: _embed(matrix, seed) for name, matrix in matrices.items()}
    colours = _colours(chosen, images)
    figure = Figure(figsize=(3.1 * len(colours), 6.4), layout="constrained")
    figure.suptitle(f"t-SNE of {len(images)} images")
    grid = figure.subplots(2, len(colours), squeeze=False)
    for row, (name, (positions, _)) in zip(grid, maps.items(), strict=True):
        row[0].set_ylabel(name)
        for axes, (title, values) in zip(row, colours.items(), strict=True):
            _scatter(axes, positions, values, title)
    return figure, {
        "transport": transport,
        "sets": [image_set.name for image_set in sets],
        "places": [rows.tolist() for rows in places],
        "without_charge": [int((~image_set.images.any(axis=(1, 2))).sum()) for image_set in sets],
        "maps": {
            name: {"positions": positions.tolist(), "divergence": divergence}
            for name, (positions, divergence) in maps.items()
        },
        "colours": {title: np.asarray(values).tolist() for title, values in colours.items()},
    }


def _choose(image_set: ImageSet, count: int, seed: int) -> np.ndarray:
    """Return random places of images with charge."""
    order = np.random.default_rng([seed, 5]).permutation(len(image_set))
    return np.sort(order[image_set.images[order].any(axis=(1, 2))][:count])


def _embed(distances: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Return positions ``[n, 2]`` for distances ``[n, n]``, and the divergence that is left."""
    perplexity = min(_PERPLEXITY, (len(distances) - 1) / 3)
    tsne = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=seed)
    positions = tsne.fit_transform(distances)
    return positions, float(tsne.kl_divergence_)


def _colours(sets: list[ImageSet], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the values of the points, words or numbers, for each way to colour them."""
    colours = {"set": np.concatenate([[image_set.name] * len(image_set) for image_set in sets])}
    if all(image_set.is_track is not None for image_set in sets):
        is_track = np.concatenate([image_set.is_track for image_set in sets])
        colours["SSNet label"] = np.where(is_track, "track", "shower")
    colours["track length (px)"] = track_shapes(images).length_px
    colours["charge (thousands)"] = total_charge(images) / 1000
    return colours


def _scatter(axes: Axes, positions: np.ndarray, values: np.ndarray, title: str) -> None:
    """Draw points, with a legend of words or a bar of numbers."""
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    x, y = positions.T
    if values.dtype.kind != "U":
        shown = axes.scatter(x, y, c=values, s=9, cmap="viridis")
        axes.figure.colorbar(shown, ax=axes, shrink=0.8)
        return
    for place, word in enumerate(dict.fromkeys(values)):
        which = values == word
        colour = _CLASS_COLOURS.get(word, _COLOURS[place % len(_COLOURS)])
        axes.scatter(x[which], y[which], s=9, color=colour, label=word)
    axes.legend(fontsize=7, markerscale=1.5)
