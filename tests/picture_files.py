"""PNG and TIFF files of kinds that Pillow does not write, byte by byte."""

import struct
import zlib

import numpy as np


def wide_png(array):
    """Return a PNG of 16 bits a channel, of ``[H, W, c]`` with c of 1 to 4 (grey to RGBA)."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(array, *, white_is_zero=False):
    """Return an uncompressed TIFF of ``[H, W]`` or ``[H, W, 3]``, in the array's byte order."""
    end = ">" if array.dtype.byteorder == ">" else "<"
    height, width, channels = *array.shape[:2], array.shape[2] if array.ndim == 3 else 1
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    photometric = 2 if channels == 3 else int(not white_is_zero)
    short, long = 3, 4
    entries = [
        (256, short, [width]),
        (257, short, [height]),
        (258, short, [8 * array.dtype.itemsize] * channels),
        (259, short, [1]),
        (262, short, [photometric]),
        (273, long, [8]),
        (277, short, [channels]),
        (278, short, [height]),
        (279, long, [array.nbytes]),
        (339, short, [form] * channels),
    ]
    extra_at = 8 + array.nbytes + 2 + 12 * len(entries) + 4
    table, extra = struct.pack(end + "H", len(entries)), b""
    for tag, kind, values in entries:
        table += struct.pack(end + "HHI", tag, kind, len(values))
        packed = struct.pack(end + str(len(values)) + {short: "H", long: "I"}[kind], *values)
        if len(packed) > 4:
            table += struct.pack(end + "I", extra_at + len(extra))
            extra += packed
        else:
            table += packed.ljust(4, b"\0")
    start = (b"II" if end == "<" else b"MM") + struct.pack(end + "HI", 42, 8 + array.nbytes)
    return start + np.ascontiguousarray(array).tobytes() + table + struct.pack(end + "I", 0) + extra
