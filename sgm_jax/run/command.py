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
from sgm_jax.run.experiment import fields_called, split_overrides
from sgm_jax.run.extras import missing
from sgm_jax.run.files import cache_folder, ensure_home
from sgm_jax.run.log import LOGGER, to_terminal

# It imports JAX; where nobody has imported it there is only one process.
_DISTRIBUTED = "sgm_jax.run.distributed"


def run_app(command: Callable[[], None]) -> None:
    """Read the flags of the command line, ``--debug`` among them, and run a command with them."""
    _start_app(lambda _: command(), overrides=False)


def run_configured(command: Callable[[Sequence[str]], None]) -> None:
    """Do as :func:`run_app`, and give the command each ``--config.FIELD=VALUE`` that was typed.

    Its flag ``--config`` is a string; see :func:`sgm_jax.run.experiment.configured`.
    """
    _start_app(command, overrides=True)


def _start_app(command: Callable[[Sequence[str]], None], *, overrides: bool) -> None:
    fields: list[str] = []

    def read(arguments: Sequence[str]) -> list[str]:
        try:
            if overrides:
                arguments, fields[:] = split_overrides(arguments)
            return flags.FLAGS(arguments)
        except (flags.Error, OSError) as error:
            to_terminal()
            LOGGER.error("%s; --help shows the flags", _flag_error(error, arguments))
            sys.exit(1)

    def main(argv: list[str]) -> None:
        def checked() -> None:
            if argv[1:]:
                raise ValueError(f"unexpected {' '.join(argv[1:])}: flags are typed --NAME=VALUE")
            command(fields)

        run_command(checked, debug=flags.FLAGS.debug, options=flags.FLAGS.flag_values_dict())

    app.run(main, flags_parser=read)


def _flag_error(error: Exception, arguments: Sequence[str]) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if not isinstance(error, flags.UnrecognizedFlagError) or "config" not in flags.FLAGS:
        return text
    files = [a.partition("=")[2] for a in arguments if a.lstrip("-").startswith("config=")]
    fields = fields_called(error.flagname, files[-1] if files else None)
    meant = " or ".join(f"--config.{field}" for field in fields)
    return f"{text}; a field of the configuration is typed {meant}" if fields else text


def run_command(
    command: Callable[[], None], *, debug: bool, options: Mapping[str, Any] | None = None
) -> None:
    """Run a command; end with one line that says what is wrong, if something is.

    A command that is stopped by a signal says so, and ends with the exit status 143.

    Args:
        command: does the work. It imports JAX itself, after the environment has been set here.
        debug: show where in the code an error was raised, and what XLA logs.
        options: the settings by their flags; none may be an address such as gs://bucket.
    """
    to_terminal()
    ensure_home()
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
    except Exception as error:
        if interruption.asked():
            # Such as worker processes that got the signal, too.
            _leave(interruption.said(interruption.asked()))
        if debug:
            raise
        LOGGER.error("%s", _in_words(error))
        sys.exit(1)


def _in_words(error: Exception) -> str:
    """Return what is wrong and what helps, if that is known."""
    if isinstance(error, ModuleNotFoundError):
        return missing(error)
    if isinstance(error, MemoryError):
        return f"out of memory ({error or 'of this machine'}); smaller batches need less"
    if not isinstance(error, ValueError | OSError | ArithmeticError | ImportError | RuntimeError):
        kind = type(error).__name__
        return f"unexpected {kind}: {error}. Please report it with what --debug shows"
    hint = sys.modules[_DISTRIBUTED].hint(error) if _DISTRIBUTED in sys.modules else ""
    return f"{error}{hint}"


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
