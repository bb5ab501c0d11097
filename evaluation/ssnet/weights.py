"""Weights of SSNet: the published tensors by name and layout, and our own file of arrays."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from evaluation.ssnet.network import CLASSES, SSNet
from sgm_jax.data.arrays import Header, npz_headers, open_npz
from sgm_jax.run.files import read_arrays
from sgm_jax.torch.file import read_state

Tensors = Mapping[str, np.ndarray]
PACKAGED = Path(__file__).parent / "ssnet.npz"

_LEAVES = {
    ("conv", "kernel"): "0.weight",
    ("conv", "bias"): "0.bias",
    ("norm", "scale"): "1.weight",
    ("norm", "bias"): "1.bias",
}
_META = "network"
_FIX = "install the package again, or export the weights again"
_LARGEST_META = 2**14
# Far beyond the published 16 filters and 4 strides; a file could ask for a network of any size.
_MOST = {"filters": 1024, "num_strides": 8, "num_classes": 100}


class Weights(NamedTuple):
    """A network, its variables and the hash of their file."""

    net: SSNet
    variables: dict[str, Any]
    sha256: str


def variable_shapes(net: SSNet) -> dict:
    """Return parameters and running statistics with shapes in place of arrays."""
    side = 2**net.num_strides
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, side, side, 1)))


def to_torch(params: Mapping) -> dict[str, np.ndarray]:
    """Return parameters (or their gradients) under the published names and layouts."""
    named = {_torch_name(path): np.asarray(leaf) for path, leaf in flatten_dict(params).items()}
    return {
        name: leaf.transpose(2, 3, 0, 1) if _is_transposed(name, leaf) else _to_oihw(leaf)
        for name, leaf in named.items()
    }


def from_torch(state: Tensors, normalisation: str = "batch_statistics") -> tuple[SSNet, dict]:
    """Return the network of published tensors and its parameters.

    The second module of each pair has a shortcut that is stored but never used: it is checked and
    left out. The tensors decide the size and depth of the network.

    Raises:
        ValueError: naming every tensor that is missing, unexpected or of another shape.
    """
    net = _network_of(state, normalisation)
    expected = flatten_dict(variable_shapes(net)["params"])
    shapes = {_torch_name(path): leaf.shape for path, leaf in expected.items()}
    unused = _unused_shapes(shapes)
    arrays = {name: _from_torch_layout(name, np.asarray(state[name])) for name in state}
    problems = shape_problems(arrays, shapes | unused) + number_problems(arrays)
    refuse(problems, "published tensors")
    params = {path: jnp.asarray(arrays[_torch_name(path)], jnp.float32) for path in expected}
    return net, {"params": unflatten_dict(params)}


def load_published(path: Path) -> Weights:
    """Return the published network: batch statistics, weights from a PyTorch file."""
    net, variables = from_torch(read_state(path))
    return Weights(net, variables, _sha256(path))


def save(path: Path, net: SSNet, variables: Mapping, *, dtype: str) -> str:
    """Write a trained network as one .npz of plain arrays; return its SHA-256.

    The hash also goes beside the file, to ``<path>.sha256``. Parameters are stored as ``dtype``,
    ``"float16"`` or ``"float32"``; running statistics stay float32.

    Raises:
        ValueError: for values that the type cannot hold.
    """
    arrays = {}
    for where, leaf in flatten_dict(dict(variables)).items():
        with np.errstate(over="ignore"):  # what overflows is refused on the next line
            kept = np.asarray(leaf).astype(dtype if where[0] == "params" else "float32")
        if not np.isfinite(kept).all():
            raise ValueError(f"{'/'.join(where)} holds values that are not finite in {dtype}")
        arrays["/".join(where)] = kept
    size = {"filters": net.filters, "num_strides": net.num_strides, "num_classes": net.num_classes}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{_META: np.array(json.dumps(size))}, **arrays)
    digest = _sha256(path)
    _hash_file(path).write_text(f"{digest}  {path.name}\n")
    return digest


def load(path: Path) -> Weights:
    """Return a network written by :func:`save`, with running statistics.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, was changed, or has missing or unexpected arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weight file {path}")
    digest = _sha256(path)
    if _hash_file(path).is_file():
        recorded = _hash_file(path).read_text().split()[:1]
        if recorded != [digest]:
            raise ValueError(
                f"{path}: SHA-256 {digest} is not the recorded {' '.join(recorded) or 'nothing'}; "
                f"the file was changed or damaged, {_FIX}"
            )
    with open_npz(path) as archive:
        headers = npz_headers(archive, path)
    net = _stored_network(path, headers.pop(_META, None))
    expected = flatten_dict(variable_shapes(net))
    shapes = {"/".join(where): leaf.shape for where, leaf in expected.items()}
    refuse(shape_problems(headers, shapes), str(path))  # before arrays of any size are read
    arrays = read_arrays(path, names=shapes, fix=_FIX)
    refuse(number_problems(arrays), str(path))
    leaves = {where: jnp.asarray(arrays["/".join(where)], jnp.float32) for where in expected}
    return Weights(net, unflatten_dict(leaves), digest)


