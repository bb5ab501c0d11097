"""What does each choice of training give, at equal compute?

    python -m studies.choices --config=configs/larcv_png64_cpu.py --steps=1200 \\
        --real=data/lar64/test/larcv_png_64 --train=data/lar64/train/larcv_png_64 \\
        --out=docs/choices

trains one network for each choice, for equally many steps, draws images of it with the sampler of
the configuration and compares them with real ones. OUT gets choices.md, choices.json and
choices.png. A run that was killed continues, when it is repeated, where it stopped, in the middle
of a training too.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from sgm_jax.run.command import run as run_command
from sgm_jax.run.command import start_jax
from studies.judging import MEANING, NUMBERS, Judge, cells, open_judge
from studies.solvers import configured
from studies.written import write_study

COLUMNS = 10  # of the picture
_MIN_SNR = {"training.weighting": "min_snr"}
# Fields that differ from the configuration, and the averages of weights to draw with.
CHOICES: dict[str, dict[str, Any]] = {
    "edm": {"training.objective": "edm", "model.ema_rates": (0.99, 0.9997)},
    "edm, low discrepancy": {"training.objective": "edm", "training.low_discrepancy": True},
    "edm, cosine": {"training.objective": "edm", "optim.schedule": "cosine"},
    "edm, 3 channels": {"training.objective": "edm", "data.num_channels": 3},
    "noise": {"training.objective": "noise"},
    "noise, min-SNR": {"training.objective": "noise"} | _MIN_SNR,
    "noise, importance": {
        "training.objective": "noise",
        "training.time_sampling": "importance",
        "training.likelihood_weighting": True,
    },
    "velocity": {"training.objective": "velocity", "training.weighting": "velocity"},
    "velocity, min-SNR": {"training.objective": "velocity"} | _MIN_SNR,
}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m studies.choices", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", required=True, help="what the choices are made in")
    parser.add_argument("--real", required=True, help="held-out real images")
    parser.add_argument("--train", required=True, help="images to train on, and for the floor")
    parser.add_argument("--out", required=True, type=Path, help="folder of the table")
    parser.add_argument("--work", type=Path, default=Path("runs/choices"), help="what is done")
    parser.add_argument("--steps", type=int, default=1200, help="of each training")
    parser.add_argument("--images", type=int, default=1000, help="of each set")
    parser.add_argument("--only", help="choices to make, separated by semicolons (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def study(given: argparse.Namespace) -> dict[str, Any]:
    """Train, draw and judge every choice; return what choices.json holds.

    Raises:
        FileNotFoundError: if there are no images.
        ValueError: for an unknown choice, too few images, a folder of other settings.
    """
    # Imported here because it imports jax, which reads the environment that run sets.
    from sgm_jax.run.workdir import provenance

    names = [name.strip() for name in given.only.split(";")] if given.only else list(CHOICES)
    unknown = sorted(set(names) - set(CHOICES))
    if unknown:
        raise ValueError(f"unknown choices {unknown}; choose from {'; '.join(CHOICES)}")
    # Refused before hours of training, not after.
    configs = {name: configuration(given, name) for name in names}
    judge = open_judge(
        given.real, given.train, count=given.images, work=given.work, seed=given.seed
    )
    found = [row for name in names for row in _judged(given, name, configs[name], judge)]
    _picture(given, found, judge.real.images)
    settings = {key: vars(given)[key] for key in ("seed", "config", "steps", "images")}
    return {"settings": settings, "choices": found, "provenance": provenance()}


def configuration(given: argparse.Namespace, name: str) -> Any:
    """Return the checked configuration of a choice."""
    fields = {"training.n_iters": given.steps, "training.snapshot_sampling": False}
    fields |= {"data.train_path": given.train, "data.test_path": given.real}
    return configured(given.config, fields | CHOICES[name], seed=given.seed)


def _judged(
    given: argparse.Namespace, name: str, config: Any, judge: Judge
) -> list[dict[str, Any]]:
    """Return a row for each average of the weights that the choice keeps."""
    from sgm_jax.sample import sample
    from sgm_jax.train import train

    run = given.work / "trained" / _short(name)
    train(config, run)
    rows = []
    for rate in (config.model.ema_rate, *config.model.ema_rates):
        out = _samples(given, name, rate)
        folder = sample(config, run, num_samples=given.images, ema_rate=rate, out=out)
        rows.append({"choice": name, "ema_rate": rate, "quality": judge(out.name, folder)})
    return rows


def _samples(given: argparse.Namespace, name: str, rate: float) -> Path:
    return given.work / "samples" / f"{_short(name)}_{rate}"


def _short(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_")


def _picture(given: argparse.Namespace, rows: list[dict[str, Any]], real: np.ndarray) -> None:
    """Draw a row of real images and one of every set; those of one channel start alike."""
    from sgm_jax.data.grid import save_grid

    shown = [real[:COLUMNS, :, :, None]]
    for row in rows:
        with np.load(_samples(given, row["choice"], row["ema_rate"]) / "samples.npz") as arrays:
            shown.append(arrays["samples"][:COLUMNS].mean(axis=-1, keepdims=True))
    given.out.mkdir(parents=True, exist_ok=True)
    save_grid(given.out / "choices.png", np.concatenate(shown), columns=COLUMNS)


def render(content: dict[str, Any]) -> str:
    """Return choices.md."""
    settings = content["settings"]
    head = ["choice", "average", *(title for title, _ in NUMBERS.values())]
    lines = [
        "# Choices of training at equal compute",
        "",
        f"`{settings['config']}`, each choice trained for {settings['steps']} steps from the same "
        f"seed, {settings['seed']}, and {settings['images']} images drawn with the sampler of the "
        "configuration. A step costs the same in all of them, but for the first and last layer of "
        "3 channels. One training each: differences of the size of the errors may be those of "
        "another seed. *Average*: the rate of the moving average of the weights.",
        "",
        MEANING,
        "",
        "![The first row are real images, the others those of the table, in its order]"
        "(choices.png)",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
    ]
    for row in content["choices"]:
        texts = [row["choice"], str(row["ema_rate"]), *cells(row["quality"])]
        lines.append("| " + " | ".join(texts) + " |")
    made = content["provenance"]
    lines += ["", f"`python -m studies.choices`, {made['time']}, commit {made['git_commit']}.", ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Make the table; ``arguments`` are those of the command line by default."""
    given = parse(arguments)
    run_command(lambda: _run(given), debug=given.debug)


def _run(given: argparse.Namespace) -> None:
    start_jax()
    content = study(given)
    write_study(given.out, "choices", content, render(content))


if __name__ == "__main__":
    main()
