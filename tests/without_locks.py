"""A file system without locks, for a process of its own: a library that lets every lock fail."""

import shutil
import subprocess

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
static int is_lock(int c) {
    return c == F_SETLK || c == F_SETLKW || c == F_OFD_SETLK || c == F_OFD_SETLKW;
}
#define BODY(name)                                                          \
    static int (*original)(int, int, ...);                                  \
    va_list list;                                                           \
    va_start(list, command);                                                \
    void *argument = va_arg(list, void *);                                  \
    va_end(list);                                                           \
    if (is_lock(command)) { errno = NUMBER; return -1; }                    \
    if (!original) *(void **)&original = dlsym(RTLD_NEXT, name);            \
    return original(file, command, argument);
int flock(int file, int operation) { errno = NUMBER; return -1; }
int lockf(int file, int command, off_t length) { errno = NUMBER; return -1; }
int fcntl(int file, int command, ...) { BODY("fcntl") }
int fcntl64(int file, int command, ...) { BODY("fcntl64") }
"""


def without_locks(folder, number):
    """Return the environment variables of a process in which every lock fails with that number."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to take the locks away with")
    source, library = folder / "no_locks.c", folder / "no_locks.so"
    source.write_text(_SOURCE)
    options = ["-shared", "-fPIC", f"-DNUMBER={int(number)}", "-o", library, source, "-ldl"]
    built = subprocess.run([compiler, *options], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"no library to take the locks away with: {built.stderr[:200]}")
    return {"LD_PRELOAD": str(library)}
