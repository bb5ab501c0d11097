"""The page: figures and numbers written to the folder, and one file that shows them."""

import base64
import math
from pathlib import Path
from typing import Any

from evaluation.figures.figure import save
from evaluation.paper.collect import Material
from evaluation.paper.sections import Section
from evaluation.report import render
from evaluation.report.report import cell
from sgm_jax.run.files import write_json

SCHEMA_VERSION = 1


def write(material: Material, sections: list[Section], out: Path) -> None:
    """Draw the figures and write them, ``index.html`` and ``paper.json``.

    A figure that fails becomes a warning.
    """
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    pictures = {}
    for section in sections:
        for name, draw in section.figures.items():
            path = folder / name
            material.trying(f"Figure {name}", lambda draw=draw, path=path: save(draw(), path))
            picture = path.with_name(f"{name}.png")
            if picture.is_file():
                pictures[name] = base64.b64encode(picture.read_bytes()).decode()
    content = _content(material, sections)
    pages = [path.name for path in out.glob("*.html")]
    values = content | {"sections": sections, "pictures": pictures, "pages": pages}
    (out / "index.html").write_text(render("paper.html", values, shown=shown))
    write_json(out / "paper.json", content)  # last: it says that all is there


def shown(value: Any) -> str:
    """Return a value, or a value and its error, as short text."""
    if not isinstance(value, tuple):
        return cell(value)
    value, error = value
    return cell(value) + ("" if error is None or math.isnan(error) else f" ± {error:.2g}")


def _content(material: Material, sections: list[Section]) -> dict[str, Any]:
    """Return what paper.json holds."""
    results = material.results
    return {
        "schema_version": SCHEMA_VERSION,
        "plan": material.plan.recipe,
        "sets": material.every.sets,
        "floor": material.every.floor,
        "tables": {f"{s.place} {s.title}".strip(): list(s.rows) for s in sections if s.rows},
        "rows": [result.to_dict() for result in results],
        "definitions": {row.metric: row.definition for row in results if row.definition},
        "likelihood": material.bits,
        "warnings": material.warnings,
        "provenance": material.every.provenance,
    }
