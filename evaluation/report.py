"""The report: report.json for machines, report.md and one self-contained report.html for people."""

import base64
import html
import importlib.metadata
import json
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
PACKAGES = ("scikit-learn", "scipy", "ott-jax", "POT", "matplotlib")
_COLUMNS = ("metric", "set", "value", "stderr", "floor", "p", "n", "seconds", "status", "note")
_SIGNIFICANT = 0.001

Row = dict[str, Any]  # one metric of one generated set

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 3px 8px; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.differs td { background: #fdeee8; } tr.missing td { background: #f0f0f0; color: #555; }
p.warning { background: #fff4cc; padding: .5em 1em; border-left: 4px solid #d9a400; }
figure { display: inline-block; margin: 1em 1em 1em 0; vertical-align: top; }
figure img { max-width: 100%; height: auto; } figcaption { font-size: 12px; color: #555; }
"""


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


def warnings_of(sets: dict[str, dict[str, Any]]) -> list[str]:
    """Say what about the sets may make a difference that is not the generator's."""
    found = []
    for name, facts in sets.items():
        for kind in ("empty", "constant"):
            if facts[f"{kind}_images"]:
                count, of = facts[f"{kind}_images"], facts["images_used"]
                found.append(f"{name}: {count} of {of} images are {kind}; they are kept.")
    origins = {facts["ssnet"] for facts in sets.values() if facts["ssnet"]}
    if len(origins) > 1:
        found.append(
            f"SSNet's labels are from different weights ({', '.join(sorted(origins))}): what "
            "differs by class may be theirs."
        )
    faint = {name: facts["lit_pixels_up_to_4"] for name, facts in sets.items()}
    bare = [name for name, share in faint.items() if share == 0]
    if bare and len(bare) < len(faint):
        lit = ", ".join(f"{name} {100 * share:.1f} %" for name, share in faint.items() if share)
        found.append(
            f"Of the lit pixels some are at most 4 of 255 ({lit}), but none in {', '.join(bare)}: "
            "these were cut off there, as the paper does to generated images. "
            "Use --threshold 4 to treat all sets alike."
        )
    return found


def headline(rows: list[Row]) -> list[str]:
    """Summarise the p-values of every generated set, with the number of tests in mind."""
    lines = []
    for name in dict.fromkeys(row["set"] for row in rows):
        tested = [row for row in rows if row["set"] == name and row["p"] is not None]
        broken = sum(row["set"] == name and row["status"] == "failed" for row in rows)
        low = sum(row["p"] < _SIGNIFICANT for row in tested)
        line = f"{name}: {low} of {len(tested)} tests have p < {_SIGNIFICANT}"
        if tested:
            line += f" (equal sets: about {_SIGNIFICANT * len(tested):.2g})"
        lines.append(line + (f"; {broken} metrics failed." if broken else "."))
    return lines


def markdown(report: dict[str, Any], figures: list[str]) -> str:
    """Return report.md."""
    lines = ["# Real and generated images", ""]
    lines += [f"> {text}" for text in report["warnings"]] + [""]
    lines += [f"- {text}" for text in headline(report["rows"])] + [""]
    lines += ["## Sets", "", *_markdown_table(_set_table(report)), ""]
    lines += ["## Metrics", "", *_markdown_table(_row_table(report["rows"])), ""]
    lines += ["## Definitions", ""]
    lines += [f"- `{name}`: {text}" for name, text in report["definitions"].items()]
    lines += ["", "## Figures", ""]
    lines += [f"![{name}](figures/{name}.png)" for name in figures]
    lines += ["", f"{_origin(report)}", ""]
    return "\n".join(lines)


def page(report: dict[str, Any], figures: list[str], folder: Path) -> str:
    """Return report.html with the figures in it."""
    escape = html.escape
    body = ["<h1>Real and generated images</h1>"]
    body += [f'<p class="warning">{escape(text)}</p>' for text in report["warnings"]]
    body += [f"<p>{escape(text)}</p>" for text in headline(report["rows"])]
    body += ["<h2>Sets</h2>", _html_table(_set_table(report))]
    classes = [""] + [_row_class(row) for row in report["rows"]]
    body += ["<h2>Metrics</h2>", _html_table(_row_table(report["rows"]), classes)]
    body += ["<h2>Figures</h2>"]
    for name in figures:
        data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        image = f'<img alt="{escape(name)}" src="data:image/png;base64,{data}">'
        body.append(f"<figure>{image}<figcaption>{escape(name)}</figcaption></figure>")
    body += ["<h2>Definitions</h2><dl>"]
    for name, text in report["definitions"].items():
        body.append(f"<dt><code>{escape(name)}</code></dt><dd>{escape(text)}</dd>")
    body += ["</dl>", f"<p>{escape(_origin(report))}</p>"]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    title = "<title>Real and generated images</title>"
    return f"<!doctype html><html lang='en'><head>{head}{title}<style>{_STYLE}</style></head>" + (
        "<body>" + "\n".join(body) + "</body></html>\n"
    )


def _set_table(report: dict[str, Any]) -> list[list[str]]:
    names = (
        "images_used",
        "images_in_source",
        "size",
        "empty_images",
        "constant_images",
        "track_images",
    )
    names += ("lit_pixels_up_to_4", "largest_pixel", "checkpoint_step", "source")
    header = ["set", *(name.replace("_", " ") for name in names)]
    rows = [
        [name, *(_cell(facts[column]) for column in names)]
        for name, facts in report["sets"].items()
    ]
    return [header, *rows]


def _row_table(rows: list[Row]) -> list[list[str]]:
    return [list(_COLUMNS), *([_cell(row[name]) for name in _COLUMNS] for row in rows)]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row_class(row: Row) -> str:
    if row["status"] != "ok":
        return "missing"
    return "differs" if row["p"] is not None and row["p"] < _SIGNIFICANT else ""


def _markdown_table(table: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return [lines[0], "|" + "---|" * len(table[0]), *lines[1:]]


def _html_table(table: list[list[str]], classes: list[str] | None = None) -> str:
    classes = classes or [""] * len(table)
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in table[0])
    lines = [f"<table><tr>{header}</tr>"]
    for kind, row in zip(classes[1:], table[1:], strict=True):
        cells = "".join(
            f'<td class="{"number" if _is_number(c) else ""}">{html.escape(c)}</td>' for c in row
        )
        lines.append(f'<tr class="{kind}">{cells}</tr>')
    return "\n".join([*lines, "</table>"])


def _is_number(cell: str) -> bool:
    return cell[:1] in "-0123456789" and cell[-1:].isdigit()


def _origin(report: dict[str, Any]) -> str:
    made = report["provenance"]
    return (
        f"Floor from {report['floor']}. Budget {report['budget']}, seed {report['seed']}, "
        f"{made['time']}, commit {made['git_commit']}, {' '.join(map(str, made['command']))}"
    )
