"""The report: report.json for machines, report.md and one self-contained report.html for people."""

import base64
import html
import importlib.metadata
import itertools
import json
from pathlib import Path
from typing import Any

# What a report says in words and cells, whatever form it is written in.

SIGNIFICANT = 0.001

Row = dict[str, Any]  # one metric of one generated set


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
        low = sum(differs(row) for row in tested)
        line = f"{name}: {low} of {len(tested)} tests have p < {SIGNIFICANT}"
        if tested:
            line += f" (equal sets: about {SIGNIFICANT * len(tested):.2g})"
        lines.append(line + (f"; {broken} metrics failed." if broken else "."))
    return lines


def differs(row: Row) -> bool:
    """Tell whether the p of a row is so small that the sets differ."""
    return row["p"] is not None and row["p"] < SIGNIFICANT


def set_table(report: dict[str, Any]) -> list[list[str]]:
    """Return header and rows of what is known of the sets."""
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
        [name, *(cell(facts[column]) for column in names)] for name, facts in report["sets"].items()
    ]
    return [header, *rows]


def cell(value: Any) -> str:
    """Return a value as short text."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def origin(report: dict[str, Any]) -> str:
    """Say how a report was made."""
    made = report["provenance"]
    return (
        f"Floor from {report['floor']}. Budget {report['budget']}, seed {report['seed']}, "
        f"{made['time']}, commit {made['git_commit']}, {' '.join(map(str, made['command']))}"
    )


# The report as one self-contained page.

_PAGE_COLUMNS = ("metric", "set", "value", "stderr", "floor", "p", "n", "seconds", "status")
_NUMBERS = ("value", "stderr", "floor", "p", "n", "seconds")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em;
  color: #1b1b1b; background: #fff; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; min-width: 100%; }
th, td { border-bottom: 1px solid #ddd; padding: 3px 8px; text-align: left; white-space: nowrap; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.differs td { background: #fdeee8; } tr.missing td { background: #f0f0f0; color: #555; }
tr.note td { color: #555; font-size: 12px; white-space: normal; padding-left: 2em; }
summary { cursor: pointer; font-weight: 600; padding: .5em 0; }
.warning { background: #fff4cc; padding: .5em 1em; border-left: 4px solid #d9a400; }
figure { display: inline-block; margin: 1em 1em 1em 0; vertical-align: top; }
figure img { max-width: 100%; height: auto; } figcaption { font-size: 12px; color: #555; }
"""


def page(report: dict[str, Any], figures: list[str], folder: Path) -> str:
    """Return report.html with the figures, PNG files in ``folder``, in it."""
    body = ["<h1>Real and generated images</h1>"]
    body += [f'<p class="warning">{html.escape(text)}</p>' for text in report["warnings"]]
    body += [f"<p>{html.escape(text)}</p>" for text in headline(report["rows"])]
    body += ["<h2>Sets</h2>", _table(set_table(report))]
    body += ["<h2>Metrics</h2>", *_metrics(report["rows"]), "<h2>Figures</h2>"]
    body += [_figure(name, folder / f"{name}.png") for name in figures]
    body += ["<h2>Definitions</h2><dl>"]
    for name, text in report["definitions"].items():
        body.append(f"<dt><code>{html.escape(name)}</code></dt><dd>{html.escape(text)}</dd>")
    body += ["</dl>", f"<p>{html.escape(origin(report))}</p>"]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    title = "<title>Real and generated images</title>"
    return f"<!doctype html><html lang='en'><head>{head}{title}<style>{_STYLE}</style></head>" + (
        "<body>" + "\n".join(body) + "</body></html>\n"
    )


def _metrics(rows: list[Row]) -> list[str]:
    """Return a table for each kind of metric, the first part of its name, that can be folded."""
    parts = []
    for kind in dict.fromkeys(_kind(row) for row in rows):
        mine = [row for row in rows if _kind(row) == kind]
        low = sum(map(differs, mine))
        found = f", {low} with p < {SIGNIFICANT}" if low else ""
        summary = html.escape(f"{kind} ({len(mine)} rows{found})")
        parts.append(f"<details open><summary>{summary}</summary>{_html_table(mine)}</details>")
    return parts


def _kind(row: Row) -> str:
    return row["metric"].partition("/")[0]


def _html_table(rows: list[Row]) -> str:
    """Return rows as a table, with a note below the rows that share it."""
    lines = [_header(_PAGE_COLUMNS)]
    for note, group in itertools.groupby(rows, key=lambda row: row["note"]):
        same = list(group)
        lines += [f'<tr class="{_class(row)}">{_cells(row)}</tr>' for row in same]
        if note:
            which = f"the {len(same)} rows above: " if len(same) > 1 else ""
            text = html.escape(which + note)
            lines.append(f'<tr class="note"><td colspan="{len(_PAGE_COLUMNS)}">{text}</td></tr>')
    return _scrolling(lines)


def _cells(row: Row) -> str:
    return "".join(
        f'<td class="{"number" if name in _NUMBERS else ""}">{html.escape(cell(row[name]))}</td>'
        for name in _PAGE_COLUMNS
    )


def _class(row: Row) -> str:
    if row["status"] != "ok":
        return "missing"
    return "differs" if differs(row) else ""


def _table(table: list[list[str]]) -> str:
    lines = [_header(table[0])]
    for row in table[1:]:
        lines.append("<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in row) + "</tr>")
    return _scrolling(lines)


def _header(names: list[str] | tuple[str, ...]) -> str:
    cells = (
        f'<th class="{"number" if name in _NUMBERS else ""}">{html.escape(name)}</th>'
        for name in names
    )
    return f"<tr>{''.join(cells)}</tr>"


def _scrolling(lines: list[str]) -> str:
    return '<div class="scroll"><table>' + "\n".join(lines) + "</table></div>"


def _figure(name: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    caption = html.escape(name.replace("_", " "))
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


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
