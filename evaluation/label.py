"""Label images with SSNet: pixels, and images as track or shower.

  python -m evaluation.label --images=PATH --out=DIR [--ssnet=FILE]

PATH is anything that sgm_jax.data reads. DIR gets

  labels.h5            pixel_label, certainty; per image: votes and labels by both rules
  NAME_tracks.npy      the track images by the paper's rule, float32 [n, H, W], and
  NAME_showers.npy     all others
  features.npy         float32 [N, channels * H/8 * W/8] for FID; 33 kB an image, --nofeatures
  histograms.npz       the paper's, with under- and overflow
  summary.json         fractions, and what made them

FILE is a .npz of evaluation.train_ssnet, with which the result of an image depends on that image
only, or the published PyTorch file. With the latter, batches of 16 images in the order of the file
are normalised together, as published; an incomplete last batch is filled with the images before it.
"""

import argparse
import json
from pathlib import Path

from sgm_jax.run.command import run_command, start_jax
from sgm_jax.run.log import LOGGER


def main(arguments: list[str] | None = None) -> None:
    """Label one set; ``arguments`` are those of the command line by default."""
    parser = argparse.ArgumentParser(prog="python -m evaluation.label", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--images", required=True, help="PNG folder, .npy, .npz or HDF5 file")
    parser.add_argument("--out", required=True, type=Path, help="folder to make")
    parser.add_argument("--ssnet", type=Path, help="weights (default: the package's)")
    help_text = "of charges to 0..255, as config.data.scaling in training: none, per_image, "
    help_text += "quantile or fixed:FULL (default: %(default)s)"
    parser.add_argument("--scaling", default="none", help=help_text)
    parser.add_argument("--plane", type=int, help="of images with three planes, 0 to 2")
    parser.add_argument("--nofeatures", action="store_true", help="do not write features.npy")
    parser.add_argument("--debug", action="store_true", help="show where an error was raised")
    options = parser.parse_args(arguments)
    run_command(lambda: _run(options), debug=options.debug, options=vars(options))


def _run(options: argparse.Namespace) -> None:
    # These import JAX, which reads the environment that run sets.
    from evaluation.ssnet.labels import label
    from evaluation.ssnet.weights import open_weights
    from sgm_jax.data import open_images
    from sgm_jax.data.survey import log_doubts

    start_jax(alone="python -m evaluation.label")
    weights = open_weights(options.ssnet)
    images = open_images(
        options.images,
        num_channels=1,
        image_size=None,
        scaling=options.scaling,
        plane=options.plane,
    )
    log_doubts(images)
    summary = label(images, weights, options.out, features=not options.nofeatures)
    LOGGER.info("%s", json.dumps({k: v for k, v in summary.items() if k != "provenance"}))


if __name__ == "__main__":
    main()
