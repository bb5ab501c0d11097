"""Compare the reports of several runs or checkpoints in one table.

  python -m evaluation.compare a/report.json b/report.json [--out=DIR]

Prints a table. DIR gets compare.md and compare.json. If the training steps of the samples are
known, or given with --steps, it also gets a figure of each metric, with the floor as a band. Rows
are compared only if definition, number of images, pixel scale and real images agree; the others are
listed with the reason.
"""

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evaluation.figures.curves import Point, draw_curve
from evaluation.report import read, render
from sgm_jax.run.command import run_command

_KEPT = ("value", "stderr", "floor", "p", "n", "status")

Column = dict[str, Any]  # one generated set of one report


def compare(paths: list[Path], *, steps: list[int] | None = None) -> dict[str, Any]:
    """Return ``columns``, ``rows`` (by metric, a cell a column) and ``refused`` (by metric).

    ``steps`` are the training steps of all generated sets, in order; by default those in the
    recipes of the samples.

    Raises:
        ValueError: if no row can be compared, or the steps are not one for each set.
    """
    reports = [read(path) for path in paths]
    columns = [
        column
        for path, content in zip(paths, reports, strict=True)
        for column in _columns(path, content)
    ]
    if steps is not None and len(steps) != len(columns):
        raise ValueError(f"{len(steps)} --steps for {len(columns)} generated sets: give one each")
    for column, step in zip(columns, steps or [], strict=False):
        column["step"] = step
    rows, refused = {}, {}
    metrics = dict.fromkeys(metric for column in columns for metric in column["rows"])
    for metric in metrics:
        cells = [column["rows"].get(metric) for column in columns]
        reason = _difference(cells, columns)
        if reason:
            refused[metric] = reason
        else:
            rows[metric] = [cell and {name: cell[name] for name in _KEPT} for cell in cells]
    if not any(sum(cell is not None for cell in cells) > 1 for cells in rows.values()):
        reasons = "; ".join(sorted(set(refused.values()))) or "no metric is in two of the sets"
        raise ValueError(f"nothing can be compared: {reasons}")
    shown = [{name: c[name] for name in ("name", "report", "step", "floor")} for c in columns]
    return {"columns": shown, "rows": rows, "refused": refused}


def markdown(comparison: dict[str, Any]) -> str:
    """Return the table of a comparison."""
    columns = comparison["columns"]
    origins = dict.fromkeys(column["floor"] for column in columns)
    values = comparison | {"names": [_title(column) for column in columns], "origins": origins}
    return render("compare.md", values, cell=_cell, floors=_floors)


def draw(metric: str, cells: list[dict[str, Any] | None], steps: list[int | None]) -> Figure | None:
    """Draw a metric against the training step with its floor as a band; None below two points."""
    points = [
        Point(step, cell["value"], cell["stderr"], cell["floor"])
        for step, cell in zip(steps, cells, strict=True)
        if step is not None and cell and cell["value"] is not None and cell["status"] == "ok"
    ]
    if len(points) < 2:
        return None
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    draw_curve(axes, points)
    axes.set(xlabel="training step", ylabel=metric)
    axes.legend(frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> None:
    """Compare reports; ``arguments`` are those of the command line by default."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.compare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("reports", nargs="+", type=Path, help="report.json files")
    parser.add_argument("--steps", type=int, nargs="+", help="training step of every generated set")
    parser.add_argument("--out", type=Path, help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="write into an existing folder")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    options = parser.parse_args(arguments)
    run_command(lambda: _run(options), debug=options.debug, options=vars(options))


def _run(options: argparse.Namespace) -> None:
    comparison = compare(options.reports, steps=options.steps)
    text = markdown(comparison)
    print(text, end="")
    if options.out is None:
        return
    if options.out.exists() and not options.overwrite:
        raise ValueError(f"{options.out} already exists; add --overwrite or choose another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compare.md").write_text(text)
    (options.out / "compare.json").write_text(json.dumps(comparison, indent=2) + "\n")
    steps = [column["step"] for column in comparison["columns"]]
    for metric, cells in comparison["rows"].items():
        figure = draw(metric, cells, steps)
        if figure is not None:
            figure.savefig(options.out / f"{metric.replace('/', '-')}.png", dpi=110)
    print(f"look at {options.out}")


def _columns(path: Path, content: dict[str, Any]) -> list[Column]:
    """Return the generated sets of a report, with everything that must agree."""
    sets = content["sets"]
    real = sets[content["roles"]["real"]]
    names = dict.fromkeys(row["set"] for row in content["rows"])
    return [
        {
            "name": name,
            "report": str(path),
            "step": sets[name]["checkpoint_step"],
            "rows": {row["metric"]: row for row in content["rows"] if row["set"] == name},
            "pixel scale": real["pixel_scale"],
            "threshold": real["threshold"],
            "image size": "x".join(map(str, real["size"])),
            "real images": real["hash_of_used"][:12],
            "floor": content["floor"],
        }
        for name in names
    ]


def _difference(cells: list[dict[str, Any] | None], columns: list[Column]) -> str:
    """Return why the rows of one metric cannot be compared, or an empty text if they can."""
    filled = [(c, column) for c, column in zip(cells, columns, strict=True) if c is not None]
    measured = [(c, column) for c, column in filled if c["value"] is not None]
    if not measured:
        return "no value: " + "; ".join(dict.fromkeys(c["note"] or c["status"] for c, _ in filled))
    for (a, first), (b, second) in itertools.pairwise(measured):
        for what in ("definition", "n"):
            if a[what] != b[what]:
                return f"{what} differs: {a[what]} and {b[what]}"
        for what in ("pixel scale", "threshold", "image size", "real images"):
            if first[what] != second[what]:
                return f"{what} differ: {first[what]} and {second[what]}"
    return ""


def _title(column: dict[str, Any]) -> str:
    step = "" if column["step"] is None else f" at step {column['step']}"
    return f"{column['name']}{step} ({Path(column['report']).parent.name or '.'})"


def _cell(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["value"] is None or cell["status"] != "ok":
        return cell["status"]
    error = "" if cell["stderr"] is None else f" ± {cell['stderr']:.2g}"
    p = "" if cell["p"] is None else f" (p {cell['p']:.2g})"
    return f"{cell['value']:.4g}{error}{p}"


def _floors(cells: list[dict[str, Any] | None]) -> str:
    """Return the floors of one metric as a range."""
    floors = [cell["floor"] for cell in cells if cell and cell["floor"] is not None]
    if not floors:
        return ""
    low, high = f"{min(floors):.4g}", f"{max(floors):.4g}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