def open_weights(path: Path | None) -> Weights:
    """Open weights from our .npz or from a PyTorch file; by default the packaged ones.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: see :func:`load` and :func:`load_published`, or other classes than ours.
    """
    if path is None:
        if not PACKAGED.is_file():
            raise FileNotFoundError(
                "this package has no trained SSNet yet: name one with --ssnet, a .npz made by "
                "'python -m evaluation.train_ssnet --export=FILE.npz' or the published .tar"
            )
        return load(PACKAGED)
    weights = load(path) if Path(path).suffix == ".npz" else load_published(path)
    if weights.net.num_classes != len(CLASSES):
        raise ValueError(f"{path}: has {weights.net.num_classes} classes, not {len(CLASSES)}")
    return weights


def _stored_network(path: Path, header: Header | None) -> SSNet:
    """Return the network that our file describes."""
    if header is None or header.dtype.kind != "U" or header.nbytes > _LARGEST_META:
        raise ValueError(f"{path}: no array {_META!r}; it was not written as SSNet weights")
    text = str(read_arrays(path, names=[_META], fix=_FIX)[_META])
    try:
        size = json.loads(text)
        return sized_network("running_statistics", **size)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, no network {text[:200]!r} ({error})") from error


def _network_of(state: Tensors, normalisation: str) -> SSNet:
    """Return the network of published tensors, from the shapes of the first and the last."""
    for name in ("conv1.0.weight", "conv3.0.weight"):
        if np.ndim(state.get(name, 0)) != 4:
            raise ValueError(f"no SSNet: tensor {name} is missing; there are: {_some(state)}")
    pattern = re.compile(r"double_resnet\.(\d+)\.")
    levels = {int(match[1]) for match in map(pattern.match, state) if match}
    return sized_network(
        normalisation,
        filters=len(state["conv1.0.weight"]),
        num_strides=max(levels, default=0) + 1,
        num_classes=len(state["conv3.0.weight"]),
    )


def _some(names: Mapping) -> str:
    return ", ".join(sorted(names)[:5]) + (" ..." if len(names) > 5 else "")


def _torch_name(path: tuple[str, ...]) -> str:
    """Return the published name: ``double_resnet.0.resnet1.shortcut.0.weight``."""
    blocks = [re.sub(r"_(\d+)$", r".\1", block) for block in path[:-2]]
    return ".".join([*blocks, _LEAVES[path[-2:]]])


def _unused_shapes(shapes: Mapping[str, tuple]) -> dict[str, tuple]:
    """Return names and shapes, in our layout, of the shortcuts that are stored and never used."""
    unused = {}
    for name, shape in shapes.items():
        if ".resnet2.residual2." in name:
            shape = (1, 1, *shape[2:]) if len(shape) == 4 else shape
            unused[name.replace("residual2", "shortcut")] = shape
    return unused


def _is_transposed(name: str, array: np.ndarray) -> bool:
    return array.ndim == 4 and name.startswith("decode_conv.")


def _to_oihw(array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def _from_torch_layout(name: str, array: np.ndarray) -> np.ndarray:
    """Turn OIHW, and IOHW of transposed convolutions, into HWIO."""
    if array.ndim != 4:
        return array
    return array.transpose((2, 3, 0, 1) if _is_transposed(name, array) else (2, 3, 1, 0))


def _sha256(path: Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def sized_network(normalisation: str, *, filters: int, num_strides: int, num_classes: int) -> SSNet:
    """Return a network of a plausible size.

    Raises:
        ValueError: with the number that is out of bounds.
    """
    size = {"filters": filters, "num_strides": num_strides, "num_classes": num_classes}
    for name, value in size.items():
        if type(value) is not int or not 1 <= value <= _MOST[name]:
            raise ValueError(f"{name} is {value!r}; it lies in 1..{_MOST[name]}")
    return SSNet(normalisation, **size)


def shape_problems(arrays: Mapping[str, Any], shapes: Mapping[str, tuple]) -> list[str]:
    """Return which arrays are missing, unexpected or of another shape, without reading numbers."""
    problems = [f"missing: {name}" for name in sorted(shapes.keys() - arrays.keys())]
    for name in sorted(arrays):
        shape = arrays[name].shape
        if name not in shapes:
            problems.append(f"unexpected: {name} {shape}")
        elif shape != shapes[name]:
            problems.append(f"shape: {name} is {shape} in our layout, not {shapes[name]}")
    return problems


def number_problems(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Return which arrays hold something other than finite numbers."""
    return [
        f"not finite: {name}"
        for name, array in sorted(arrays.items())
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all()
    ]


def refuse(problems: list[str], source: str) -> None:
    """Refuse weights with a list of all problems, if there are any.

    Raises:
        ValueError: with one line for each problem.
    """
    if problems:
        listed = "\n  ".join(problems)
        raise ValueError(f"{source}: the weights do not fit the network:\n  {listed}")
