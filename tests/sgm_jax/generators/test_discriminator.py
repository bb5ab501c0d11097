"""The discriminator: the ratio that it learns, what it sees, resuming, and its configuration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale, to_uint8
from sgm_jax.generator import Purpose, run_key
from sgm_jax.generators.discriminator import build
from sgm_jax.run import parallel
from sgm_jax.step import with_variables
from sgm_jax.train import train
from sgm_jax.trained import read_weights
from tests.tiny_discriminator import counted_images, discriminator_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
SCALE = PixelScale(centered=False, transform="log")
# How often a pixel is lit in real images, and in drawn ones.
REAL, DRAWN = 0.15, 0.10


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, share in (("train", REAL), ("test", REAL), ("drawn", DRAWN)):
        np.save(tmp_path / f"{name}.npy", counted_images(rng, 40, share))
    return tmp_path


def trained_on(discriminator, batch, count):
    """Return the state and the loss after so many updates on the batches of a function."""
    root, state = run_key(0, Purpose.TRAINING), discriminator.initial_state(jax.random.key(0))
    step = jax.jit(
        jax.vmap(discriminator.train_step, in_axes=(None, None, 0), axis_name=parallel.AXIS)
    )
    for _ in range(count):
        split = jax.tree.map(lambda leaf: leaf[None], batch())
        state, metrics = jax.tree.map(lambda leaf: leaf[0], step(state, root, split))
    return state, float(metrics["loss"])


def test_it_learns_the_ratio_of_two_densities(folder):
    options = {"optim.lr": 3e-3, "training.n_iters": 300}
    discriminator = build(discriminator_config(folder, folder / "drawn.npy", **options))
    rng = np.random.default_rng(1)

    def batch():
        sets = (counted_images(rng, 64, share) for share in (REAL, DRAWN))
        real, drawn = (SCALE.to_model(images[..., None]) for images in sets)
        return {"image": real, "drawn": drawn, "index": np.arange(64)}

    state, _ = trained_on(discriminator, batch, 300)
    images = counted_images(rng, 400, (REAL + DRAWN) / 2)
    lit = (images > 0).sum((1, 2))
    # Independent pixels: the ratio depends on how many are lit.
    exact = lit * np.log(REAL / DRAWN) + (64 - lit) * np.log((1 - REAL) / (1 - DRAWN))
    learnt = discriminator.log_ratio(state.ema_params, SCALE.to_model(images[..., None]))
    slope, offset = np.polyfit(exact, learnt, 1)
    assert 0.75 < slope < 1.25 and abs(offset) < 0.3
    assert np.corrcoef(exact, learnt)[0, 1] > 0.95


def test_where_images_lie_does_not_count_where_both_are_shifted(folder):
    images = np.zeros((2, 64, 8, 8, 1), np.float32)
    images[0, :, 4, 4] = images[1, :, 3, 3] = 1.0
    batch = {"image": images[0], "drawn": images[1], "index": np.arange(64)}
    options = {"optim.lr": 3e-3, "training.n_iters": 60}

    def loss(shift):
        config = discriminator_config(folder, **options, **{"model.shift": shift})
        return trained_on(build(config), lambda: batch, 60)[1]

    assert loss(0) < 0.1 and loss(4) > 0.6


def kinked(rng, count, kink, side=16):
    """Return bright lines of 12 pixels across images, whose second half is shifted by ``kink``."""
    images = np.zeros((count, side, side), np.uint8)
    slope = rng.uniform(-0.4, 0.4, (count, 1))
    rows = np.arange(2, 14)
    columns = rng.uniform(6, 10, (count, 1)) + slope * (rows - 8) + kink * (rows >= 8)
    places = np.clip(np.round(columns).astype(int), 0, side - 1)
    images[np.arange(count)[:, None], rows, places] = 200
    return images


def test_sums_along_lines_tell_straight_tracks(folder):
    rng = np.random.default_rng(3)

    def batch():
        real, drawn = (SCALE.to_model(kinked(rng, 32, kink)[..., None]) for kink in (0, 2))
        return {"image": real, "drawn": drawn, "index": np.arange(32)}

    def loss(directions):
        options = {"data.image_size": 16, "model.directions": directions, "optim.lr": 3e-3}
        config = discriminator_config(folder, **options, **{"training.n_iters": 40})
        return trained_on(build(config), batch, 40)[1]

    assert loss(12) < loss(0) - 0.1


def test_one_with_lines_begins_as_one_without(folder):
    options = {"drawn": folder / "drawn.npy", "optim.schedule": "constant"}
    train(discriminator_config(folder, **options), folder / "run")
    first = read_weights(str(folder / "run" / "best.npz"))
    config = discriminator_config(folder, **options, **{"model.directions": 4})
    first.check_begins(config)
    images = SCALE.to_model(counted_images(np.random.default_rng(6), 8, REAL)[..., None])
    without, with_lines = build(first.config), build(config)
    state = with_lines.initial_state(jax.random.key(1))
    state = with_variables(state, first.variables(with_lines, begins=True))
    expected = without.log_ratio(first.variables(without).params, images)
    np.testing.assert_allclose(with_lines.log_ratio(state.params, images), expected, rtol=1e-5)
    # What has learnt to look along lines is not begun with where there are none.
    train(config, folder / "lines")
    with pytest.raises(ValueError, match="model.directions"):
        read_weights(str(folder / "lines" / "best.npz")).check_begins(first.config)


def test_drawn_images_are_seen_as_they_are_written(folder):
    discriminator = build(discriminator_config(folder, folder / "drawn.npy"))
    params = discriminator.initial_state(jax.random.key(0)).params
    # Its last layer begins with zeros.
    params["last"]["kernel"] = jnp.ones_like(params["last"]["kernel"])
    raw = np.random.default_rng(2).uniform(-3, 270, (8, 8, 8, 1)).astype(np.float32)
    raw[raw > 100] = 0.05 * (raw[raw > 100] - 100)  # many around the cut
    written = to_uint8(raw)
    seen = discriminator.log_ratio(params, SCALE.to_model(raw))
    again = discriminator.log_ratio(params, SCALE.to_model(written))
    np.testing.assert_allclose(seen, again, rtol=1e-5)
    faint = written + np.uint8(1) * (written == 0)  # level 1 counts as dark
    np.testing.assert_allclose(discriminator.log_ratio(params, SCALE.to_model(faint)), again)
    assert np.ptp(np.asarray(again)) > 0


def test_a_stopped_training_goes_on_as_if_it_had_not_been(folder):
    options = {"drawn": folder / "drawn.npy", "optim.schedule": "constant"}
    whole = train(discriminator_config(folder, **options), folder / "whole")
    train(discriminator_config(folder, **options, **{"training.n_iters": 2}), folder / "parts")
    parts = train(discriminator_config(folder, **options), folder / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    # The best weights lie beside the checkpoints.
    assert (folder / "whole" / "best.npz").is_file()


def test_other_drawn_images_are_another_run(folder):
    constant = {"optim.schedule": "constant"}
    train(discriminator_config(folder, folder / "drawn.npy", **constant), folder / "run")
    other = counted_images(np.random.default_rng(5), 40, DRAWN)
    np.save(folder / "other.npy", other)
    with pytest.raises(ValueError, match="data.drawn_path"):
        train(
            discriminator_config(folder, folder / "other.npy", **constant),
            folder / "run",
        )
    # Elsewhere they are the same images.
    (folder / "drawn.npy").rename(folder / "moved.npy")
    train(discriminator_config(folder, folder / "moved.npy", **constant), folder / "run")


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"data.drawn_path": ""}, "data.drawn_path"),
        ({"data.centered": True}, "data.centered"),
        ({"training.snapshot_sampling": True}, "training.snapshot_sampling"),
        ({"model.channels": ()}, "model.channels"),
        ({"model.channels": (8, 8, 8, 8)}, "data.image_size"),
        ({"model.threshold": 255}, "model.threshold"),
        ({"model.shift": 5}, "model.shift"),
        ({"model.hidden": 0}, "model.hidden"),
        ({"model.directions": 400}, "model.directions"),
        ({"model.directions": -1}, "model.directions"),
        ({"model.directions": 8, "model.line_channels": (8,)}, "model.line_channels"),
        ({"model.directions": 8, "model.line_channels": (8, 4.5)}, "model.line_channels"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(folder, overrides, field):
    with pytest.raises(ValueError, match=field):
        discriminator_config(folder, **overrides)


def test_drawn_images_must_be_there_and_enough(folder):
    with pytest.raises(FileNotFoundError, match="data.drawn_path"):
        train(discriminator_config(folder, folder / "nowhere"), folder / "run")
    np.save(folder / "few.npy", np.load(folder / "drawn.npy")[:15])
    with pytest.raises(ValueError, match="data.drawn_path"):
        train(discriminator_config(folder, folder / "few.npy"), folder / "run")
    assert not (folder / "run").exists()


def test_it_draws_nothing(folder):
    discriminator = build(discriminator_config(folder, folder / "drawn.npy"))
    with pytest.raises(ValueError, match="sampling.rejection"):
        discriminator.drawing(Conditions((8, 8)))
