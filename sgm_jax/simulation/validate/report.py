"""The report: report.md, results.json and pictures."""

import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from sgm_jax.simulation.validate.inputs import FACTOR, Shift
from sgm_jax.simulation.validate.references import STANDARDS
from sgm_jax.simulation.validate.study import Figure, Measurement, Study

_STYLES = {
    "line": {"linewidth": 1.2},
    "steps": {"drawstyle": "steps-mid", "linewidth": 1.2},
    "points": {"marker": "o", "linestyle": "none", "markersize": 4},
    "crosses": {"marker": "x", "linestyle": "none", "markersize": 6, "color": "black"},
}

# What the approximated inputs can distort; the numbers follow in the table of the report.
_DISTORTIONS = (
    (
        "Bremsstrahlung below 2 MeV",
        "the share of soft photons that the ends of showers and delta electrons throw off: the "
        "blips and halo around showers. Radiation is 2 % of the loss there.",
    ),
    (
        "Neutron cross sections",
        "where the MeV blips around stars and captures lie, and how much neutrons leave in a crop.",
    ),
    (
        "Photonuclear cross sections",
        "the few per cent of shower energy that ends in neutrons, and their blips.",
    ),
    (
        "No discrete nuclear photons",
        "nuclei left excited by capture and stars give off other photons than argon's lines (the "
        "1.46 MeV line of 40Ar, the 6.1 MeV cascade after neutron capture): the energies of "
        "single blips. Not quantified: there is no folder with the lines to compare with.",
    ),
)


def draw(figure: Figure, folder: Path) -> Path:
    """Write one picture as PNG and return its path."""
    canvas = Canvas(figsize=(6.0, 4.4), layout="constrained")
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    for curve in figure.curves:
        style = _STYLES[curve.style]
        if curve.error is None:
            axes.plot(curve.x, curve.y, label=curve.label, **style)
        else:
            axes.errorbar(curve.x, curve.y, curve.error, label=curve.label, **style)
    axes.set(title=figure.title, xlabel=figure.x_label, ylabel=figure.y_label)
    if figure.log_x:
        axes.set_xscale("log")
    if figure.log_y:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    canvas.legend(fontsize=8, loc="outside lower center", ncols=2)
    path = folder / f"{figure.name}.png"
    canvas.savefig(path, dpi=100)
    return path


def _number(value: float) -> str:
    return f"{value:.4g}"


def measurement_row(row: Measurement) -> str:
    """Return one line of the table of results."""
    quantity = f"{row.quantity} ({row.unit})" if row.unit else row.quantity
    cells = [quantity, f"{_number(row.measured.value)} ± {row.measured.stderr:.2g}"]
    if row.rule is None:
        cells += ["", "", "", "", row.verdict]
    else:
        sigma = "" if row.sigma is None else f"{row.sigma:+.1f}"
        cells += [_number(row.reference), f"{100 * row.deviation:+.1f} %", sigma]
        cells += [f"{100 * row.rule.tolerance:g} %", row.verdict]
    return "| " + " | ".join(cells) + " |"


def _standards_table(rows: list[Measurement]) -> list[str]:
    """Return source, tolerance and its reason for the standards in use."""
    used = dict.fromkeys(row.standard for row in rows if row.standard)
    lines = ["| for | reference | tolerance | why |", "|---|---|---|---|"]
    for name in used:
        rule = STANDARDS[name]
        tolerance = f"{100 * rule.tolerance:g} %"
        what = name.replace("_", " ")
        lines.append(f"| {what} | {rule.source} | {tolerance} | {rule.reason} |")
    return lines


def _failures_section(rows: list[Measurement]) -> list[str]:
    """Return what is known about each failure."""
    failed = [row for row in rows if row.verdict == "fail"]
    if not failed:
        return []
    lines = ["## Failures", ""]
    for row in failed:
        known = row.rule.if_failed or "Not explained."
        lines.append(f"- **{row.quantity}** ({100 * row.deviation:+.1f} %). {known}")
    return [*lines, ""]


def _inputs_section(shifts: list[Shift], data_kind: str) -> list[str]:
    """Return the section on the approximated inputs."""
    lines = ["## Approximated inputs", ""]
    lines += [f"- **{name}** can distort {what}" for name, what in _DISTORTIONS]
    if not shifts:
        return [*lines, "", f"Not perturbed in this run (Geant4 data: {data_kind}).", ""]
    lines += [
        "",
        f"One input scaled by {FACTOR:g} in a copy of the data, everything else equal:",
        "",
    ]
    lines += ["| input | observable | as written | scaled | change |", "|---|---|---|---|---|"]
    for shift in shifts:
        old, new = shift.before, shift.after
        change = 100 * (new.value / old.value - 1.0)
        relative = ((old.stderr / old.value) ** 2 + (new.stderr / new.value) ** 2) ** 0.5
        observable = f"{shift.observable} ({shift.unit})"
        values = [f"{_number(x.value)} ± {x.stderr:.2g}" for x in (old, new)]
        cells = [shift.source, observable, *values, f"{change:+.1f} ± {100 * relative:.1f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def write_report(
    studies: dict[str, Study], shifts: list[Shift], folder: Path, *, settings: dict
) -> dict[str, int]:
    """Write everything into ``folder`` and return how many passed, failed and are undecided.

    Args:
        studies: outcome of each study by name.
        shifts: outcome of the perturbed runs; empty if there were none.
        folder: made if needed; files of the same names are replaced.
        settings: what to say about the run: command, versions, seed, CPU time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for study in studies.values() for row in study.measurements]
    figures = [figure for study in studies.values() for figure in study.figures]
    verdicts = [row.verdict for row in rows]
    summary = {name: verdicts.count(name) for name in ("pass", "fail", "undecided")}
    lines = ["# Physics of the simulated liquid argon", ""]
    lines += [f"- {name}: {value}" for name, value in settings.items()]
    lines += [f"- result: {', '.join(f'{count} {name}' for name, count in summary.items())}", ""]
    lines += ["| quantity | measured | reference | deviation | sigma | tolerance | verdict |"]
    lines += ["|---|---|---|---|---|---|---|", *map(measurement_row, rows), ""]
    lines += [
        "Errors are statistical. A deviation within the tolerance passes, however many sigma;"
    ]
    lines += ["`undecided`: the statistical error is half the tolerance or more; `-`: information."]
    lines += [
        "",
        *_failures_section(rows),
        "## References and tolerances",
        "",
        *_standards_table(rows),
        "",
    ]
    lines += _inputs_section(shifts, settings["Geant4 data"])
    lines += ["## Pictures", ""]
    lines += [f"![{figure.title}]({draw(figure, folder).name})" for figure in figures]
    (folder / "report.md").write_text("\n".join(lines) + "\n")
    results = {
        "settings": settings,
        "summary": summary,
        "measurements": [_record(row) for row in rows],
        "inputs": [shift._asdict() for shift in shifts],
    }
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return summary


def _record(row: Measurement) -> dict:
    """Return a measurement as plain values."""
    return {
        "quantity": row.quantity,
        "unit": row.unit,
        "measured": float(row.measured.value),
        "stderr": float(row.measured.stderr),
        "reference": None if row.reference is None else float(row.reference),
        "source": row.rule.source if row.rule else None,
        "tolerance": row.rule.tolerance if row.rule else None,
        "deviation": None if row.deviation is None else float(row.deviation),
        "sigma": None if row.sigma is None else float(row.sigma),
        "verdict": row.verdict,
    }
