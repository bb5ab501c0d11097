"""What drawn images are to fulfil: checked at the door, applied to each image by its number.

Image i gets the known pixels of image i (modulo their number), so what it depends on stays the
seed and i.
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
from PIL import Image, UnidentifiedImageError

from sgm_jax import asked
from sgm_jax.data import Images, PixelScale, from_array, open_images, to_uint8
from sgm_jax.guidance import tile_corners, total_charge

Array = jax.Array

# Of images [B, H, W, 1] on the scale 0..255: [B].
OBSERVABLES: dict[str, Callable[[Array], Array]] = {"total_charge": total_charge}
# How often each step of the sampler is taken while pixels are known.
REPEATS = 10
# How far the charge of an image may be stretched so that its samples reach a target.
STRETCH = 1.25
_HALVINGS = 20
_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of images, as on the command line; None asks nothing.

    Attributes:
        inpaint: file or folder of images, some of whose pixels are known; from Python also an
            array ``[N, H, W]`` or ``[N, H, W, C]`` on the scale 0..255.
        mask: which, a .npy file of booleans or a black and white .png file; from Python also an
            array of booleans ``[H, W]`` or ``[N, H, W]``, True where pixels are known.
        resample: how often each step is taken; see :mod:`sgm_jax.samplers.repeated`.
        canvas: size of the images, ``HEIGHTxWIDTH`` pixels.
        stride: pixels from one tile of the canvas to the next.
        observable: a name in :data:`OBSERVABLES`.
        target: its value on the scale 0..255, channels averaged.
        spread: how far from it images may be, one standard deviation.
        particle: a name in ``config.data.particles``, of a network trained with conditions.
        momentum: three numbers in MeV/c, see :mod:`sgm_jax.asked`; ``0,0,300``.
        momentum_range: sizes of momenta in the plane of the image, ``100:500``.
        direction: of momenta of such sizes, in place of any in the plane; ``0,0,1``.
        conditions: file with a row for each image.
        extrapolate: draw momenta that were not in the training, too.
        classifier: workdir or weights of one that tells what images show, to lead a network that
            was trained without conditions; see :mod:`sgm_jax.bayes`.
        classifier_weight: how strongly; 1 if not given.
        condition: from Python only: what a conditional generator was trained with, arrays
            ``[N, ...]`` by name; image i gets row i, modulo their number.
    """

    inpaint: str | np.ndarray | None = None
    mask: str | np.ndarray | None = None
    resample: int | None = None
    canvas: str | None = None
    stride: int | None = None
    observable: str | None = None
    target: float | None = None
    spread: float | None = None
    particle: str | None = None
    momentum: str | Sequence[float] | None = None
    momentum_range: str | Sequence[float] | None = None
    direction: str | Sequence[float] | None = None
    conditions: str | None = None
    extrapolate: bool | None = None
    classifier: str | None = None
    classifier_weight: float | None = None
    condition: dict[str, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Leading:
    """A classifier of noised images that leads drawn ones to their condition.

    Attributes:
        config: that it was trained with: what it knows of particles and momenta.
        log_posterior: ``(params, x, t, condition) -> [B]``, see
            :meth:`sgm_jax.generators.classifier.Classifier.log_posterior`.
        load: reads its parameters.
        weight: how strongly it leads.
        origin: where the parameters are from, for a recipe.
    """

    config: ml_collections.ConfigDict
    log_posterior: Callable[..., Array]
    load: Callable[[], Any]
    weight: float
    origin: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Weaker:
    """A weaker network of the same images, from which drawn ones are led away.

    Attributes:
        score: ``(params, condition=None) -> score function``.
        load: reads its parameters.
        weight: of the better network; see :func:`sgm_jax.guidance.autoguided`.
        origin: where the parameters are from, for a recipe.
    """

    score: Callable[..., Callable[[Array, Array], Array]]
    load: Callable[[], Any]
    weight: float
    origin: dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions on images of ``size`` (height, width); with nothing but that, there are none."""

    size: tuple[int, int]
    tile: int | None = None
    stride: int | None = None
    known: Images | None = None
    mask: np.ndarray | None = None
    repeats: int = 1
    condition: asked.Rows | None = None
    rows: int | None = None  # of a file of conditions, which has one for each image
    particles: tuple[str, ...] = ()
    leading: Leading | None = None
    weaker: Weaker | None = None
    observable: str | None = None
    target: float = 0.0
    spread: float = 0.0
    scale: PixelScale = PixelScale(centered=True)  # noqa: RUF009 - it is frozen
    planes: bool = False

    @property
    def tiles(self) -> int:
        """How many images of the network's size one image takes."""
        if self.tile is None:
            return 1
        rows, columns = (tile_corners(side, self.tile, self.stride) for side in self.size)
        return len(rows) * len(columns)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """What makes the same images again, for JSON; None without conditions."""
        recipe: dict[str, Any] = {}
        if self.tile is not None:
            recipe |= {"canvas": list(self.size), "stride": self.stride}
        if self.known is not None:
            masked = hashlib.sha256(repr(self.mask.shape).encode() + self.mask.tobytes())
            recipe |= {"inpaint": self.known.fingerprint, "mask": masked.hexdigest()}
            recipe |= {"resample": self.repeats}
        if self.condition is not None:
            recipe["condition"] = asked.recipe(self.condition, self.particles)
        if self.leading is not None:
            recipe["classifier"] = {"weight": self.leading.weight, **self.leading.origin}
        if self.weaker is not None:
            recipe["weaker"] = {"weight": self.weaker.weight, **self.weaker.origin}
        if self.observable is not None:
            recipe |= {"observable": self.observable, "target": self.target, "spread": self.spread}
        return recipe or None

    @property
    def requested(self) -> list[str]:
        """What images are asked to show, by name; a weaker network asks for nothing."""
        return sorted({*(self.recipe or {})} - {"weaker"})

    def given(self, index: np.ndarray) -> dict[str, Any]:
        """Return what is known of the images with these numbers ``[B]``, ``[B, H, W, ...]``."""
        given: dict[str, Any] = {}
        if self.known is not None:
            images = self.known[index % len(self.known)]
            given["known"] = self.scale.to_model(images)
            given["mask"] = self.mask[index % len(self.mask)]
        if self.condition is not None:
            given["condition"] = asked.row_of(self.condition, index)
        return given

    def check_learnt(self, fields: Sequence[str]) -> None:
        """Refuse all but conditions of these fields, for a family that draws as it was trained.

        Raises:
            ValueError: with the flag, or the fields that the networks know nothing of.
        """
        for given, flag in (
            (self.known, "inpaint"),
            (self.tile, "canvas"),
            (self.observable, "observable"),
            (self.leading, "classifier"),
        ):
            if given is not None:
                raise ValueError(
                    f"--{flag} is for the score family; the networks of this one draw whole images "
                    "as they were trained to"
                )
        missing = [name for name in self.condition or () if name not in fields]
        if missing:
            raise ValueError(
                f"these networks were trained without {', '.join(missing)}: train some with "
                "--config.model.condition and --config.data.condition"
            )

    def number(self, num_samples: int | None, default: int) -> int:
        """Return how many images to draw: one for each row of a file of conditions, if any.

        Raises:
            ValueError: if another number is asked for.
        """
        if self.rows is None:
            return num_samples or default
        if num_samples not in (None, self.rows):
            raise ValueError(
                f"--conditions has {self.rows} rows, one for each image, and --num_samples is "
                f"{num_samples}; leave that out, or give as many rows"
            )
        return self.rows

    def to_samples(self, raw: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Return images on the scale 0..255 ``[B, H, W, C]`` as :func:`to_uint8` writes them.

        Known pixels are what they were: the cut at 4 is for the noise of drawn ones. Where a charge
        was asked for, the cut and the whole levels would take a twentieth of it, so the drawn
        pixels of each image are multiplied by the factor, at most :data:`STRETCH`, that brings its
        samples to the charge that was drawn. Guidance may have missed the target by more than one
        spread: then it is brought to some charge within that, which the image's number decides.
        """
        if self.observable is None:
            return self._written(raw, index)
        drawn = self.reached(raw)
        off = np.array([np.random.default_rng(int(i)).uniform(-1, 1) for i in index]) * self.spread
        missed = np.abs(drawn - self.target) > self.spread
        goal = np.where(missed, self.target + off, drawn)
        low, high = (np.full(len(raw), end, np.float32) for end in (1 / STRETCH, STRETCH))
        for _ in range(_HALVINGS):
            middle = np.sqrt(low * high)
            below = self.reached(self._written(raw, index, middle)) < goal
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        less, more = (self._written(raw, index, factor) for factor in (low, high))
        off = [np.abs(self.reached(images) - goal) for images in (less, more)]
        return np.where((off[0] < off[1])[:, None, None, None], less, more)

    def _written(
        self, raw: np.ndarray, index: np.ndarray, factor: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the samples of drawn images, each of them multiplied by a factor ``[B]``."""
        stretched = raw if factor is None else raw * factor[:, None, None, None]
        images = to_uint8(stretched, planes=self.planes)
        if self.known is None:
            return images
        known = to_uint8(self.known[index % len(self.known)], threshold=0, planes=self.planes)
        return np.where(self.mask[index % len(self.mask)], known, images)

    def reached(self, samples: np.ndarray) -> np.ndarray:
        """Return the observable of finished images ``[B, H, W, C]``, ``[B]``; of none, ``[0]``."""
        if self.observable is None:
            return np.empty(0)
        grey = samples.astype(np.float32).mean(axis=-1, keepdims=True)
        return np.asarray(OBSERVABLES[self.observable](grey))

    def summary(self, reached: np.ndarray) -> dict[str, float] | None:
        """Return how near the target finished images came, for a recipe; None without one."""
        if self.observable is None:
            return None
        off = np.abs(reached - self.target)
        return {
            "mean": float(reached.mean()),
            "std": float(reached.std()),
            "smallest": float(reached.min()),
            "largest": float(reached.max()),
            "within_three_spreads": float((off <= 3 * self.spread).mean()),
        }

    def measure(self, images: Array) -> Array:
        """Return the observable ``[B]`` of images in network space ``[B, H, W, C]``."""
        grey = self.scale.from_model(images).mean(axis=-1, keepdims=True)
        return OBSERVABLES[self.observable](grey)


def read_conditions(
    request: Request,
    config: ml_collections.ConfigDict,
    leading: Leading | None = None,
    weaker: Weaker | None = None,
) -> Conditions:
    """Return the conditions of a request, everything read and checked.

    Args:
        request: of images.
        config: of the network that draws them.
        leading: the classifier of the request, from :func:`sgm_jax.bayes.read_classifier`.
        weaker: the weaker network, from :func:`sgm_jax.autoguidance.read_weaker`.

    Raises:
        FileNotFoundError: if there are no images, or no mask.
        ValueError: for what does not fit together, or not the network.
    """
    conditions = Conditions(
        **_canvas(request, config.data.image_size),
        **_known(request, config),
        **_observable(request),
        **_asked(request, config, leading),
        weaker=weaker,
        scale=PixelScale.from_config(config.data),
        planes=config.data.planes,
    )
    if conditions.observable is not None:
        _check_possible(conditions)
    return conditions


def _canvas(request: Request, tile: int) -> dict[str, Any]:
    if request.canvas is None:
        _not_alone(request, "stride", needs="canvas")
        return {"size": (tile, tile)}
    size = re.fullmatch(r"(\d+)x(\d+)", request.canvas)
    if not size:
        raise ValueError(f"--canvas is {request.canvas!r}; give HEIGHTxWIDTH, such as 128x128")
    size = int(size[1]), int(size[2])
    stride = tile // 2 if request.stride is None else request.stride
    for side in size:
        tile_corners(side, tile, stride)
    return {"size": size, "tile": tile, "stride": stride}


def _known(request: Request, config: ml_collections.ConfigDict) -> dict[str, Any]:
    if request.inpaint is None:
        _not_alone(request, "mask", needs="inpaint")
        _not_alone(request, "resample", needs="inpaint")
        return {}
    if request.mask is None:
        raise ValueError("--inpaint needs --mask: which pixels of the images are known")
    data, size = config.data, _canvas(request, config.data.image_size)["size"]
    source = "the array mask" if isinstance(request.mask, np.ndarray) else request.mask
    mask = read_mask(request.mask)
    if mask.shape[1:3] != size:
        raise ValueError(
            f"{source} is a mask of {mask.shape[1:3]} pixels, and images of {size} are to be drawn"
        )
    # What is hidden by the mask is not read: it must not decide the scale of what is known.
    options = {"num_channels": data.num_channels, "planes": data.planes, "image_size": None}
    options |= {"scaling": data.scaling, "mask": mask[..., 0]}
    if isinstance(request.inpaint, np.ndarray):
        images = from_array(request.inpaint, source="the array inpaint", **options)
    else:
        images = open_images(request.inpaint, **options)
    return {
        "known": images,
        "mask": mask,
        "repeats": _repeats(request, config.sampling.get("method")),
    }


def _repeats(request: Request, method: str | None) -> int:
    default = 1 if method == "ode" else REPEATS
    repeats = default if request.resample is None else request.resample
    if repeats < 1 or (method == "ode" and repeats > 1):
        raise ValueError(
            f"--resample is {repeats}; it must be at least 1, and 1 with sampling.method 'ode', "
            "which chooses its own steps"
        )
    return repeats


def _observable(request: Request) -> dict[str, Any]:
    if request.observable is None:
        _not_alone(request, "target", needs="observable")
        _not_alone(request, "spread", needs="observable")
        return {}
    if request.observable not in OBSERVABLES:
        known = ", ".join(OBSERVABLES)
        raise ValueError(f"--observable is {request.observable!r}; it can be: {known}")
    if request.target is None or not np.isfinite(request.target):
        raise ValueError(f"--observable needs --target, a finite number, not {request.target}")
    spread = 0.01 * abs(request.target) if request.spread is None else request.spread
    if not 0 < spread < np.inf:
        raise ValueError(f"--spread is {spread}; it must be above 0 (not given: 1 % of --target)")
    return {"observable": request.observable, "target": request.target, "spread": spread}


def _asked(
    request: Request, config: ml_collections.ConfigDict, leading: Leading | None
) -> dict[str, Any]:
    if leading is not None:
        # Particles and momenta are those that the classifier knows.
        config, drawing = leading.config.copy_and_resolve_references(), config
        config.seed = drawing.seed
    fields = ("particle", "momentum", "momentum_range", "direction", "conditions", "condition")
    options = {name: getattr(request, name) for name in (*fields, "extrapolate")}
    rows = asked.asked(config, **options)
    if rows is None:
        if leading is not None:
            raise ValueError(
                "--classifier says nothing without a condition, such as --particle or --momentum"
            )
        weight = config.sampling.get("guidance", 1.0)
        if weight != 1:
            raise ValueError(
                f"--guidance={weight:g} says nothing without a condition, such as --particle or "
                "--momentum, of a network that was trained with one"
            )
        return {}
    count = None if request.conditions is None else max(map(len, rows.values()))
    particles = tuple(config.data.particles)
    return {"condition": rows, "rows": count, "particles": particles, "leading": leading}


def _check_possible(conditions: Conditions) -> None:
    """Refuse a target that no image can have.

    Raises:
        ValueError: with what is possible.
    """
    low, high, of = 0.0, 255.0 * np.prod(conditions.size), ""
    if conditions.known is not None:
        for first in range(0, len(conditions.known), _BLOCK):
            index = np.arange(first, min(first + _BLOCK, len(conditions.known)))
            masks = np.broadcast_to(
                conditions.mask[index % len(conditions.mask)], (len(index), *conditions.size, 1)
            )
            # The extremes of an image: nothing, or all that can be, in its unknown pixels.
            blank, full = (np.full((*masks.shape[:3], 1), level, np.uint8) for level in (0, 255))
            known = to_uint8(conditions.known[index], threshold=0, planes=conditions.planes)
            least = conditions.reached(np.where(masks, known, blank))
            most = conditions.reached(np.where(masks, known, full))
            if least.max() > low:
                low, of = (
                    float(least.max()),
                    f" with the known pixels of image {first + least.argmax()}",
                )
            high = min(high, float(most.min()))
    if not low <= conditions.target <= high:
        raise ValueError(
            f"--target is {conditions.target:g}, and {conditions.observable} can be from {low:g} "
            f"to {high:g}{of}; choose one between"
        )


def _not_alone(request: Request, name: str, *, needs: str) -> None:
    if getattr(request, name) is not None:
        raise ValueError(f"--{name} says nothing without --{needs}")


# Masks that say which pixels of images are known.


def read_mask(source: str | Path | np.ndarray) -> np.ndarray:
    """Return masks ``[N, H, W, 1]``, True where pixels are known.

    Args:
        source: booleans ``[H, W]`` or ``[N, H, W]``, in an array or a .npy file; or a .png file,
            white where pixels are known and black elsewhere.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds anything else, or masks nothing or everything.
    """
    if isinstance(source, np.ndarray):
        mask, source = source, "the array mask"
    else:
        mask = _read_mask_file(Path(source))
    if mask.dtype != np.bool_ or mask.ndim not in (2, 3):
        raise ValueError(
            f"{source}: {mask.dtype} of shape {mask.shape}; a mask is boolean, True where pixels "
            "are known, of shape (height, width) or (images, height, width)"
        )
    if mask.all() or not mask.any():
        raise ValueError(f"{source}: {mask.mean():.0%} of the pixels are known; nothing to inpaint")
    return mask.reshape(-1, *mask.shape[-2:], 1)


def _read_mask_file(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"no mask {path}")
    try:
        picture = path.suffix.lower() == ".png"
        return _black_and_white(path) if picture else np.load(path, allow_pickle=False)
    except (ValueError, EOFError, UnidentifiedImageError) as error:
        raise ValueError(f"{path}: no mask can be read from it: {error}") from error


def _black_and_white(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        levels = np.asarray(picture.convert("L"))
    other = np.setdiff1d(levels, [0, 255])
    if other.size:
        raise ValueError(f"it has grey levels such as {other[0]}; use black and white only")
    return levels == 255
