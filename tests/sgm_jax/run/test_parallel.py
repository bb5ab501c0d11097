"""Devices: shards and whole batches agree, and nothing is compiled twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.run import parallel


def test_shard_and_gather_are_inverse():
    batch = {"image": np.arange(48.0).reshape(16, 3), "index": np.arange(16)}
    shards = parallel.shard(batch)
    assert shards["image"].shape == (8, 2, 3)
    back = parallel.gather(shards)
    np.testing.assert_array_equal(back["image"], batch["image"])
    np.testing.assert_array_equal(back["index"], batch["index"])


def test_batch_function_equals_the_function_on_the_whole_batch():
    x = np.linspace(0, 1, 32, dtype=np.float32).reshape(16, 2)
    mapped = parallel.batch_function(lambda a, x: a * jnp.sin(x), in_axes=(None, 0))
    got = parallel.gather(mapped(jnp.float32(3), parallel.shard(x)))
    np.testing.assert_allclose(got, 3 * np.sin(x), rtol=1e-6)


def _step(state, key, batch):
    mean = parallel.mean(batch["x"].mean())
    return {"sum": state["sum"] + mean}, {"mean": mean}


def test_train_function_is_compiled_once_and_sees_the_whole_batch(key, caplog):
    update = parallel.train_function(_step)
    state = parallel.replicate({"sum": jnp.zeros(())})
    batch = {"x": np.arange(16, dtype=np.float32)[None]}
    with jax.log_compiles():
        state, metrics = update(state, key, batch)
        assert "Finished XLA compilation" in caplog.text
        caplog.clear()
        for _ in range(2):
            state, metrics = update(state, key, batch)
        assert "Finished XLA compilation" not in caplog.text
    assert metrics["mean"].shape == (1,) and float(state["sum"]) == 3 * 7.5


def test_steps_of_one_dispatch_have_their_own_metrics(key):
    update = parallel.train_function(_step, steps_per_call=2)
    x = np.stack([np.zeros(8, np.float32), np.ones(8, np.float32)])
    state, metrics = update(parallel.replicate({"sum": jnp.zeros(())}), key, {"x": x})
    np.testing.assert_array_equal(metrics["mean"], [0, 1])
    assert float(state["sum"]) == 1


@pytest.mark.parametrize(("size", "fits"), [(100, "96 or 104"), (3, "8"), (0, "8")])
def test_an_uneven_batch_is_refused_with_sizes_that_fit(size, fits):
    with pytest.raises(ValueError, match=f"{size} is not divisible by 8 devices; try {fits}$"):
        parallel.check_divisible(size, "batch")


def test_a_copy_on_the_host_outlives_the_device_buffer():
    array = parallel.replicate({"a": jnp.arange(4.0)})
    host = parallel.to_host(array)
    array["a"].delete()
    np.testing.assert_array_equal(host["a"], np.arange(4.0))


def test_a_step_is_mapped_over_the_devices_asked_for(key):
    half = jax.devices()[:4]
    mapped = parallel.mapped_step(_step, devices=half)
    x = np.arange(16, dtype=np.float32).reshape(4, 1, 4)
    state, metrics = mapped({"sum": jnp.zeros(())}, key, {"x": x})
    assert state["sum"].sharding.device_set == set(half)
    np.testing.assert_array_equal(metrics["mean"], [7.5])


def test_one_process_agrees_with_itself():
    np.testing.assert_array_equal(parallel.broadcast(np.arange(3)), np.arange(3))
    assert parallel.where(True) == [0] and parallel.where(False) == []
    parallel.wait_for_all()
    parallel.meet()


@pytest.mark.parametrize("most", [1, 8, 64, 512])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 65, 130, 520, 1000])
def test_a_batch_fits_what_is_asked_for_and_the_devices(count, most):
    devices = parallel.device_count()
    batch = parallel.fitting_batch(count, most=most)
    assert batch % devices == 0 and devices <= batch <= max(most, devices)
    # As few calls as the largest batch takes, and hardly more images than those.
    calls = -(-count // batch)
    assert calls == -(-count // (max(most // devices, 1) * devices))
    assert calls * batch < 1.125 * count + calls * devices
