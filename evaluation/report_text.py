"""What a report says in words and cells, whatever form it is written in."""

from typing import Any

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
