"""Batches as a pure function of (seed, step), so that a run resumes anywhere by construction.

The images of all epochs form one endless stream: epoch e is a permutation of the set that depends
on (seed, e) only, and batch `step` is its part ``[step * batch_size, (step + 1) * batch_size)``. No
image is ever dropped, and a batch may belong to two epochs.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from sgm_jax.data.condition import Condition, mirrored
from sgm_jax.data.images import Images
from sgm_jax.data.normalise import PixelScale

Batch = dict[str, np.ndarray | Condition]
_ORDER, _FLIP = 0, 1


def epoch_order(seed: int, epoch: int, total: int) -> np.ndarray:
    """Return the permutation of ``0..total-1`` for one epoch, uint32.

    Sorted raw bits, because numpy keeps the bits of a generator across its versions but not the
    result of `Generator.permutation`; a run may be resumed under another numpy.
    """
    return np.argsort(random_bits((seed, epoch, _ORDER), total), kind="stable").astype(np.uint32)


def epoch_flips(seed: int, epoch: int, total: int) -> np.ndarray:
    """Return for each image of the set whether it is mirrored in this epoch, bool."""
    return random_bits((seed, epoch, _FLIP), total) >> np.uint64(63) != 0


class Batches:
    """Shuffled training batches; ``at(step)`` depends on the arguments and `step` only.

    Args:
        images: the training set.
        batch_size: global batch size, over all processes; may exceed the number of images.
        seed: non-negative; fixes the order and the flips of all epochs.
        random_flip: mirror left-right with probability one half, drawn per image and epoch.
        scale: how the network sees the pixels; None leaves them on 0..255.
        labels: the class of each pixel, ``[N, H, W]``; flipped with the images.
        condition: what each image shows, a dict of arrays ``[N, ...]``; flipped with the images.
        process_index: which share of the global batch to deliver.
        process_count: number of equal shares.

    Raises:
        ValueError: no images, a negative seed, a batch that cannot be shared equally, or conditions
            of another number of images.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        seed: int,
        random_flip: bool,
        scale: PixelScale | None,
        labels: np.ndarray | None = None,
        condition: Condition | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        _check_shares(batch_size, process_index, process_count)
        if len(images) == 0:
            raise ValueError("the training set holds no images")
        if seed < 0:
            raise ValueError(f"the data seed is {seed}; it must not be negative")
        for name, values in (condition or {}).items():
            if len(values) != len(images):
                raise ValueError(f"there are {len(values)} of {name} for {len(images)} images")
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.random_flip = random_flip
        self.scale = scale
        self.labels = labels
        self.condition = condition
        self.process_index = process_index
        self.process_count = process_count
        # Neighbouring batches need the current epoch and perhaps the next one.
        self._order = lru_cache(maxsize=2)(epoch_order)
        self._flips = lru_cache(maxsize=2)(epoch_flips)

    def at(self, step: int) -> Batch:
        """Return this process's share of the global batch of `step`.

        ``image`` is float32 ``[b, H, W, C]`` in network space with b = batch_size / process_count;
        ``index`` is int32 ``[b]``, the position in the global batch, from which keys are folded;
        with labels, ``label`` is int32 ``[b, H, W]``; with conditions, ``condition`` is a dict of
        arrays ``[b, ...]``.
        """
        if step < 0:
            raise ValueError(f"step is {step}; it must not be negative")
        share = self.batch_size // self.process_count
        index = np.arange(share, dtype=np.int64) + self.process_index * share
        rows, flips = self._rows(index + step * self.batch_size)
        images = self.images[rows]
        images[flips] = images[flips][:, :, ::-1]
        batch = {
            "image": self.scale.to_model(images) if self.scale else images.astype(np.float32),
            "index": index.astype(np.int32),
        }
        if self.labels is not None:
            labels = self.labels[rows].astype(np.int32)
            labels[flips] = labels[flips][:, :, ::-1]
            batch["label"] = labels
        if self.condition:
            shown = {name: values[rows] for name, values in self.condition.items()}
            batch["condition"] = mirrored(shown, flips)
        return batch

    def _rows(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which image is at each of `places` in the stream, and whether it is flipped."""
        total = len(self.images)
        epochs, within = np.divmod(places, total)
        rows = np.empty(len(places), np.int64)
        flips = np.zeros(len(places), bool)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            rows[here] = self._order(self.seed, epoch, total)[within[here]]
            if self.random_flip:
                flips[here] = self._flips(self.seed, epoch, total)[rows[here]]
        return rows, flips


def prefetch(batches: Batches, start: int, stop: int, *, depth: int = 2) -> Iterator[Batch]:
    """Yield ``batches.at(step)`` for `start` <= step < `stop`, up to `depth` prepared ahead.

    One background thread reads. Its errors are raised here, at the step where they happened, and it
    ends when the iterator ends, is closed or is dropped.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; at least one batch must be prepared")
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sgm_jax_data")
    try:
        ahead = deque(pool.submit(batches.at, k) for k in range(start, min(start + depth, stop)))
        for step in range(start + depth, stop + depth):
            batch = ahead.popleft().result()
            if step < stop:
                ahead.append(pool.submit(batches.at, step))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def random_bits(numbers: Sequence[int], count: int, *, first: int = 0) -> np.ndarray:
    """Return so many times 64 bits that depend on the numbers only, whatever numpy's version.

    With ``first`` they are those from that place on, at no cost for the ones before.
    """
    # Philox counts in steps of four.
    steps, skipped = divmod(first, 4)
    bits = np.random.Philox(np.random.SeedSequence(numbers)).advance(steps)
    return bits.random_raw(skipped + count)[skipped:]


def _check_shares(batch_size: int, process_index: int, process_count: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index is {process_index} of {process_count} processes")
    if batch_size % process_count:
        below = batch_size - batch_size % process_count
        near = " or ".join(str(k) for k in (below, below + process_count) if k)
        raise ValueError(
            f"batch_size {batch_size} is not divisible by {process_count} processes; try {near}"
        )
