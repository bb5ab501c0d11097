"""The table, the picture and the numbers behind them."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np

from launch.sweep.judge import COLUMNS, MEANING, WITHIN, cells, is_worse
from sgm_jax.data.grid import save_grid
from sgm_jax.run.files import write_json

PICTURE_COLUMNS = 10
_HEAD = ["variant", "sampler", "steps", "CPU s", "evaluations", "images"]


def write(content: dict[str, Any], real: np.ndarray, out: Path) -> None:
    """Write sweep.md, sweep.json and sweep.png.

    Args:
        content: the configuration's name, the rows and the provenance.
        real: real images ``[n, H, W]``, for the first row of the picture.
        out: folder.
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
    rows, made = content["rows"], content["provenance"]
    reference = rows[0]["quality"]
    head = [*_HEAD, *(column.title for column in COLUMNS.values()), "not worse"]
    lines = [
        f"# Variants and samplers of `{content['config']}`",
        "",
        f"{MEANING} *Not worse*: none of the numbers but the noise is further from 0 than in the "
        f"first row by more than {WITHIN:g} combined standard errors. With one seed, another "
        "training may differ by more than the error. With several, numbers are means, and the "
        "error is the larger of the evaluator's and that of the spread.",
        "",
        "![The first row shows real images, the others the rows of the table](sweep.png)",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    for row in rows:
        texts = [*_description(row), *cells(row["quality"])]
        worse = "" if is_worse(row["quality"], reference) else "yes"
        texts.append("reference" if row is rows[0] else worse)
        lines.append("| " + " | ".join(texts) + " |")
    floors = [
        f"{column.title}: {column.factor * reference[name]['floor']:.{column.digits}f}"
        for name, column in COLUMNS.items()
        if column.decides and name in reference
    ]
    lines += ["", f"Floors of the first row: {'; '.join(floors)}.", ""]
    lines += [
        f"- {row['variant']}, {row['sampler']}: `{shlex.join(row['arguments'])}`"
        for row in rows
        if row["arguments"]
    ]
    command = shlex.join(["python", "-m", "launch.sweep", *made["command"][1:]])
    lines += ["", f"`{command}`, {made['time']}, commit {made['git_commit']}.", ""]
    return "\n".join(lines)


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
