"""Is an array one of images? What is asked at the door; the values are read once, completely."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sgm_jax.data.scaling import NONE, Scaling, flag

_CHECK_BYTES = 2**26


def size_message(source: str, height: int, width: int, image_size: int) -> str:
    """Say that images have another size than the configured one."""
    other = f", or set --config.data.image_size={height}" if height == width else ""
    return (
        f"{source}: images are {height}x{width} (height x width) but --config.data.image_size is "
        f"{image_size}; crop or pad the images to {image_size}x{image_size}{other}"
    )


def check_shape(array: Any, *, image_size: int | None, source: str) -> bool:
    """Return whether the channel axis of `array` comes before height and width.

    Raises:
        ValueError: it holds no images, or images of another size.
    """
    channels_first = _channels_first(array, source)
    height, width = array.shape[2:4] if channels_first else array.shape[1:3]
    if image_size is not None and (height, width) != (image_size, image_size):
        raise ValueError(size_message(source, height, width, image_size))
    return channels_first


def check_channels(
    stored: int, wanted: int, *, planes: bool, plane: int | None, source: str
) -> None:
    """Refuse channels that cannot be delivered, by their numbers alone.

    Raises:
        ValueError: with both numbers.
    """
    if wanted not in (1, 3):
        raise ValueError(
            f"--config.data.num_channels is {wanted}; images have 1 (grey) or 3 (planes)"
        )
    if plane is not None and planes:
        raise ValueError(f"plane is {plane} and planes is True; take one plane or all three")
    if planes and (stored, wanted) != (3, 3):
        raise ValueError(
            f"{source}: images have {stored} channel{'s'[: stored > 1]} and "
            f"--config.data.num_channels is {wanted}; three planes need 3 and 3, otherwise set "
            "--config.data.planes=False"
        )
    if plane is not None and not (stored == 3 and plane in range(3)):
        raise ValueError(
            f"{source}: there is no plane {plane}: images have {stored} "
            f"channel{'s, 0 to 2' if stored == 3 else '; leave it out'}"
        )


def check_equal_channels(array: Any, axis: int, *, source: str) -> None:
    """Read `array`, ``[N, ...]`` with 3 channels along `axis`, and refuse channels that differ.

    Raises:
        ValueError: with the first pixel where they do.
    """
    for start, block in _blocks(array):
        block = np.moveaxis(block, axis, -1)
        unequal = (block != block[..., :1]).any(axis=-1)
        if unequal.any():
            row, *place = (int(k) for k in np.argwhere(unequal)[0])
            values = ", ".join(f"{value:g}" for value in block[(row, *place)])
            raise ValueError(
                f"{source}: the 3 channels differ: image {start + row} holds {values} at "
                f"{tuple(place)}; if they are planes of the detector, train on all three with "
                "--config.data.planes=True --config.data.num_channels=3, and compare one at a time "
                "with --plane=0 of the evaluation (of larcv2 and larcv3 name one in the path, as "
                "in ::sparse2d_wire/0); if they are the colours of a picture, store its "
                "charge as one grey channel"
            )


def _channels_first(array: Any, source: str) -> bool:
    shape = tuple(array.shape)
    if len(shape) not in (3, 4):
        hint = "; for a single image add a leading axis" if len(shape) == 2 else ""
        raise ValueError(f"{source}: shape {shape} is not [N, H, W] or [N, H, W, C]{hint}")
    if 0 in shape:
        raise ValueError(f"{source}: shape {shape} holds no images; was it written completely?")
    if len(shape) == 3:
        # 1 or 3 columns are no image: this is nearly always a single [H, W, C] picture.
        if shape[-1] in (1, 3):
            raise ValueError(
                f"{source}: shape {shape} may be one image [H, W, C] or {shape[0]} images "
                f"{shape[1]}x{shape[2]}; write it as [N, H, W, C]"
            )
        return False
    last, first = shape[3] in (1, 3), shape[1] in (1, 3)
    if last == first:
        problem = "either axis 1 or axis 3 may be" if last else "neither axis 1 nor axis 3 is"
        opacity = "; an opacity is dropped by array[..., :-1]" if shape[3] in (2, 4) else ""
        raise ValueError(
            f"{source}: shape {shape} has no clear channel axis, {problem} 1 or 3 channels; "
            f"write the images as [N, H, W] or [N, H, W, C]{opacity}"
        )
    return first


def check_values(array: Any, *, scaling: Scaling, source: str) -> None:
    """Read floating-point and wide-integer arrays through once and refuse unusable values.

    Raises:
        ValueError: values that are not finite or, without a scaling, not on 0..255.
    """
    kind = array.dtype.kind
    if kind not in "biuf":
        raise ValueError(f"{source}: dtype {array.dtype} is not a real number; convert to float32")
    if array.dtype == np.uint8 or (scaling.kind != NONE and kind != "f"):
        return
    low, high, first_outside = np.inf, -np.inf, None
    for start, block in _blocks(array):
        block_low, block_high = float(block.min()), float(block.max())
        if not np.isfinite([block_low, block_high]).all():
            _refuse_first(block, ~np.isfinite(block), start, source, "remove or repair the image")
        low, high = min(low, block_low), max(high, block_high)
        if first_outside is None and (low < 0 or high > 255):
            first_outside = start, block
    if scaling.kind == NONE:
        _check_range(low, high, first_outside, source=source)


def _blocks(array: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield all of `array`, some images at a time, each with the number of its first."""
    rows = max(1, _CHECK_BYTES // (array.dtype.itemsize * int(np.prod(array.shape[1:]))))
    for start in range(0, array.shape[0], rows):
        yield start, np.asarray(array[start : start + rows]).reshape(-1, *array.shape[1:])


def _check_range(low: float, high: float, outside: tuple | None, *, source: str) -> None:
    span = f"{source}: values span {low:g}..{high:g}, images must be on the scale 0..255"
    if low >= 0 and 0 < high <= 1:
        raise ValueError(
            f"{span}; this looks like 0..1: multiply by 255, as {flag('fixed:1')} does"
        )
    if -1.5 <= low < 0 and high <= 1.5:
        raise ValueError(f"{span}; this looks like -1..1: store clip((x + 1) * 127.5, 0, 255)")
    if outside is not None:
        start, block = outside
        fix = (
            f"outside 0..255 (all values span {low:g}..{high:g}): for charges in any unit give a "
            f"scaling, {flag('per_image')}, or quantile, or fixed:FULL"
        )
        _refuse_first(block, (block < 0) | (block > 255), start, source, fix)


def _refuse_first(block, bad, start: int, source: str, fix: str) -> None:
    position = tuple(int(k) for k in np.argwhere(bad)[0])
    raise ValueError(
        f"{source}: image {start + position[0]} holds {block[position]:g} at {position[1:]}; {fix}"
    )
