"""Figures of the chosen metrics: neighbours, maps and classifiers, by the name of their file."""

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from evaluation import classifier_figures, maps, neighbour_figures
from evaluation.budget import Budget
from evaluation.report_text import Row
from evaluation.result import Result
from evaluation.rows import seed_of
from evaluation.sets import Pair

Drawn = tuple[Figure, dict]  # and the numbers behind it


def _train_distances(pair: Pair, budget: Budget, seed: int) -> Drawn:
    return neighbour_figures.draw_train_distances(pair.generated, pair.real, pair.train)


# By the first part of the metrics that they belong to: draw(pair, budget, seed).
_OF_PAIRS: dict[str, dict[str, Callable[[Pair, Budget, int], Drawn]]] = {
    "neighbours": {"neighbours": neighbour_figures.draw, "maps": maps.draw},
    "memorisation": {"train_distances": _train_distances},
    "classifier": {"classifier": classifier_figures.draw},
}
_SEED_OF = {"classifier": "classifier/trees"}  # the row whose numbers the figure shows


def figures(
    pairs: list[Pair], rows: list[Row], *, budget: Budget, seed: int
) -> dict[str, Callable[[], Drawn]]:
    """Return what draws each figure of the metrics that ``rows`` are of, by its name."""
    families = {row["metric"].split("/")[0] for row in rows}
    drawing = {
        f"{name}_{pair.generated.name}": partial(
            draw, pair, budget, seed_of(_SEED_OF.get(name, name), seed)
        )
        for family, figures_of_family in _OF_PAIRS.items()
        if family in families
        for name, draw in figures_of_family.items()
        for pair in pairs
        if name != "train_distances" or pair.train is not None
    }
    for pair in pairs:
        name = pair.generated.name
        mine = [row for row in rows if row["set"] == name and row["status"] == "ok"]
        if any(row["metric"] in ("classifier/trees", "classifier/cnn") for row in mine):
            drawing[f"classifier_sizes_{name}"] = partial(classifier_figures.draw_sizes, mine)
    attributed = _attributed(rows)
    if attributed:
        drawing["classifier_multi"] = partial(classifier_figures.draw_attribution, attributed)
    return drawing


def _attributed(rows: list[Row]) -> dict[str, dict[str, Result]]:
    """Return which generator real images look like, by kind of classifier and by generator."""
    found: dict[str, dict[str, Result]] = {}
    for row in rows:
        *family, kind = row["metric"].split("/")
        if family == ["classifier", "multi"] and row["status"] == "ok":
            result = Result(row["metric"], row["value"], row["stderr"], row["floor"], n=row["n"])
            found.setdefault(kind, {})[row["set"]] = result
    return found
