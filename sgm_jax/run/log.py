"""Messages of a run: to the terminal, beside the progress bars, and to ``log.txt``."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import absl.logging
import tqdm

LOGGER = logging.getLogger("sgm_jax")
_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")


class _BesideBars(logging.Handler):
    """Prints lines without breaking a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        tqdm.tqdm.write(self.format(record))


def to_terminal() -> None:
    """Show the messages of this package, and only the warnings of libraries."""
    handler = _BesideBars()
    handler.setFormatter(_FORMAT)
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    absl.logging.set_verbosity(absl.logging.WARNING)


@contextlib.contextmanager
def to_file(path: Path) -> Iterator[None]:
    """Copy messages to the end of a file, and the error that ends the block, if one does.

    To be stopped by a signal is no error.
    """
    handler = logging.FileHandler(path)
    handler.setFormatter(_FORMAT)
    LOGGER.addHandler(handler)
    try:
        yield
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        stopped = isinstance(error, KeyboardInterrupt) or hasattr(error, "exit_status")
        level = logging.INFO if stopped else logging.ERROR
        handler.handle(logging.LogRecord(LOGGER.name, level, "", 0, what, None, None))
        raise
    finally:
        LOGGER.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def announced(what: str, *, only: bool = True, after_seconds: float = 4.0) -> Iterator[None]:
    """Say what is being done if the block takes longer than that, and then how long it took.

    Args:
        what: is being done, for the message.
        only: nothing is said otherwise: the second time, what was compiled is there.
        after_seconds: as long nothing is said.
    """
    if not only:
        yield
        return
    began = time.monotonic()
    saying = threading.Timer(after_seconds, LOGGER.info, (f"{what} ...",))
    saying.daemon = True
    saying.start()
    try:
        yield
    finally:
        saying.cancel()
    took = time.monotonic() - began
    if took > after_seconds:
        LOGGER.info("%s took %.0f s", what, took)
