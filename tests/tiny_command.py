"""The command line on a run that is small enough for a test."""

import os
import subprocess
import sys

TINY = {
    "data.image_size": 16,
    "data.num_channels": 1,
    "model.nf": 8,
    "model.ch_mult": "(1,)",
    "model.num_res_blocks": 1,
    "model.attn_resolutions": "()",
    "model.num_scales": 10,
    "training.batch_size": 8,
    "training.n_iters": 3,
    "training.log_freq": 1,
    "sampling.method": "pc",
    "eval.batch_size": 8,
    "eval.num_images": 8,
}


def tiny_command(folder, *arguments, **overrides):
    """Return a command that trains on the images of ``folder`` (see ``write_images``)."""
    paths = {f"data.{name}_path": folder / f"{name}.npy" for name in ("train", "test")}
    fields = TINY | paths | overrides
    command = [sys.executable, "-m", "sgm_jax.main", "--config=configs/larcv_png64.py"]
    return [*command, *arguments, *(f"--config.{name}={value}" for name, value in fields.items())]


def environment(devices=1):
    """Return the environment of a command on so many simulated devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"XLA_FLAGS": flags, "JAX_DEFAULT_MATMUL_PRECISION": "highest"}


def run_command(command, devices=1, **options):
    """Run a command to its end; return what subprocess says."""
    return subprocess.run(
        command,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )
