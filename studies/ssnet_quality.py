"""Measure how well SSNet labels pixels and images, and why it fails where it does.

    python -m sgm_jax.main --mode=simulate --config=configs/larcv_png64.py
    python -m studies.ssnet_quality --real=data/lar64/test/larcv_png_64 \\
        --labels=data/lar64/labels.h5 [--larger=data/lar256] [--edepsim=FILE.npz] --out=docs/ssnet

``--larger`` names folders of the simulation with larger images. ``--edepsim`` names an ``.npz``
file of another simulation, with ``images`` ``[N, H, W]`` in MeV, ``em_energy_fraction`` ``[N]`` (of
electrons and photons) and ``event`` ``[N]``; images with a fraction below 0.1 are tracks, above 0.9
showers, others are left out.
"""

from pathlib import Path

from absl import app, flags

from sgm_jax.run.command import run, start_jax
from sgm_jax.run.log import LOGGER


def define_flags() -> None:
    """Define the settings of the command line."""
    flags.DEFINE_string("real", None, "images: PNG folder, .npy, .npz or HDF5 file")
    flags.DEFINE_string("labels", None, "labels.h5 that the simulation wrote beside them")
    flags.DEFINE_string("split", "test", "group of the label file")
    flags.DEFINE_integer("num_images", 5000, "images to look at, evenly spaced over the set")
    flags.DEFINE_list("larger", [], "folders of simulated sets with larger images")
    flags.DEFINE_string("edepsim", None, ".npz file of another simulation, in MeV")
    flags.DEFINE_string("ssnet", None, "weights; default: the package's")
    flags.DEFINE_string("out", "docs/ssnet", "folder of the report")
    flags.DEFINE_bool("debug", False, "show where in the code an error was raised")
    flags.mark_flags_as_required(["real", "labels"])


def main(argv: list[str]) -> None:
    """Measure with the settings of the command line."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments {argv[1:]}: every setting is a --flag")
    run(_run, debug=flags.FLAGS.debug)


def image_folder(folder: Path, split: str) -> Path:
    """Return the folder of images of a simulated set.

    Raises:
        FileNotFoundError: if there is none.
    """
    found = sorted(path for path in (folder / split).glob("*") if path.is_dir())
    if not found:
        raise FileNotFoundError(f"{folder}/{split} holds no folder of images; simulate a set first")
    return found[0]


def _run() -> None:
    # These import JAX; --help has answered before.
    from evaluation.ssnet.weights import open_weights
    from studies.ssnet_foreign import read_foreign
    from studies.ssnet_study import study
    from studies.ssnet_tally import read_labelled

    start_jax()
    given = flags.FLAGS
    options = {"split": given.split, "count": given.num_images}
    data = read_labelled(given.real, Path(given.labels), **options)
    larger = {}
    for folder in map(Path, given.larger):
        images = image_folder(folder, given.split)
        larger[folder.name] = read_labelled(str(images), folder / "labels.h5", **options)
    foreign = read_foreign(given.edepsim) if given.edepsim else None
    weights = open_weights(Path(given.ssnet) if given.ssnet else None)
    study(data, weights, Path(given.out), larger=larger, foreign=foreign)
    LOGGER.info("wrote %s/report.md", given.out)


if __name__ == "__main__":
    define_flags()
    app.run(main)
