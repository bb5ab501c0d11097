"""The table, the picture and the numbers behind them."""

import shlex
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from launch.sweep.judge import COLUMNS, WITHIN, cells, is_worse
from sgm_jax.data.grid import save_grid
from sgm_jax.run.files import write_json

PICTURE_COLUMNS = 10
_HEAD = ["variant", "sampler", "steps", "CPU s", "evaluations", "images"]


def write(content: dict[str, Any], real: np.ndarray, out: Path) -> None:
    """Write sweep.md, sweep.json and sweep.png.

    The content is the configuration's name, the rows and the provenance. Real images ``[n, H, W]``
    are the first row of the picture.
    """
    shown = [real[:PICTURE_COLUMNS, :, :, None]]
    for row in content["rows"]:
        with np.load(Path(row["seeds"][0]["samples"]) / "samples.npz") as arrays:
            shown.append(arrays["samples"][:PICTURE_COLUMNS])
    columns = min(len(images) for images in shown)
    write_json(out / "sweep.json", content)
    (out / "sweep.md").write_text(render(content))
    save_grid(
        out / "sweep.png", np.concatenate([images[:columns] for images in shown]), columns=columns
    )


def render(content: dict[str, Any]) -> str:
    """Return the text of sweep.md."""
    rows = content["rows"]
    reference = rows[0]["quality"]
    verdicts = ["" if is_worse(row["quality"], reference) else "yes" for row in rows]
    verdicts[0] = "reference"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("launch.sweep", ""),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shell"] = shlex.join
    return environment.get_template("sweep.md").render(
        content,
        within=WITHIN,
        head=[*_HEAD, *(column.title for column in COLUMNS.values()), "not worse"],
        table=[
            [*_description(row), *cells(row["quality"]), verdict]
            for row, verdict in zip(rows, verdicts, strict=True)
        ],
        floors=[
            f"{column.title}: {column.factor * reference[name]['floor']:.{column.digits}f}"
            for name, column in COLUMNS.items()
            if column.decides and name in reference
        ],
        command=["python", "-m", "launch.sweep", *content["provenance"]["command"][1:]],
    )


def _description(row: dict[str, Any]) -> list[str]:
    """Return the cells of a row that say what was judged."""
    seeds = row["seeds"]
    spent = [part["cpu_seconds"] for part in seeds if part["cpu_seconds"] is not None]
    evaluations = seeds[0]["network_evaluations"]
    return [
        row["variant"],
        row["sampler"],
        "/".join(dict.fromkeys(str(part["steps"]) for part in seeds)),
        f"{np.mean(spent):.0f}" if spent else "",
        "adaptive" if evaluations is None else str(evaluations),
        str(seeds[0]["images"]),
    ]
