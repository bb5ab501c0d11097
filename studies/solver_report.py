"""Table and figure of quality against network evaluations."""

from typing import Any

from matplotlib.figure import Figure

from studies.judging import FACTORS, JUDGES, MEANING, NUMBERS, WITHIN, cells, is_equal
from studies.solver_cases import YARDSTICK


def cheapest(content: dict[str, Any]) -> dict[str, Any]:
    """Return the case of fewest evaluations that equals the yardstick."""
    yardstick = _yardstick(content)
    equal = [case for case in content["cases"] if is_equal(case["quality"], yardstick["quality"])]
    return min(equal, key=lambda case: case["evaluations"])


def render(content: dict[str, Any]) -> str:
    """Return solvers.md."""
    yardstick, best = _yardstick(content), cheapest(content)
    head = ["solver", "evaluations", "images", *(title for title, _ in NUMBERS.values()), "equal"]
    lines = [
        "# Quality against network evaluations",
        "",
        MEANING,
        "",
        f"One network drew all of them. *Equal*: in none of the first four numbers further from 0 "
        f"than {YARDSTICK}, the paper's sampler, by more than two combined standard errors.",
        "",
        f"**{best['name']}** has the fewest evaluations of those that are equal: "
        f"{best['evaluations']}.",
        "",
        "![quality](solvers.png)",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    for case in sorted(content["cases"], key=lambda case: (case["solver"], case["evaluations"])):
        row = [case["solver"], case["evaluations"], case["images"], *cells(case["quality"])]
        row.append("yes" if is_equal(case["quality"], yardstick["quality"]) else "")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    made = content["provenance"]
    lines += ["", f"`python -m studies.solvers`, {made['time']}, commit {made['git_commit']}.", ""]
    return "\n".join(lines)


def draw(content: dict[str, Any]) -> Figure:
    """Draw each number against evaluations, a line for each solver; the band is the yardstick."""
    figure = Figure(figsize=(15, 4), layout="constrained")
    yardstick = _yardstick(content)["quality"]
    solvers = list(dict.fromkeys(case["solver"] for case in content["cases"]))
    panels = figure.subplots(1, len(JUDGES))
    for axes, name in zip(panels, JUDGES, strict=True):
        factor, mark = FACTORS.get(name, 1.0), yardstick[name]
        low, high = (factor * (mark["value"] + sign * WITHIN * mark["stderr"]) for sign in (-1, 1))
        axes.axhspan(low, high, color="0.9", label=f"{YARDSTICK}, two errors")
        for solver in solvers:
            some = [c for c in content["cases"] if c["solver"] == solver and name in c["quality"]]
            numbers = [case["quality"][name] for case in some]
            axes.errorbar(
                [case["evaluations"] for case in some],
                [factor * number["value"] for number in numbers],
                [factor * number["stderr"] for number in numbers],
                marker="o",
                ms=3,
                lw=1,
                label=solver,
            )
        axes.axhline(0.0, color="k", lw=0.8)
        axes.set(xscale="log", xlabel="network evaluations an image", title=NUMBERS[name][0])
        # Sets of noise are orders of magnitude away, and zero belongs into the picture.
        axes.set_yscale("symlog", linthresh=max(4 * FACTORS.get(name, 1.0) * mark["stderr"], 1e-9))
    panels[0].legend(fontsize=7)
    return figure


def _yardstick(content: dict[str, Any]) -> dict[str, Any]:
    return next(case for case in content["cases"] if case["name"] == YARDSTICK)
