"""The report as one self-contained page."""

import base64
import html
import itertools
from pathlib import Path
from typing import Any

from evaluation.report_text import SIGNIFICANT, Row, cell, differs, headline, origin, set_table

_COLUMNS = ("metric", "set", "value", "stderr", "floor", "p", "n", "seconds", "status")
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
        parts.append(f"<details open><summary>{summary}</summary>{_row_table(mine)}</details>")
    return parts


def _kind(row: Row) -> str:
    return row["metric"].partition("/")[0]


def _row_table(rows: list[Row]) -> str:
    """Return rows as a table, with a note below the rows that share it."""
    lines = [_header(_COLUMNS)]
    for note, group in itertools.groupby(rows, key=lambda row: row["note"]):
        same = list(group)
        lines += [f'<tr class="{_class(row)}">{_cells(row)}</tr>' for row in same]
        if note:
            which = f"the {len(same)} rows above: " if len(same) > 1 else ""
            text = html.escape(which + note)
            lines.append(f'<tr class="note"><td colspan="{len(_COLUMNS)}">{text}</td></tr>')
    return _scrolling(lines)


def _cells(row: Row) -> str:
    return "".join(
        f'<td class="{"number" if name in _NUMBERS else ""}">{html.escape(cell(row[name]))}</td>'
        for name in _COLUMNS
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
