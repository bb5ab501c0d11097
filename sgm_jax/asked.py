"""Which particle each drawn image is to show, and with which momentum: read and checked.

What is asked becomes a condition, one row an image: :mod:`sgm_jax.data.condition` has the axes of a
momentum, :mod:`sgm_jax.models.condition` what stands for a field of which nothing is asked.
"""

import dataclasses
import hashlib
from typing import Any

import ml_collections
import numpy as np

from sgm_jax.data.condition import DOWN, RIGHT, read_condition
from sgm_jax.models.condition import ANY

Rows = dict[str, Any]
# What a seed draws beside noise.
_MOMENTUM = 1
# Numbers that are typed, and their unit.
_EXAMPLES = {
    "momentum": ("0,0,300", " in MeV/c"),
    "momentum_range": ("100:500", " in MeV/c"),
    "direction": ("0,0,1", ""),
}
# A momentum is in the range although the last digit of its size is not.
_ROUNDED = 1e-5


@dataclasses.dataclass(frozen=True)
class MomentumRange:
    """Momenta of a size uniform in a range, in one direction or in any of the image's plane.

    It is indexed like an array with a row for every image; each depends on the seed and the
    image's number alone.

    Attributes:
        low: least size in MeV/c.
        high: largest.
        seed: of the images.
        direction: of length 1; None for any in the plane of the image.
    """

    low: float
    high: float
    seed: int
    direction: tuple[float, float, float] | None = None

    def __len__(self) -> int:
        # As many as there are numbers of images, which are int32.
        return 2**31 - 1

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Return momenta ``[B, 3]`` of the images with these numbers."""
        # Raw bits, which numpy keeps across its versions.
        bits = [
            np.random.SeedSequence([self.seed, _MOMENTUM, int(i)]).generate_state(2, np.uint64)
            for i in index
        ]
        share = (np.array(bits).reshape(-1, 2) >> np.uint64(11)) * 2.0**-53
        size = self.low + share[:, 0] * (self.high - self.low)
        if self.direction is not None:
            return np.float32(size[:, None] * np.array(self.direction))
        angle = 2 * np.pi * share[:, 1]
        momenta = np.zeros((len(size), 3), np.float32)
        momenta[:, DOWN], momenta[:, RIGHT] = size * np.sin(angle), size * np.cos(angle)
        return momenta


def asked(
    config: ml_collections.ConfigDict,
    *,
    particle: str | None = None,
    momentum: Any = None,
    momentum_range: Any = None,
    direction: Any = None,
    conditions: str | None = None,
    condition: Rows | None = None,
    extrapolate: bool | None = None,
) -> Rows | None:
    """Return the condition of drawn images by field, with something for each that the network sees.

    Args:
        config: of the network.
        particle: a name in ``config.data.particles``.
        momentum: three numbers in MeV/c, also as text, ``0,0,300``.
        momentum_range: two of them, also as text, ``100:500``: see :class:`MomentumRange`.
        direction: of these momenta, three numbers, also as text, ``0,0,1``.
        conditions: a file with a row for each image.
        condition: the rows themselves.
        extrapolate: draw also what lies outside the momenta of the training.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for what the network has never seen, or was not asked in a way that fits.
    """
    typed = {
        "particle": particle,
        "momentum": momentum,
        "momentum_range": momentum_range,
        "direction": direction,
        "conditions": conditions,
    }
    typed = {name: value for name, value in typed.items() if value is not None}
    if condition is not None:
        typed["condition"] = condition
    if not typed:
        if extrapolate:
            raise ValueError("--extrapolate says nothing without --particle, --momentum and others")
        return None
    _check_together(typed)
    if "condition" in typed and not config.model.condition:
        return condition  # of a family that has conditions of its own
    _check_conditional(typed, config)
    rows = _rows(typed, config)
    for name in rows:
        if name not in config.model.condition:
            sees = ", ".join(config.model.condition)
            raise ValueError(f"this network was trained with {sees}, and has no {name}")
    known = {name: np.asarray(ANY[name])[None] for name in config.model.condition} | rows
    _check_known(known, config, extrapolate=bool(extrapolate))
    return known


def row_of(rows: Rows, index: np.ndarray) -> dict[str, np.ndarray]:
    """Return the condition of images by their numbers: row i for image i, modulo their number."""
    return {name: values[index % len(values)] for name, values in rows.items()}


def recipe(rows: Rows, particles: tuple[str, ...]) -> dict[str, Any]:
    """Return a condition for JSON: what is the same in all images as it is, others by a hash."""
    return {name: _note(name, values, particles) for name, values in sorted(rows.items())}


def folder_names(rows: Rows, particles: tuple[str, ...]) -> list[str]:
    """Return what a condition adds to the name of a folder of images."""
    names = []
    for name, values in sorted(rows.items(), reverse=True):
        if isinstance(values, MomentumRange):
            names.append(f"momentum_{values.low:g}_to_{values.high:g}")
            if values.direction is not None:
                names.append("along_" + "_".join(f"{share:g}" for share in values.direction))
        elif len(values) > 1 or name not in ANY:
            return ["conditions"]
        elif name == "particle" and values[0] >= 0:
            names.append(particles[values[0]])
        elif name == "momentum" and not np.isnan(values).any():
            names.append("momentum_" + "_".join(f"{p:g}" for p in values[0]))
    return names


# ------------------------------------------------------------------------- what is typed


def _rows(typed: dict[str, Any], config: ml_collections.ConfigDict) -> Rows:
    if "condition" in typed:
        return _of_python(typed["condition"])
    if "conditions" in typed:
        return _of_file(typed["conditions"], config)
    rows = {}
    if "particle" in typed:
        rows["particle"] = np.array([_place(typed["particle"], config)], np.int32)
    if "momentum" in typed:
        rows["momentum"] = np.array([_numbers(typed["momentum"], "momentum", ",")], np.float32)
    if "momentum_range" in typed:
        low, high = _numbers(typed["momentum_range"], "momentum_range", ":")
        if not 0 < low <= high:
            raise ValueError(
                f"--momentum_range is {low:g}:{high:g}; give two rising sizes above 0 in MeV/c, "
                "such as 100:500"
            )
        rows["momentum"] = MomentumRange(low, high, config.seed, _direction(typed))
    return rows


def _direction(typed: dict[str, Any]) -> tuple[float, float, float] | None:
    """Return the direction that was typed, of length 1."""
    if "direction" not in typed:
        return None
    along = np.array(_numbers(typed["direction"], "direction", ","))
    largest = np.abs(along).max()
    if not largest > 0:
        raise ValueError("--direction is 0,0,0; give one that leads somewhere, such as 0,0,1")
    along /= largest
    return tuple(map(float, along / np.linalg.norm(along)))


def _of_file(path: str, config: ml_collections.ConfigDict) -> Rows:
    fields, particles = tuple(config.model.condition), tuple(config.data.particles)
    return read_condition(path, fields=fields, particles=particles)


def _of_python(condition: Rows) -> Rows:
    rows = {}
    for name, values in condition.items():
        if name not in ANY:
            raise ValueError(f"no condition is called {name!r}; there are: {', '.join(ANY)}")
        rows[name] = np.asarray(values, ANY[name].dtype)
        if rows[name].shape[1:] != ANY[name].shape or not len(rows[name]):
            wanted = ("images", *ANY[name].shape)
            raise ValueError(f"condition {name} has shape {rows[name].shape}; it must be {wanted}")
    return rows


def _place(name: str, config: ml_collections.ConfigDict) -> int:
    particles = tuple(config.data.particles)
    if name not in particles:
        known = ", ".join(particles) or "none"
        raise ValueError(f"--particle is {name!r}; this network knows: {known}")
    return particles.index(name)


def _numbers(value: Any, flag: str, separator: str) -> list[float]:
    example, unit = _EXAMPLES[flag]
    parts = value.split(separator) if isinstance(value, str) else value
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != example.count(separator) + 1 or not np.isfinite(numbers).all():
        raise ValueError(f"--{flag} is {value!r}; give finite numbers{unit} as in {example}")
    return numbers


# ------------------------------------------------------------------------- what is refused


def _check_together(typed: dict[str, Any]) -> None:
    for one, others in (
        ("conditions", ("particle", "momentum", "momentum_range", "direction", "condition")),
        ("condition", ("particle", "momentum", "momentum_range", "direction")),
        ("momentum", ("momentum_range", "direction")),
    ):
        for other in others:
            if one in typed and other in typed:
                raise ValueError(f"--{one} and --{other} say the same; give one of them")
    if "direction" in typed and "momentum_range" not in typed:
        raise ValueError("--direction says nothing without --momentum_range")


def _check_conditional(typed: dict[str, Any], config: ml_collections.ConfigDict) -> None:
    if not config.model.condition:
        raise ValueError(
            f"--{next(iter(typed))}: this network was trained without conditions; train one with "
            "--config.model.condition and --config.data.condition, take weights of one, or lead "
            "this one with --classifier"
        )


def _check_known(rows: Rows, config: ml_collections.ConfigDict, *, extrapolate: bool) -> None:
    """Refuse kinds that the network does not know, and momenta that it has never seen."""
    particles = tuple(config.data.particles)
    kinds = rows.get("particle", np.asarray(ANY["particle"])[None])
    beyond = np.flatnonzero((kinds < ANY["particle"]) | (kinds >= len(particles)))
    if "particle" in rows and beyond.size:
        known = ", ".join(f"{k} {name}" for k, name in enumerate(particles))
        raise ValueError(
            f"condition particle of row {beyond[0]} is {kinds[beyond[0]]}; this network knows: "
            f"{known}, and -1 for any"
        )
    if "momentum" not in rows:
        return
    momenta = rows["momentum"]
    if isinstance(momenta, MomentumRange):
        sizes, seen = np.array([momenta.low, momenta.high]), np.array([True, True])
        kinds = kinds[:1].repeat(2)
    else:
        seen = ~np.isnan(momenta).all(axis=1)
        odd = np.flatnonzero(seen & ~np.isfinite(momenta).all(axis=1))
        if odd.size:
            raise ValueError(
                f"condition momentum of row {odd[0]} is {momenta[odd[0]]}; give three finite "
                "numbers in MeV/c, or three NaN for any"
            )
        sizes = np.linalg.norm(momenta.astype(np.float64), axis=1)
        count = max(len(kinds), len(sizes))
        kinds, sizes, seen = (
            values[np.arange(count) % len(values)] for values in (kinds, sizes, seen)
        )
    ends = np.asarray(config.data.momentum_range, np.float64).reshape(-1, 2)
    if extrapolate or not len(ends):
        return
    low, high = ends[kinds + 1].T
    outside = (sizes < low * (1 - _ROUNDED)) | (sizes > high * (1 + _ROUNDED))
    wrong = np.flatnonzero(seen & outside)
    if wrong.size:
        row = wrong[0]
        name = "particle" if kinds[row] < 0 else particles[kinds[row]]
        trained = (
            f"it was from {low[row]:.4g} to {high[row]:.4g}" if high[row] else "there was none"
        )
        where = "" if len(sizes) == 1 or isinstance(momenta, MomentumRange) else f" of row {row}"
        raise ValueError(
            f"the momentum{where} is {sizes[row]:.4g} MeV/c, and of a {name} in the training "
            f"{trained}; ask for one there, or add --extrapolate"
        )


def _note(name: str, values: Any, particles: tuple[str, ...]) -> Any:
    if isinstance(values, MomentumRange):
        direction = values.direction and list(values.direction)
        ends = {"least": values.low, "largest": values.high}
        return ends | {"direction": direction or "in the image's plane"}
    if len(values) > 1 or name not in ANY:
        return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    if name == "particle":
        return None if values[0] < 0 else particles[values[0]]
    return None if np.isnan(values).any() else [float(p) for p in values[0]]
