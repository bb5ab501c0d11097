"""From a trained autoencoder to images as they come back from it, and a grid of both.

They are the ceiling of what is drawn through it: compare them with the images they came from before
a prior is trained.
"""

from pathlib import Path

import jax
import ml_collections
import numpy as np

from sgm_jax.data import Images, PixelScale, to_uint8
from sgm_jax.data.grid import save_grid
from sgm_jax.generator import Reconstructs
from sgm_jax.run import distributed, parallel, workdir
from sgm_jax.run.files import write_arrays, write_json
from sgm_jax.run.log import LOGGER
from sgm_jax.step import Variables
from sgm_jax.train import open_sets
from sgm_jax.trained import from_run

_GRID_COLUMNS, _GRID_PAIRS = 8, 4


def reconstruct(
    config: ml_collections.ConfigDict,
    run: Path,
    *,
    checkpoint: int | None = None,
    ema_rate: float | None = None,
    out: Path | None = None,
) -> Path:
    """Encode and decode the first ``config.eval.num_images`` test images.

    Args:
        config: checked; its ``eval`` may differ from the run's.
        run: the workdir of an autoencoder, or of a prior, which keeps its own in its checkpoints.
        checkpoint: its step; the newest if not given.
        ema_rate: of the average to take; ``config.model.ema_rate`` if not given.
        out: where to; ``<run>/reconstructed/step_<step>`` if not given.

    Returns:
        The folder with ``samples.npz`` (as of drawn images: ``samples``, uint8 ``[N, H, W, 1]``
        after the paper's post-processing, and ``raw``, float32 on the scale 0..255), ``grid.png``
        (rows of images, and under each the row that came back) and ``recipe.json``.

    Raises:
        FileNotFoundError: if there are no images, or no such checkpoint.
        ValueError: if the generator is no autoencoder.
    """
    distributed.check_shared(run)
    trained = from_run(config, run, checkpoint=checkpoint, ema_rate=ema_rate)
    config, generator = trained.config, trained.generator
    if not isinstance(generator, Reconstructs):
        raise ValueError(
            f"--config.generator {config.generator!r} does not make images of images; "
            "--mode=reconstruct is for autoencoders, such as --config=configs/vqvae64.py"
        )
    real = open_sets(config)[1]
    count = min(len(real), config.eval.num_images)
    folder = Path(out or Path(run) / "reconstructed" / f"step_{trained.step:06d}")
    scale, variables = PixelScale.from_config(config.data), parallel.replicate(trained.load())

    def batch(variables: Variables, values: jax.Array) -> jax.Array:
        return generator.reconstructed(variables, scale.to_model(values))

    compiled = parallel.batch_function(batch, in_axes=(None, 0))
    size = parallel.fitting_batch(count, most=config.eval.batch_size)
    blocks = []
    for first in range(0, count, size):
        # The last image fills up the batch.
        rows = np.minimum(np.arange(first, first + size), count - 1)
        own = real[rows[parallel.local_rows(size)]]
        block = parallel.gather(compiled(variables, parallel.shard(own)))
        blocks.append(scale.from_model(block)[: count - first])
    raw = np.concatenate(blocks)
    samples = to_uint8(raw, planes=config.data.planes)
    if parallel.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / "samples.npz", {"samples": samples, "raw": raw})
        save_grid(folder / "grid.png", _pairs(real, samples), columns=_GRID_COLUMNS)
        recipe = trained.origin | {"images": real.fingerprint, "num_samples": count}
        write_json(folder / "recipe.json", recipe | workdir.provenance())
    LOGGER.info("%d images as they come back in %s", count, folder)
    return folder


def _pairs(real: Images, samples: np.ndarray) -> np.ndarray:
    """Return rows of images, each with the row of what came back of them below."""
    rows = []
    for first in range(0, _GRID_PAIRS * _GRID_COLUMNS, _GRID_COLUMNS):
        back = samples[first : first + _GRID_COLUMNS]
        rows += [real[np.arange(first, first + len(back))], back]
    return np.concatenate(rows)
