"""What a file from elsewhere must not do, watched from inside: unpickle, write, fill the memory."""

import contextlib
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path

# Hypothesis keeps its own notes, in the working directory unless it is told otherwise.
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", f"{tempfile.gettempdir()}/hypothesis")

from hypothesis import settings
from hypothesis import strategies as st

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_seen = None  # while it is a list: files that are written or removed, and what is worse


def _note(event, arguments):
    if _seen is None:
        return
    if event == "pickle.find_class":
        _seen.append(f"unpickled {arguments[0]}.{arguments[1]}")
    elif event in ("os.system", "subprocess.Popen"):
        _seen.append(f"started {arguments[0]}")
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
        _seen.append(str(arguments[0]))
    elif event == "os.rename":
        _seen.extend(str(path) for path in arguments[:2])
    elif event == "shutil.rmtree" or (event == "os.remove" and arguments[1] == -1):
        _seen.append(str(arguments[0]))


sys.addaudithook(_note)


@contextlib.contextmanager
def harmless(folder, megabytes):
    """Fail if what runs here unpickles, writes elsewhere than in `folder`, or needs much memory."""
    global _seen
    _seen = []
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        done = [event for event in _seen if not _is_inside(event, folder)]
    finally:
        tracemalloc.stop()
        _seen = None
    assert not done, done
    assert peak < megabytes * 1e6, f"{peak / 1e6:.0f} MB"


def _is_inside(path, folder):
    # Arrays are unpacked to nameless files, opened under the name of the folder or as a number.
    nameless = path.isdigit() or Path(path) == Path(tempfile.gettempdir())
    return nameless or Path(folder) in Path(path).parents


@contextlib.contextmanager
def read_or_refused(path):
    """Accept what reads a file, and the errors that say which file it is and what is wrong."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        assert str(path) in str(error), error
        assert len(str(error)) > len(str(path)) + 10


def edits(largest=6):
    """Draw what is done to the bytes of a file: where (a fraction), how, and with which byte."""
    how = st.sampled_from(("flip", "set", "insert", "delete", "cut", "repeat"))
    one = st.tuples(st.floats(0, 1), how, st.integers(0, 255), st.integers(1, 64))
    return st.lists(one, min_size=1, max_size=largest)


def edited(content, changes):
    """Return bytes with changes of `edits` made."""
    content = bytearray(content)
    for where, how, byte, count in changes:
        place = int(where * max(len(content) - 1, 0))
        if how == "flip" and content:
            content[place] ^= 1 << byte % 8
        elif how == "set" and content:
            content[place] = byte
        elif how == "insert":
            content[place:place] = bytes([byte]) * count
        elif how == "delete":
            del content[place : place + count]
        elif how == "repeat":
            content[place:place] = content[place : place + count]
        elif how == "cut":
            del content[place:]
    return bytes(content)


def bounded(examples):
    """Return settings under which a search makes the same so many examples each time."""
    return settings(max_examples=examples, derandomize=True, database=None, deadline=None)
