"""Small files that are made to do harm, in every format in which images are read."""

import io
import os
import pickle
import struct
import warnings
import zipfile
import zlib

import h5py
import numpy as np

GREY = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def npy(path, header, version=1, size=None, content=b""):
    """Write a .npy file with any text as header, which may claim another length."""
    text = header.encode("latin1")
    length = struct.pack("<H" if version == 1 else "<I", len(text) if size is None else size)
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + text + content)


def header(shape="(3, 8, 8)", descr="'|u1'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


NPY = {
    "a billion images": lambda p: npy(p, header("(1000000000, 64, 64)"), content=bytes(99)),
    "more than numpy counts": lambda p: npy(p, header(f"(3, {10**30}, 8)"), content=bytes(99)),
    "none of many": lambda p: npy(p, header(f"(0, {10**30}, 8)"), content=bytes(99)),
    "less than none": lambda p: npy(p, header("(-3, 8, 8)"), content=bytes(192)),
    "forty axes": lambda p: npy(p, header(f"({'1,' * 40})"), content=bytes(99)),
    "pixels of no size": lambda p: npy(p, header(descr="'|V0'")),
    "pixels of pixels": lambda p: npy(p, header(descr="('|u1', (8, 8))"), content=bytes(9**5)),
    "a table": lambda p: npy(p, header(descr="[('a', '|u1')]"), content=bytes(192)),
    "text": lambda p: npy(p, header(descr="'<U1'"), content=bytes(768)),
    "no type": lambda p: npy(p, header(descr="()"), content=bytes(192)),
    "names that do not compare": lambda p: npy(p, "{'descr': 1, 2: 3}"),
    "an open bracket": lambda p: npy(p, "{'descr': ("),
    "an indentation": lambda p: npy(p, "  {\n   'a\n b"),
    "code": lambda p: npy(p, "__import__('os').mkdir('harm')"),
    "a thousand signs": lambda p: npy(p, "-" * 9000 + "1"),
    "a thousand brackets": lambda p: npy(p, "(" * 5000 + ")" * 5000),
    "a header of gigabytes": lambda p: (npy(p, "", 2, 2**32 - 1), os.truncate(p, 2**32)),
    "an unknown version": lambda p: npy(p, header(), version=3, content=bytes(192)),
    "objects": lambda p: np.save(p, np.array([Harm()] * 3), allow_pickle=True),
    "a pickle": lambda p: p.write_bytes(pickle.dumps(Harm())),
}


def npz(path, name="images.npy", content=None, **options):
    buffer = io.BytesIO()
    np.save(buffer, GREY)
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, buffer.getvalue() if content is None else content)


def npz_bomb(path):
    """A member of 270 MB of zeros, in 270 kB, whose header speaks of three images."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": (3, 8, 8)}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as member,
    ):
        member.write(buffer.getvalue())
        for _ in range(16):
            member.write(bytes(2**24))


def npz_header_bomb(path):
    """A header that is said to be, and is, 130 MB of spaces."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as member,
    ):
        member.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**27))
        for _ in range(8):
            member.write(b" " * 2**24)


def npz_objects(path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([Harm()] * 3), allow_pickle=True)
    npz(path, content=buffer.getvalue())


def npz_encrypted(path):
    npz(path)
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + place] |= 1
    path.write_bytes(content)


NPZ = {
    "a bomb": npz_bomb,
    "a bomb of a header": npz_header_bomb,
    "objects": npz_objects,
    "a password": npz_encrypted,
    "no array": lambda p: npz(p, "images.txt"),
    "a shell script": lambda p: npz(p, content=b"#!/bin/sh\nmkdir harm\n"),
    "stronger compression": lambda p: npz(p, compression=zipfile.ZIP_LZMA),
    "an empty archive": lambda p: zipfile.ZipFile(p, "w").close(),
    "two of one name": lambda p: npz_twice(p),
}


def npz_twice(path):
    npz(path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the second one
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00")


def hdf5(write):
    def make(path):
        with h5py.File(path, "w") as file:
            write(file, path)

    return make


def h5_billion(file, _path):
    file.create_dataset("images", (10**9, 64, 64), np.uint8, chunks=(1, 64, 64))[0] = 1


def h5_external(file, path):
    path.with_name("secret").write_bytes(bytes(range(192)))
    place = str(path.with_name("secret"))
    file.create_dataset("images", (3, 8, 8), np.uint8, external=[(place, 0, 192)])


def h5_virtual(file, _path):
    layout = h5py.VirtualLayout((3, 8, 8), np.uint8)
    layout[:] = h5py.VirtualSource("nowhere.h5", "images", (3, 8, 8))
    file.create_virtual_dataset("images", layout)


def h5_link(file, path):
    np_path = path.with_name("other.h5")
    with h5py.File(np_path, "w") as other:
        other["images"] = GREY
    file["images"] = h5py.ExternalLink(str(np_path), "images")


def h5_loop(file, _path):
    file["a/b"] = h5py.SoftLink("/a")
    file["a/c"] = file["/"]
    file["images"] = h5py.SoftLink("/images")


def h5_deep(file, _path):
    group = file
    for _ in range(200):
        group = group.create_group("g")
    group["images"] = GREY


def h5_chunk(file, _path):
    options = {"chunks": (2**11, 2**10, 2**10), "compression": "gzip"}
    file.create_dataset("images", (2**11, 2**10, 2**10), np.uint8, **options)


HDF5 = {
    "a billion images": hdf5(h5_billion),
    "a billion that were never written": hdf5(
        lambda f, _: f.create_dataset("images", (10**9, 64, 64), np.uint8)
    ),
    "a chunk of gigabytes": hdf5(h5_chunk),
    "another file's bytes": hdf5(h5_external),
    "a view of other files": hdf5(h5_virtual),
    "a link to another file": hdf5(h5_link),
    "links in a loop": hdf5(h5_loop),
    "groups in groups": hdf5(h5_deep),
    "a table": hdf5(lambda f, _: f.create_dataset("images", data=np.zeros((3, 8, 8), "u1,u1"))),
    "text": hdf5(lambda f, _: f.create_dataset("images", data=np.full((3, 8, 8), b"a"))),
    "references": hdf5(lambda f, _: f.create_dataset("images", (3, 8, 8), h5py.ref_dtype)),
    "opaque": hdf5(lambda f, _: f.create_dataset("images", (3, 8, 8), "V7")),
    "nothing": hdf5(lambda f, _: f.create_dataset("images", data=h5py.Empty("f4"))),
    "a named type": hdf5(lambda f, _: f.__setitem__("images", np.dtype("f4"))),
}


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width=8, height=8, extra=b"", depth=8, data=None):
    pixels = zlib.compress(bytes(height * (width + 1)) if data is None else data, 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
        + extra
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


PNG = {
    "a billion pixels": png(2**16, 2**15, data=b""),
    "no pixels": png(0, 0),
    "a bomb of a text": png(extra=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))),
    "a bomb of a profile": png(extra=png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26)))),
    "an animation": png(extra=png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "a short header": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", b"\0\0"),
    "an odd depth": png(depth=3),
}


def made(folder, kind, name):
    """Make one of the files; return what to open."""
    if kind == "png":
        folder = folder / "folder"
        folder.mkdir()
        (folder / "image_0.png").write_bytes(PNG[name])
        return folder
    path = folder / f"set.{kind}"
    {"npy": NPY, "npz": NPZ, "h5": HDF5}[kind][name](path)
    return path
