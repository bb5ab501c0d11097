"""Which earlier pixels a convolution sees around each pixel: locally masked convolution.

A patch of k x k pixels is multiplied by a mask that belongs to its place (Jain, Abbeel and Pathak,
arXiv:2006.12486), so one code serves every order. Pixels of the patch that no mask lets through are
left out: by rows that is half of them. While an image is drawn, only pixels that a later one will
look at are kept; by rows those are the last few rows.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.autoregressive.orders import Order, Size, ranks

Array = jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """The pixels that each pixel of an image sees.

    Attributes:
        size: height and width.
        dilation: pixels from one of them to the next.
        offsets: where they are, rows down and columns to the right ``[T, 2]``.
        mask: which of them a pixel sees ``[N, T]``.
        places: which pixels they are ``[N, T]``; the pixel itself where the mask is 0.
        slots: where each pixel is kept ``[N]``, among so many:
        count: places for all that is needed at once.
    """

    size: Size
    dilation: int
    offsets: np.ndarray
    mask: np.ndarray
    places: np.ndarray
    slots: np.ndarray
    count: int

    def convolve(self, x: Array, kernel: Array) -> Array:
        """Return what each pixel of ``[B, H, W, C]`` sees times ``kernel [T * C, features]``."""
        if self._is_one_mask:
            return self._ordinary(x, kernel)
        height, width = self.size
        reach = int(np.abs(self.offsets).max())
        padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        mask = jnp.asarray(self.mask.reshape(height, width, -1, 1).astype(np.float32))
        patches = [
            padded[:, reach + down :, reach + right :][:, :height, :width] * mask[None, :, :, tap]
            for tap, (down, right) in enumerate(self.offsets)
        ]
        return jnp.concatenate(patches, axis=-1) @ kernel

    @functools.cached_property
    def _is_one_mask(self) -> bool:
        """Tell whether all pixels see the same around them, as they do by rows and by columns."""
        return bool((self.mask == _inside(self.size, self.offsets)).all())

    def _ordinary(self, x: Array, kernel: Array) -> Array:
        """Return the same by a convolution, which is twice as fast."""
        least, most = self.offsets.min(axis=0), self.offsets.max(axis=0)
        apart = self.dilation
        shape = (most - least) // apart + 1
        taps = (self.offsets - least) // apart
        parts = kernel.reshape(len(taps), x.shape[-1], -1)
        dense = jnp.zeros((*map(int, shape), *parts.shape[1:]))
        # Pixels of the rectangle that are not seen have no weight.
        dense = dense.at[taps[:, 0], taps[:, 1]].set(parts)
        return jax.lax.conv_general_dilated(
            x,
            dense,
            (1, 1),
            [(-int(low), int(high)) for low, high in zip(least, most, strict=True)],
            rhs_dilation=(apart, apart),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def empty(self, channels: int) -> Array:
        """Return where pixels of one image are kept before there are any, ``[count, channels]``."""
        return jnp.zeros((self.count, channels))

    def keep(self, kept: Array, pixel: Array, values: Array) -> Array:
        """Return ``kept`` with the values ``[C]`` of a pixel."""
        slot = jnp.asarray(self.slots)[pixel]
        return jax.lax.dynamic_update_slice_in_dim(kept, values[None], slot, axis=0)

    def patch(self, kept: Array, pixel: Array, live: Array | None = None) -> Array:
        """Return what one pixel sees, ``[T * C]``; of live ones alone ``[N]``, if they are given.

        It is right when all earlier live pixels were kept, in their order.
        """
        places = jnp.asarray(self.places)[pixel]
        mask = jnp.asarray(self.mask.astype(np.float32))[pixel]
        if live is not None:
            mask = mask * live[places]
        slots = jnp.asarray(self.slots)[places]
        seen = kept.at[slots].get(mode="promise_in_bounds") * mask[:, None]
        return seen.reshape(-1)


@functools.lru_cache(maxsize=256)
def neighbours(
    order: Order, size: Size, *, kernel: int, dilation: int = 1, itself: bool
) -> Neighbours:
    """Return what a convolution of ``kernel`` x ``kernel`` pixels sees in an order.

    Args:
        order: of the pixels.
        size: height and width.
        kernel: odd number.
        dilation: pixels from one of them to the next.
        itself: a pixel sees itself, as it may after the first convolution.
    """
    when, half = ranks(order), kernel // 2
    steps = dilation * np.arange(-half, half + 1)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = _inside(size, offsets)
    own = np.arange(len(order))[:, None]
    places = np.where(inside, own + offsets @ [size[1], 1], own)
    earlier = when[places] <= when[own] if itself else when[places] < when[own]
    mask = inside & earlier
    used = mask.any(axis=0)
    if not used.any():
        used[0] = True  # a layer needs inputs, be they zeros
    offsets, mask = offsets[used], mask[:, used]
    places = np.where(mask, places[:, used], own)
    return Neighbours(size, dilation, offsets, mask, places, *_slots(order, mask, places))


class LocalConv(nn.Module):
    """A convolution of what pixels see around them, of a whole image or of one pixel.

    Attributes:
        near: what they see.
        features: of each pixel.
    """

    near: Neighbours
    features: int

    def __call__(self, x: Array) -> Array:
        """Return the features of all pixels ``[B, H, W, features]`` of ``[B, H, W, C]``."""
        kernel, bias = self._parts(x.shape[-1])
        y = self.near.convolve(x, kernel)
        return y + jnp.broadcast_to(bias, y.shape)

    def of_patch(self, seen: Array) -> Array:
        """Return the features of one pixel from :meth:`Neighbours.patch`, ``[T * C]``."""
        kernel, bias = self._parts(seen.shape[-1] // len(self.near.offsets))
        return seen @ kernel + bias

    @nn.compact
    def _parts(self, channels: int) -> tuple[Array, Array]:
        shape = (len(self.near.offsets) * channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros, shape[-1:])


def _inside(size: Size, offsets: np.ndarray) -> np.ndarray:
    """Tell which pixels have a neighbour there, ``[N, T]``."""
    rows, columns = np.divmod(np.arange(size[0] * size[1]), size[1])
    rows, columns = rows[:, None] + offsets[:, 0], columns[:, None] + offsets[:, 1]
    return (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])


def _slots(order: Order, mask: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, int]:
    """Return where each pixel is kept, and how many places that takes.

    A place is free again when no later pixel looks at what is in it.
    """
    when = ranks(order)
    last = when.copy()
    np.maximum.at(last, places[mask], np.broadcast_to(when[:, None], mask.shape)[mask])
    ending: list[list[int]] = [[] for _ in order]
    slots, free, count = np.empty(len(order), np.int64), [], 0
    for step, pixel in enumerate(order):
        if free:
            slots[pixel] = free.pop()
        else:
            slots[pixel], count = count, count + 1
        ending[last[pixel]].append(int(slots[pixel]))
        free.extend(ending[step])
    return slots, count
