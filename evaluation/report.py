"""The report: report.json for machines, report.md and one self-contained report.html for people."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from evaluation.report_page import page
from evaluation.report_text import Row, cell, headline, origin, set_table

SCHEMA_VERSION = 1
PACKAGES = ("scikit-learn", "scipy", "ott-jax", "POT", "matplotlib")
_COLUMNS = ("metric", "set", "value", "stderr", "floor", "p", "n", "seconds", "status", "note")


def write(report: dict[str, Any], figures: list[str], out: Path) -> None:
    """Write report.md and report.html beside the folder with the figures."""
    (out / "report.md").write_text(markdown(report, figures))
    (out / "report.html").write_text(page(report, figures, out / "figures"))


def read(path: Path) -> dict[str, Any]:
    """Read a report.json.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged, none of ours or of another schema.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no report {path}; give the report.json of python -m evaluation")
    try:
        report = json.loads(Path(path).read_text())
        version = report["schema_version"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report of python -m evaluation ({error})") from error
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}: "
            "make the report again"
        )
    return report


def versions() -> dict[str, str | None]:
    """Return the versions of the libraries that metrics come from; None if one is not there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def markdown(report: dict[str, Any], figures: list[str]) -> str:
    """Return report.md."""
    lines = ["# Real and generated images", ""]
    lines += [f"> {text}" for text in report["warnings"]] + [""]
    lines += [f"- {text}" for text in headline(report["rows"])] + [""]
    lines += ["## Sets", "", *_markdown_table(set_table(report)), ""]
    lines += ["## Metrics", "", *_markdown_table(_row_table(report["rows"])), ""]
    lines += ["## Definitions", ""]
    lines += [f"- `{name}`: {text}" for name, text in report["definitions"].items()]
    lines += ["", "## Figures", ""]
    lines += [f"![{name}](figures/{name}.png)" for name in figures]
    lines += ["", f"{origin(report)}", ""]
    return "\n".join(lines)


def _row_table(rows: list[Row]) -> list[list[str]]:
    return [list(_COLUMNS), *([cell(row[name]) for name in _COLUMNS] for row in rows)]


def _markdown_table(table: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return [lines[0], "|" + "---|" * len(table[0]), *lines[1:]]
