"""In which order the pixels of an image are drawn.

An order is a tuple of the pixels' places ``row * width + column``, the first drawn first. The
spirals and the order by entropy are those of SARM (arXiv:2009.14017).
"""

from collections.abc import Callable

import numpy as np

Order = tuple[int, ...]
Size = tuple[int, int]

ENTROPY, RANDOM = "entropy", "random"
_CLOCKWISE = ((0, 1), (1, 0), (0, -1), (-1, 0))
_COUNTER_CLOCKWISE = ((0, 1), (-1, 0), (0, -1), (1, 0))


def row(size: Size) -> Order:
    """Return the order of reading."""
    return tuple(range(size[0] * size[1]))


def column(size: Size) -> Order:
    """Return the order by columns, each from above."""
    return tuple(np.arange(size[0] * size[1]).reshape(size).T.ravel().tolist())


def spiral_out(size: Size, *, clockwise: bool) -> Order:
    """Return a walk round the middle, outwards.

    The first s * s pixels are a square of s pixels, see :func:`square`; pixels outside of the image
    are left out.
    """
    height, width = size
    y, x = (height - 1) // 2, (width - 1) // 2
    turns = _CLOCKWISE if clockwise else _COUNTER_CLOCKWISE
    if not clockwise:
        # The walk begins with a step to the right and then goes up.
        y = height // 2
    order, steps, turn = [(y, x)], 1, 0
    while len(order) < height * width:
        for _ in range(2):
            down, right = turns[turn % 4]
            for _ in range(steps):
                y, x = y + down, x + right
                if 0 <= y < height and 0 <= x < width:
                    order.append((y, x))
            turn += 1
        steps += 1
    return tuple(y * width + x for y, x in order)


def spiral_in(size: Size, *, clockwise: bool) -> Order:
    """Return a walk inwards: one outwards from its end, so it turns the other way."""
    return spiral_out(size, clockwise=not clockwise)[::-1]


def shuffled(size: Size, seed: int) -> Order:
    """Return a random order of the seed."""
    # Sorted raw bits, which numpy keeps across its versions.
    bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw(size[0] * size[1])
    return tuple(np.argsort(bits, kind="stable").tolist())


ORDERS: dict[str, Callable[[Size], Order]] = {
    "row": row,
    "column": column,
    "spiral_out_clockwise": lambda size: spiral_out(size, clockwise=True),
    "spiral_out_counter_clockwise": lambda size: spiral_out(size, clockwise=False),
    "spiral_in_clockwise": lambda size: spiral_in(size, clockwise=True),
    "spiral_in_counter_clockwise": lambda size: spiral_in(size, clockwise=False),
}
NAMES = (*ORDERS, RANDOM, ENTROPY)


def by_entropy(levels: np.ndarray) -> Order:
    """Return the order by falling entropy of each pixel's levels.

    Args:
        levels: whole levels 0..255 of images ``[N, H, W]``.
    """
    pixels = levels.reshape(len(levels), -1)
    place = np.arange(pixels.shape[1])
    counts = np.zeros((pixels.shape[1], 256), np.int64)
    for image in pixels:
        counts[place, image] += 1
    share = counts / len(pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(share > 0, share * np.log(share), 0).sum(axis=1)
    # Sums of the same numbers in another order differ in their last digits.
    return tuple(np.argsort(-entropy.round(9), kind="stable").tolist())


def ranks(order: Order) -> np.ndarray:
    """Return when each pixel is drawn, by its place."""
    when = np.empty(len(order), np.int64)
    when[list(order)] = np.arange(len(order))
    return when


def square(order: Order, size: Size, side: int) -> tuple[int, int] | None:
    """Return the corner of the square that the first ``side * side`` pixels are, if they are one.

    The corner is its uppermost row and its leftmost column.
    """
    first = np.array(order[: side * side])
    rows, columns = np.divmod(first, size[1])
    corner = int(rows.min()), int(columns.min())
    fits = (rows.max(), columns.max()) == (corner[0] + side - 1, corner[1] + side - 1)
    return corner if fits and len(set(first.tolist())) == side * side else None


def within(order: Order, size: Size, corner: tuple[int, int], side: int) -> Order:
    """Return the order in which the pixels of a square are drawn, by their places in it."""
    rows, columns = np.divmod(np.array(order), size[1])
    rows, columns = rows - corner[0], columns - corner[1]
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return tuple((rows * side + columns)[inside].tolist())
