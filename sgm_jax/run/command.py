"""What all commands share: the start of JAX, the log, errors in one line. Does not import JAX."""

import gc
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import absl.logging
import numpy as np
from absl import app, flags

from sgm_jax.run import interruption
from sgm_jax.run.address import refuse_addresses
from sgm_jax.run.experiment import with_found_config
from sgm_jax.run.files import cache_folder
from sgm_jax.run.log import LOGGER, to_terminal

# It imports JAX; where nobody has imported it there is only one process.
_DISTRIBUTED = "sgm_jax.run.distributed"


def run_app(command: Callable[[], None], arguments: Sequence[str] | None = None) -> None:
    """Read the flags of the command line, ``--debug`` among them, and run a command with them.

    Args:
        command: does the work.
        arguments: the command line, the program first; ``sys.argv`` if not given.
    """

    def main(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        run_command(command, debug=flags.FLAGS.debug, options=flags.FLAGS.flag_values_dict())

    app.run(main, argv=with_found_config(sys.argv if arguments is None else arguments))


def run_command(
    command: Callable[[], None], *, debug: bool, options: Mapping[str, Any] | None = None
) -> None:
    """Run a command; end with one line that says what is wrong, if something is.

    A command that is stopped by SIGTERM or SIGINT says so, and ends with the exit status 143.

    Args:
        command: does the work. It imports JAX itself, after the environment has been set here.
        debug: show where in the code an error was raised, and what XLA logs.
        options: the settings by their flags; none may be an address such as gs://bucket.
    """
    to_terminal()
    # Tracing a network makes a million objects and no garbage; looking for it takes a second.
    gc.set_threshold(200_000, 20, 100)
    if not debug:
        _quiet_xla()
        # Orbax logs with absl, tracebacks included, what it also raises.
        absl.logging.set_verbosity(absl.logging.FATAL)
        threading.excepthook = _say_in_a_line
    with interruption.leaving():
        _run(command, options or {}, debug=debug)


def _run(command: Callable[[], None], options: Mapping[str, Any], *, debug: bool) -> None:
    try:
        refuse_addresses(options)
        command()
        _finish_together()
    except KeyboardInterrupt as stopped:
        _leave(interruption.said(str(stopped) or "SIGINT"))
    except interruption.Interrupted as stopped:
        LOGGER.info("%s; the same command continues", stopped)
        # All processes have agreed to leave; the one that writes may need longer.
        _finish_together()
        sys.exit(interruption.EXIT_STATUS)
    except (ValueError, OSError, ArithmeticError, ImportError, RuntimeError) as error:
        if interruption.asked():
            # Such as worker processes that got the signal, too.
            _leave(interruption.said(interruption.asked()))
        if debug:
            raise
        hint = sys.modules[_DISTRIBUTED].hint(error) if _DISTRIBUTED in sys.modules else ""
        LOGGER.error("%s%s", error, hint)
        sys.exit(1)


def _leave(message: str) -> None:
    LOGGER.info("%s", message)
    sys.exit(interruption.EXIT_STATUS)


def start_notebook() -> None:
    """Start JAX as the commands do; call it first in a notebook, before anything imports JAX.

    Raises:
        RuntimeError: see :func:`check_jax`.
    """
    _quiet_xla()
    start_jax()


def _quiet_xla() -> None:
    # On processors with AVX-512, XLA writes two lines of hundreds of words for each program
    # that it reads back from its cache on the same machine: it takes its own preferences,
    # +prefer-no-gather and +prefer-no-scatter, for instructions that the processor lacks
    # (https://github.com/openxla/xla/issues/44565). The programs are read and run all the same.
    # No option of XLA or JAX changes this but compiling without AVX-512, which is slower and
    # gives other last digits. Errors that matter come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _finish_together() -> None:
    if _DISTRIBUTED in sys.modules:
        sys.modules[_DISTRIBUTED].finish()


def _say_in_a_line(failed: threading.ExceptHookArgs) -> None:
    """Log the error of a thread in one line; it is raised again where the thread is waited for."""
    reason = str(failed.exc_value).partition("\n")[0][:200]
    LOGGER.warning("in the background: %s: %s", failed.exc_type.__name__, reason)


def start_jax(*, alone: str | None = None) -> None:
    """Keep compiled programs between runs, join the other processes, check JAX's numbers.

    Args:
        alone: the name of the command, if it must run as a single process.

    Raises:
        ValueError: if it runs as several processes nevertheless.
    """
    import jax

    from sgm_jax.run import distributed

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
        # Small programs too: a start has sixty of them.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    distributed.initialize()
    if alone is not None:
        distributed.refuse_several(alone, "start it on one of them, without srun or launch.local")
    check_jax()


def check_jax() -> None:
    """Stop if this jax gets a sum of logarithms wrong.

    From 0.10.2 to 0.12.0.1 at least, jax on CPU loses half or more of a compiled
    ``(log(a d) + log(b d)).sum()`` over 4096 or more floats, and log1p and expm1 alike: a
    likelihood or a loss computed with it is worthless. 0.10.1 is right.

    Raises:
        RuntimeError: with the version and the fix.
    """
    import jax
    import jax.numpy as jnp

    d = np.linspace(1.0, 2.0, 8192, dtype=np.float32)
    got = float(jax.jit(lambda d: (jnp.log(d * 0.5) + jnp.log(d * 0.125)).sum())(d))
    want = float((np.log(d * 0.5) + np.log(d * 0.125)).sum())
    if abs(got - want) > 1e-3 * abs(want):
        raise RuntimeError(
            f"jax {jax.__version__} computes wrong numbers here: a sum of logarithms gives "
            f"{got:.6g} instead of {want:.6g}. Install one that does not: "
            "pip install jax==0.10.1 jaxlib==0.10.1"
        )
