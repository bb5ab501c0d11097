"""What commands share: the start of JAX, the log, errors in one line. It does not import JAX."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sgm_jax.log import LOGGER, to_terminal


def run(command: Callable[[], None], *, debug: bool) -> None:
    """Run a command; end with one line that says what is wrong, if something is.

    Args:
        command: does the work, and imports JAX when it needs it: what is set here is read then.
        debug: show where in the code an error was raised.
    """
    to_terminal()
    # On CPU every program read back from the compilation cache prints an error line about
    # instruction sets that its own compiler chose ("prefer-no-gather"); real errors come as
    # exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Tracing a network makes a million objects and no garbage; looking for it takes a second.
    gc.set_threshold(200_000, 20, 100)
    try:
        command()
    except KeyboardInterrupt:
        LOGGER.error("interrupted; the same command goes on from what is saved")
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError, ArithmeticError, ImportError, RuntimeError) as error:
        if debug:
            raise
        LOGGER.error("%s", error)
        sys.exit(getattr(error, "exit_status", 1))


def start_jax() -> None:
    """Keep compiled programs between runs, and make sure of the numbers."""
    import jax

    from sgm_jax.numerics import check_jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache/sgm_jax/xla"))
        # Small programs too: a start has sixty of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    check_jax()
