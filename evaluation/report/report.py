"""The report: results with everything that is needed to judge them, in Python and as files."""

import base64
import importlib.metadata
import itertools
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evaluation.figures.figure import Figures, save
from evaluation.figures.summary import NAMES as SUMMARY_FIGURES
from evaluation.images.alike import differences
from evaluation.images.segments import Table
from evaluation.metrics.budget import Budget
from evaluation.metrics.compute import FAILURES
from evaluation.metrics.metric import Result
from evaluation.metrics.verdict import SIGNIFICANT, excess
from evaluation.report import SCHEMA_VERSION, render
from evaluation.report.summary import Summary, summarise
from sgm_jax.run.files import write_arrays, write_json
from sgm_jax.run.log import LOGGER

PACKAGES = ("scikit-learn", "scipy", "ott-jax", "POT", "matplotlib")
_COLUMNS = ("metric", "set", "value", "stderr", "floor", "p", "n", "seconds", "status")
_NUMBERS = ("value", "stderr", "floor", "p", "n", "seconds")
_SET_COLUMNS = (
    "images_used",
    "images_in_source",
    "size",
    "empty_images",
    "constant_images",
    "track_images",
    "pixel_scale",
    "threshold",
    "lit_pixels_up_to_4",
    "largest_pixel",
    "checkpoint_step",
    "source",
)


@dataclass(eq=False)
class Report:
    """What `evaluation.evaluate` returns.

    ``report["w1/paper"]`` is the `Result` of a metric, ``report["w1/paper", "mine"]`` that of one
    of several generated sets.

    Attributes:
        results: one for each metric and generated set.
        sets: facts about each set, by its name.
        roles: names of the sets by role: ``real``, ``train``, ``generated``, ``generated_2``, ...
        budget: name of the budget.
        sizes: its numbers of images and re-drawings.
        seed: of everything random.
        floor: which sets the floor is from.
        warnings: what may cause differences that are not the generator's fault.
        provenance: when and with which versions the report was made.
        figures: what draws each figure, by the name of its file; see `figure`.
        tables: the measurements of every image, by the name of their file.
    """

    results: list[Result]
    sets: dict[str, dict[str, Any]]
    roles: dict[str, str]
    budget: str
    sizes: Budget
    seed: int
    floor: str
    warnings: list[str]
    provenance: dict[str, Any]
    figures: Figures = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)

    def __getitem__(self, metric: str | tuple[str, str]) -> Result:
        """Return the result of a metric, for the first generated set or for the one named.

        Raises:
            KeyError: if there is none, with those that there are.
        """
        name, of_set = metric if isinstance(metric, tuple) else (metric, None)
        for result in self.results:
            if result.metric == name and of_set in (None, result.set):
                return result
        known = ", ".join(dict.fromkeys(result.metric for result in self.results))
        raise KeyError(f"no result {metric!r}; there are {known}")

    def figure(self, name: str) -> Figure:
        """Draw a figure.

        Raises:
            KeyError: if there is no such figure; ``figures`` has the names.
        """
        return self.figures[name]()[0]

    @property
    def definitions(self) -> dict[str, str]:
        """Return what each metric is."""
        return {result.metric: result.definition for result in self.results if result.definition}

    def table(self) -> str:
        """Return the results as lines of text, with the numbers that each is judged by."""
        columns = ("value", "stderr", "floor", "p", "n")
        several = len({result.set for result in self.results}) > 1
        names = [f"{r.set}: {r.metric}" if several else r.metric for r in self.results]
        width = max(map(len, names), default=0)
        lines = [" " * width + "".join(f"{column:>11}" for column in columns)]
        for name, result in zip(names, self.results, strict=True):
            row = "".join(f"{cell(getattr(result, column)):>11}" for column in columns)
            lines.append(
                f"{name:{width}}" + (row if result.status == "ok" else f"  {result.status}")
            )
        return "\n".join(lines)

    def headline(self) -> list[str]:
        """Summarise the p-values of each generated set, with the number of tests in mind."""
        lines = []
        for name in dict.fromkeys(result.set for result in self.results):
            results = [result for result in self.results if result.set == name]
            tested = sum(result.p is not None for result in results)
            failed = sum(result.status == "failed" for result in results)
            line = f"{name}: {sum(map(differs, results))} of {tested} tests have p < {SIGNIFICANT}"
            if tested:
                line += f" (equal sets: about {SIGNIFICANT * tested:.2g})"
            lines.append(line + (f"; {failed} metrics failed." if failed else "."))
        return lines

    def summary(self) -> Summary:
        """Return the verdicts on each generated set, and what is farthest above the floor."""
        return summarise(self.results, self.sets, self.tables, real=self.roles.get("real", "real"))

    def origin(self) -> str:
        """Say how the report was made."""
        made = self.provenance
        return (
            f"Floor from {self.floor}. Budget {self.budget}, seed {self.seed}, {made['time']}, "
            f"commit {made['git_commit']}, {' '.join(map(str, made['command']))}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the content of report.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "budget": self.budget,
            "sizes": asdict(self.sizes),
            "seed": self.seed,
            "roles": self.roles,
            "summary": self.summary().to_dict(),
            "sets": self.sets,
            "warnings": self.warnings,
            "definitions": self.definitions,
            "rows": [result.to_dict() for result in self.results],
            "provenance": self.provenance,
            "floor": self.floor,
        }

    def save(self, folder: str | Path, *, figures: bool = True) -> None:
        """Write report.json, report.md and report.html, the figures and the tables of images.

        The folder is made if it is not there, and an earlier report in it replaced. A figure that
        fails becomes a warning.
        """
        folder = Path(folder)
        _remove_report(folder)
        names = self._save_figures(folder / "figures") if figures else []
        for name, table in self.tables.items():
            write_arrays(folder / f"{name}.npz", table)
        pictures = {
            name: base64.b64encode((folder / f"figures/{name}.png").read_bytes()).decode()
            for name in names
        }
        (folder / "report.md").write_text(self._render("report.md", pictures))
        (folder / "report.html").write_text(self._render("report.html", pictures))
        write_json(folder / "report.json", self.to_dict())  # last: it says that all is there

    def _save_figures(self, folder: Path) -> list[str]:
        """Write all figures; return the names of those that did not fail."""
        folder.mkdir(parents=True)
        names = []
        for name, draw in self.figures.items():
            try:
                save(draw(), folder / name)
                names.append(name)
            except FAILURES as error:
                LOGGER.warning("figure %s: %s", name, error)
                self.warnings.append(f"Figure {name} failed: {type(error).__name__}: {error}")
        return names

    def _render(self, template: str, pictures: dict[str, str]) -> str:
        """Return a page, with the PNG files (base64) by the names of their figures."""
        values = {
            "report": self,
            "summary": self.summary(),
            "summary_figures": SUMMARY_FIGURES,
            "columns": _COLUMNS,
            "numbers": _NUMBERS,
            "set_columns": _SET_COLUMNS,
            "significant": SIGNIFICANT,
            "families": _families(self.results),
            "pictures": pictures,
        }
        filters = {"cell": cell, "differs": differs, "amount": amount, "above": _above}
        return render(template, values, **filters)


def warnings_of(sets: dict[str, dict[str, Any]], real: str = "real") -> list[str]:
    """Return what in the sets may cause differences that are not the generator's fault.

    The ``sets`` are the facts of each one by its name; they are compared with the ``real`` one.
    """
    texts = [f"{name}: {text}" for name, facts in sets.items() for text in facts["warnings"]]
    for name, facts in sets.items():
        for kind in ("empty", "constant"):
            count, of = facts[f"{kind}_images"], facts["images_used"]
            if 0 < count < of or (kind == "constant" and count):
                texts.append(f"{name}: {count} of {of} images are {kind}; they are kept.")
    origins = {facts["ssnet"] for facts in sets.values() if facts["ssnet"]}
    if len(origins) > 1:
        texts.append(
            f"SSNet's labels come from different weights ({', '.join(sorted(origins))}): these may "
            "cause differences by class."
        )
    return texts + differences(sets, real)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that metrics come from."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def differs(result: Result) -> bool:
    """Return whether the p of a result is so small that the sets differ."""
    return result.p is not None and result.p < SIGNIFICANT


def amount(value: float | None, stderr: float | None) -> str:
    """Return a number and its error, to two digits of the error, as short text."""
    if value is None:
        return ""
    if not stderr:
        return f"{value:,.4g}"
    digits = 1 - math.floor(math.log10(stderr))
    if digits <= 0:
        value, stderr = round(value, digits), round(stderr, digits)
    return f"{value:,.{max(digits, 0)}f} ± {stderr:,.{max(digits, 0)}f}"


def _above(result: Result) -> str:
    """Return how many errors a result lies from its floor, as short text."""
    above = excess(result.value, result.floor, result.stderr)
    return "" if above is None else f"{above:+.1f}"


def cell(value: Any) -> str:
    """Return a value as short text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _families(results: list[Result]) -> dict[str, list[tuple[str, list[Result]]]]:
    """Group results by the first part of their names, and neighbours with the same note."""
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result.metric.partition("/")[0], []).append(result)
    return {
        name: [(note, list(group)) for note, group in itertools.groupby(of, lambda r: r.note)]
        for name, of in families.items()
    }


def _remove_report(folder: Path) -> None:
    """Remove an earlier report, so that none of its files remains."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "figures", ignore_errors=True)
    for pattern in ("observables_*.npz", "ssnet_*.npz"):
        for path in folder.glob(pattern):
            path.unlink()
