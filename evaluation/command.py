"""What the commands of this package share: logging, JAX's start, errors in one line."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sgm_jax.log import LOGGER, to_terminal


def run(command: Callable[[], None], *, debug: bool) -> None:
    """Run a command; end with one line that says what is wrong, if something is.

    Args:
        command: does the work.
        debug: show where in the code an error was raised.
    """
    to_terminal()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        _start_jax()
        command()
    except KeyboardInterrupt:
        LOGGER.error("interrupted")
        sys.exit(128 + signal.SIGINT)
    except (ValueError, OSError, ArithmeticError, ImportError, RuntimeError) as error:
        if debug:
            raise
        LOGGER.error("%s", error)
        sys.exit(getattr(error, "exit_status", 1))


def _start_jax() -> None:
    """Keep compiled programs between runs, and make sure of the numbers."""
    import jax

    from sgm_jax.numerics import check_jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache/sgm_jax/xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    check_jax()
