"""Compare composed events with simulated ones of the same particles.

  python -m sgm_jax.main --mode=compose --workdir=RUN --events=SIMULATED/labels.h5::test \\
      --samples_dir=COMPOSED
  python -m evaluation.composed --real=SIMULATED/test/larcv_png_256 --generated=COMPOSED \\
      --train=SIMULATED/train/larcv_png_256 --out=report/

The vertex activity (charge near the middle, where events begin) is compared beside observables such
as the total charge and the number of clusters, SSNet's labels, and a classifier. Floors are those
of the other simulated events, --train; without them, of half of --real against the other half.
"""

import argparse
from pathlib import Path

import numpy as np

from evaluation.images.sets import ImageSet
from evaluation.metrics.metric import Metric, Result
from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.log import LOGGER

RADIUS_PX = 5.0
METRICS = "physics,ssnet,classifier/trees"
_EDGES = np.arange(0.0, 6_100.0, 100.0)


def vertex_activity(images: np.ndarray, *, radius_px: float = RADIUS_PX) -> np.ndarray:
    """Return the charge ``[N]`` of images ``[N, H, W]`` in a disc around the middle pixel."""
    height, width = images.shape[1:]
    row, column = np.ogrid[:height, :width]
    near = (row - height // 2) ** 2 + (column - width // 2) ** 2 <= radius_px**2
    return images[:, near].sum(axis=1, dtype=np.float64)


def metric(radius_px: float) -> Metric:
    """Return the comparison of the vertex activity, by the statistics of the observables."""
    from evaluation.metrics.physics import value_definitions, value_rows

    def rows(pair, budget, seed) -> list[Result]:
        def column(images: ImageSet) -> np.ndarray:
            return vertex_activity(images.images, radius_px=radius_px)

        return value_rows("vertex/activity", pair, column, _EDGES, budget, seed)

    meaning = f"charge within {radius_px:g} pixels of the middle of an image"
    return Metric("vertex", rows, value_definitions("vertex/activity", meaning, _EDGES))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.composed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--real", required=True, help="simulated events")
    parser.add_argument("--generated", required=True, help="composed events of their particles")
    parser.add_argument("--train", help="other simulated events, for the floor")
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    parser.add_argument("--radius", type=float, default=RADIUS_PX, help="of the vertex, pixels")
    parser.add_argument("--metrics", default=METRICS, help="beside it (default: %(default)s)")
    parser.add_argument("--nossnet", action="store_true", help="leave out what needs SSNet")
    parser.add_argument("--nofigures", action="store_true", help="draw nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Compare; ``arguments`` are those of the command line by default."""
    options = parse(arguments)
    run_command(lambda: _run(options), debug=options.debug, options=vars(options))


def _run(options: argparse.Namespace) -> None:
    # These import JAX, which reads the environment that run sets.
    import shutil

    from evaluation import evaluate
    from evaluation.metrics.table import choose

    start_jax(alone="python -m evaluation.composed")
    chosen = [metric for metric in choose(options.metrics) if not metric.joint]
    report = evaluate(
        options.real,
        {"composed": options.generated},
        train=options.train,
        ssnet=not options.nossnet,
        metrics=[metric(options.radius), *chosen],
        seed=options.seed,
        work=options.out / "partial",
    )
    report.save(options.out, figures=not options.nofigures)
    shutil.rmtree(options.out / "partial")
    for text in report.headline():
        LOGGER.info("%s", text)
    LOGGER.info("look at %s", options.out / "report.html")


if __name__ == "__main__":
    main()
