"""Shared test set-up: eight simulated devices, strict promotion, exact matrix products."""

import gc
import os
from pathlib import Path

# Most of the time goes into compiling small programs that run once: a third of it without LLVM's
# optimisations and XLA's fusion emitters. The long tests run with both, see .ci/run.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_cpu_use_fusion_emitters=false",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs read from the compilation cache complain about instruction sets, harmlessly.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache/sgm_jax/tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


# Tracing makes many objects that live on: looking for garbage among them took a tenth of the time.
gc.set_threshold(200_000, 50, 100)


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Let go of the programs of a file: thousands take gigabytes, and mappings without end."""
    yield
    jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def optax_promotion():
    """Relax strict promotion: optax itself mixes its integer counter with floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield
