"""Batches are a pure function of (seed, step): order, flips, shares and resumption."""

import gc
import threading
import time

import numpy as np
import pytest

from sgm_jax.data import Batches, PixelScale, from_array, open_images, prefetch
from sgm_jax.data.batches import epoch_flips, epoch_order, random_bits

TOTAL = 23
# Pixel (0, 0) names the image, the top right pixel tells a mirrored one.
ARRAY = np.zeros((TOTAL, 4, 4), np.uint8)
ARRAY[:, 0, 0] = 10 + np.arange(TOTAL)
ARRAY[:, 1:, 2] = 200
IMAGES = from_array(ARRAY, num_channels=1, image_size=4)


def make(images=IMAGES, **changes):
    options = {"batch_size": 8, "seed": 3, "random_flip": False, "scale": PixelScale(False)}
    return Batches(images, **{**options, **changes})


def names(batch):
    pixels = np.rint(batch["image"][:, 0, :, 0] * 255).astype(int)
    return pixels.max(axis=1) - 10


def stream(batches, steps):
    return np.concatenate([names(batches.at(step)) for step in range(steps)])


@pytest.mark.parametrize("batch_size", [1, 8, 23, 50])
@pytest.mark.parametrize("random_flip", [False, True])
def test_every_epoch_is_a_permutation_whatever_the_batch_size(batch_size, random_flip):
    steps = -(-4 * TOTAL // batch_size)
    order = stream(make(batch_size=batch_size, random_flip=random_flip), steps)
    epochs = order[: 4 * TOTAL].reshape(4, TOTAL)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(TOTAL), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


@pytest.mark.parametrize("batch_size", [1, 5, 50])
def test_the_stream_of_images_does_not_depend_on_the_batch_size(batch_size):
    count = 3 * TOTAL
    here = stream(make(batch_size=batch_size), -(-count // batch_size))[:count]
    np.testing.assert_array_equal(here, stream(make(), -(-count // 8))[:count])


def test_another_seed_gives_another_order():
    assert not np.array_equal(stream(make(seed=3), 3), stream(make(seed=4), 3))


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("step", [0, 2, 1000])
def test_shares_of_all_processes_make_up_the_global_batch(process_count, step):
    whole = make(random_flip=True).at(step)
    shares = [
        make(random_flip=True, process_index=p, process_count=process_count).at(step)
        for p in range(process_count)
    ]
    for name in ("image", "index"):
        np.testing.assert_array_equal(np.concatenate([s[name] for s in shares]), whole[name])
    np.testing.assert_array_equal(whole["index"], np.arange(8))


@pytest.mark.parametrize("step", [0, 1, 2, 3, 17, 100_000_000])
def test_a_fresh_object_resumes_at_any_step(step):
    used = make(random_flip=True)
    for earlier in (0, 1, 2, 50):
        used.at(earlier)
    again, fresh = used.at(step), make(random_flip=True).at(step)
    np.testing.assert_array_equal(again["image"], fresh["image"])
    np.testing.assert_array_equal(again["index"], fresh["index"])


@pytest.mark.parametrize("centered", [False, True])
def test_batches_are_float32_in_model_space(centered):
    batch = make(scale=PixelScale(centered)).at(0)
    assert batch["image"].dtype == np.float32
    assert batch["index"].dtype == np.int32
    assert batch["image"].shape == (8, 4, 4, 1)
    rows = epoch_order(3, 0, TOTAL)[:8]
    np.testing.assert_array_equal(batch["image"], PixelScale(centered).to_model(IMAGES[rows]))


def test_a_flip_is_a_left_right_mirror_drawn_per_image_and_epoch():
    plain, flipped = make(), make(random_flip=True)
    mirrored = np.zeros((3, TOTAL), bool)
    for step in range(3 * TOTAL // 8):
        before, after = plain.at(step)["image"], flipped.at(step)["image"]
        for j, (old, new) in enumerate(zip(before, after, strict=True)):
            epoch, _ = divmod(step * 8 + j, TOTAL)
            image = names({"image": old[None]})[0]
            mirrored[epoch, image] = not np.array_equal(old, new)
            np.testing.assert_array_equal(new, old[:, ::-1] if mirrored[epoch, image] else old)
    seen = 3 * TOTAL // 8 * 8 - 2 * TOTAL
    for epoch in range(2):
        np.testing.assert_array_equal(mirrored[epoch], epoch_flips(3, epoch, TOTAL))
    last = epoch_order(3, 2, TOTAL)[:seen]
    np.testing.assert_array_equal(mirrored[2, last], epoch_flips(3, 2, TOTAL)[last])


def test_half_of_the_images_are_flipped_independently_of_epoch_and_order():
    flips = np.stack([epoch_flips(0, epoch, 20_000) for epoch in range(4)]).astype(float)
    # Five standard deviations of a fair coin.
    np.testing.assert_allclose(flips.mean(axis=1), 0.5, atol=5 * 0.5 / np.sqrt(20_000))
    orders = np.stack([epoch_order(0, epoch, 20_000) for epoch in range(4)])
    correlation = np.corrcoef(np.concatenate([flips, orders.astype(float)])) - np.eye(8)
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)


def test_the_order_is_uniform_over_all_permutations():
    counts = {}
    for epoch in range(6000):
        order = tuple(epoch_order(1, epoch, 3).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_square < 25.7  # 5 degrees of freedom, probability 1e-4


def test_the_order_is_the_same_on_every_platform_and_numpy():
    assert epoch_order(42, 7, 8).tolist() == [7, 1, 4, 5, 0, 2, 6, 3]
    assert epoch_flips(42, 7, 8).astype(int).tolist() == [1, 1, 0, 0, 1, 0, 1, 1]


def test_mapped_files_give_the_same_batches_as_memory(tmp_path):
    np.save(tmp_path / "set.npy", ARRAY)
    mapped = open_images(tmp_path / "set.npy", num_channels=1, image_size=4)
    assert isinstance(mapped.stored, np.memmap)
    for step in range(6):
        here = make(mapped, random_flip=True).at(step)["image"]
        np.testing.assert_array_equal(here, make(random_flip=True).at(step)["image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 10, "process_count": 4}, "10 is not divisible by 4 processes; try 8 or 12"),
        ({"batch_size": 2, "process_count": 4}, "try 4$"),
        ({"process_index": 2, "process_count": 2}, "process_index is 2 of 2"),
        ({"process_index": -1}, "process_index is -1"),
        ({"process_count": 0}, "0 processes"),
        ({"seed": -1}, "seed is -1"),
        ({"images": IMAGES[0:0]}, "holds no images"),
        ({"condition": {"particle": np.zeros(22)}}, "22 of particle for 23 images"),
    ],
)
def test_impossible_batches_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="step is -1"):
        make().at(-1)


@pytest.mark.parametrize("depth", [1, 2, 50])
@pytest.mark.parametrize(("start", "stop"), [(0, 7), (5, 6), (4, 4), (4, 2)])
def test_prefetching_gives_the_batches_in_order(depth, start, stop):
    got = list(prefetch(make(), start, stop, depth=depth))
    assert len(got) == max(0, stop - start)
    for step, batch in zip(range(start, stop), got, strict=False):
        np.testing.assert_array_equal(batch["image"], make().at(step)["image"])


class Recorder:
    """Stands where batches stand and notes which steps were read, by which thread."""

    def __init__(self, fail_at=None):
        self.steps, self.threads, self.fail_at = [], set(), fail_at

    def at(self, step):
        self.steps.append(step)
        self.threads.add(threading.current_thread())
        if step == self.fail_at:
            raise OSError("disk gone")
        return {"step": step}


def test_prefetching_reads_ahead_in_one_background_thread_and_no_further():
    batches = Recorder()
    iterator = prefetch(batches, 0, 100, depth=3)
    next(iterator)
    deadline = time.monotonic() + 10
    while len(batches.steps) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert batches.steps == [0, 1, 2, 3]
    assert len(batches.threads) == 1
    assert batches.threads != {threading.current_thread()}
    iterator.close()


@pytest.mark.parametrize("end", ["close", "drop", "exhaust"])
def test_the_background_thread_ends_with_the_iterator(end):
    batches = Recorder()
    iterator = prefetch(batches, 0, 5)
    next(iterator)
    if end == "close":
        iterator.close()
    elif end == "exhaust":
        list(iterator)
    del iterator
    gc.collect()
    (thread,) = batches.threads
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_errors_while_reading_are_raised_at_their_step():
    batches = Recorder(fail_at=3)
    got = []
    with pytest.raises(OSError, match="disk gone"):
        for batch in prefetch(batches, 0, 10):
            got.append(batch["step"])
    assert got == [0, 1, 2]
    assert not any(thread.is_alive() for thread in batches.threads)


def test_prefetching_nothing_ahead_is_refused():
    with pytest.raises(ValueError, match="depth is 0"):
        next(prefetch(make(), 0, 5, depth=0))


def test_labels_are_flipped_with_their_images():
    labels = ARRAY.astype(np.uint8) % 3
    options = {"labels": labels, "random_flip": True, "scale": None}
    batch = make(**options).at(1)
    np.testing.assert_array_equal(batch["label"], batch["image"][..., 0] % 3)
    assert batch["label"].dtype == np.int32
    plain = make(**options | {"random_flip": False}).at(1)
    assert (batch["image"] != plain["image"]).any()


def test_conditions_come_with_their_images_in_every_share():
    condition = {"particle": np.arange(TOTAL, dtype=np.int32)}
    for step in range(6):
        whole = make(condition=condition, random_flip=True).at(step)
        np.testing.assert_array_equal(whole["condition"]["particle"], names(whole))
        shares = [
            make(condition=condition, random_flip=True, process_index=k, process_count=2).at(step)
            for k in range(2)
        ]
        rows = np.concatenate([share["condition"]["particle"] for share in shares])
        np.testing.assert_array_equal(rows, whole["condition"]["particle"])
    assert "condition" not in make().at(0)


@pytest.mark.parametrize("first", [0, 1, 4, 6, 31])
def test_bits_from_a_place_on_are_those_of_the_whole(first):
    whole = random_bits((5, 8), 40)
    np.testing.assert_array_equal(random_bits((5, 8), 9, first=first), whole[first : first + 9])
