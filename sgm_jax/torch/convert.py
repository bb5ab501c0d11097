"""Checkpoint files of score_sde_pytorch to workdirs and back."""

from pathlib import Path

import ml_collections

from sgm_jax.generators import score
from sgm_jax.run import checkpoints, parallel, workdir
from sgm_jax.run.log import LOGGER
from sgm_jax.run.restore import load_state, matching_config, newest_step
from sgm_jax.torch.checkpoint import check_convertible, checkpoint_from_state, state_from_checkpoint
from sgm_jax.torch.file import read_torch_file, write_torch_file


def import_checkpoint(config: ml_collections.ConfigDict, path: Path, run: Path) -> int:
    """Write a workdir with the state of a checkpoint; return its step.

    Args:
        config: checked; the one that the checkpoint was trained with.
        path: the file.
        run: a workdir without checkpoints.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if PyTorch is not installed.
        ValueError: if the file, the configuration and the workdir do not fit; nothing is touched.
    """
    check_convertible(config)
    workdir.check_workdir(run, config)
    steps = checkpoints.steps(run)
    if steps:
        raise ValueError(f"{run} has checkpoints of steps {steps}; choose another --workdir")
    content = read_torch_file(path)
    try:
        state = state_from_checkpoint(content, config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path}: not laid out as a checkpoint of score_sde ({type(error).__name__}: {error})"
        ) from error
    step = int(state.step)
    workdir.prepare(run, config)
    store = checkpoints.Checkpoints(run, keep_every=config.training.snapshot_freq)
    store.save(step, state)
    store.close()
    LOGGER.info("%s: step %d, now in %s", path, step, run)
    return step


def export_checkpoint(
    config: ml_collections.ConfigDict, run: Path, path: Path, *, checkpoint: int | None = None
) -> None:
    """Write a checkpoint of a run as a file that score_sde_pytorch restores.

    Args:
        config: checked; that of the run.
        run: its workdir.
        path: where to.
        checkpoint: its step; the newest if not given.

    Raises:
        FileNotFoundError: if there is no such checkpoint, or no such folder.
        ImportError: if PyTorch is not installed.
        ValueError: if the run is of another configuration, or score_sde does not know its network.
    """
    check_convertible(config)
    config = matching_config(config, run)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"no folder {path.absolute().parent} for --to_torch")
    step = newest_step(run) if checkpoint is None else checkpoint
    state = load_state(score.build(config), run, step)
    if parallel.is_main():
        write_torch_file(path, checkpoint_from_state(state, config))
    LOGGER.info("step %d of %s, now in %s", step, run, path)
