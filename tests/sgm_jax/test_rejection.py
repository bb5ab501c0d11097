"""Rejection: what is kept has the density of real images, and depends on the seed and i only."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax import rejection_drawer
from sgm_jax.chosen import repeated
from sgm_jax.conditions import Conditions, Request
from sgm_jax.rejection import Rejecting, read_rejection
from sgm_jax.rejection_drawer import RejectionDrawer
from sgm_jax.sample import draw, sample
from sgm_jax.symmetry import turned
from sgm_jax.train import train
from sgm_jax.trained import from_run
from tests.tiny_discriminator import counted_images, discriminator_config
from tests.tiny_sarm import sarm_config

pytestmark = pytest.mark.usefixtures("optax_promotion")
# A world of four images of one pixel, which are drawn equally often.
REAL = np.array([0.4, 0.3, 0.2, 0.1])
RATIO = REAL / 0.25
LEVELS = np.array([0, 60, 120, 180], np.float32)


class DrawsEqually:
    """Used as a :class:`sgm_jax.drawer.Drawer`: draws one of four images by their numbers."""

    drawing = SimpleNamespace(num_steps=1)
    image_shape = (1, 1, 1)

    def __init__(self, batch_size):
        self.batch_size = batch_size

    def compile(self, variables):
        pass

    def draw_each(self, variables, numbers, condition, *, progress):
        assert not condition
        chosen = [np.random.default_rng([9, *row]).integers(4) for row in numbers.tolist()]
        return LEVELS[chosen].reshape(-1, 1, 1, 1)


def knows(ratio):
    """Return a discriminator that knows the ratio of each of the four images."""
    table = jnp.asarray(np.log(ratio), jnp.float32)

    def log_ratio(params, images):
        return table[jnp.round(images[:, 0, 0, 0] * 255 / 60).astype(jnp.int32)]

    data = SimpleNamespace(centered=False, transform="linear", saturation=0.0)
    config = SimpleNamespace(data=data)
    load = lambda: SimpleNamespace(params=jnp.zeros(1))  # noqa: E731
    return SimpleNamespace(generator=SimpleNamespace(log_ratio=log_ratio), config=config, load=load)


def drawer_of(ratio, bound, *, batch_size=64, seed=0):
    rejecting = (Rejecting(knows(ratio), bound),)
    return RejectionDrawer(
        DrawsEqually(batch_size), rejecting, seed=seed, samples=lambda images: images
    )


def drawn(drawer, first, count):
    images = drawer.draw(None, first, count, progress=lambda done: None)
    return np.searchsorted(LEVELS, images[:, 0, 0, 0])


@pytest.mark.parametrize("bound", [1.6, 3.0])
def test_what_is_kept_is_distributed_as_real_images(bound):
    drawer = drawer_of(RATIO, bound)
    count = 4000
    counts = np.bincount(drawn(drawer, 0, count), minlength=4)
    chi2 = ((counts - count * REAL) ** 2 / (count * REAL)).sum()
    assert chi2 < 16.3  # three degrees of freedom, p = 0.001
    share = drawer.kept / drawer.drawn
    error = np.sqrt(1 / bound * (1 - 1 / bound) / drawer.drawn)
    assert abs(share - 1 / bound) < 4 * error


def test_a_second_discriminator_mends_what_the_first_left():
    first = np.array([2.0, 0.6, 0.8, 0.6])  # as far as it has learnt the ratio
    left = 0.25 * np.minimum(first, 1.6)
    second = REAL / (left / left.sum())
    rejecting = (Rejecting(knows(first), 1.6), Rejecting(knows(second), 2.0))
    drawer = RejectionDrawer(DrawsEqually(64), rejecting, seed=0, samples=lambda images: images)
    count = 4000
    counts = np.bincount(drawn(drawer, 0, count), minlength=4)
    assert ((counts - count * REAL) ** 2 / (count * REAL)).sum() < 16.3
    share = left.sum() / 1.6 / 2.0
    assert abs(drawer.kept / drawer.drawn - share) < 4 * np.sqrt(share / drawer.drawn)


def test_larger_ratios_count_as_the_bound():
    counts = np.bincount(drawn(drawer_of(RATIO, 1.0), 0, 4000), minlength=4)
    expected = np.minimum(RATIO, 1)
    expected /= expected.sum()
    np.testing.assert_allclose(counts / 4000, expected, atol=4 * 0.5 / 4000**0.5)


def test_an_image_depends_on_the_seed_and_its_number_only():
    whole = drawn(drawer_of(RATIO, 2.0), 0, 300)
    other_batches = drawer_of(RATIO, 2.0, batch_size=8)
    parts = [drawn(other_batches, first, 60) for first in range(240, -1, -60)][::-1]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (drawn(drawer_of(RATIO, 2.0, seed=1), 0, 300) != whole).any()


def test_the_discriminator_sees_finished_images_from_the_first():
    # Three equal channels of a generator are finished as one grey one.
    drawer, shapes = DrawsEqually(64), []
    drawer.image_shape = (1, 1, 3)

    def samples(images):
        return images[..., :1]

    def log_ratio(params, images):
        shapes.append(images.shape[1:])
        return images[:, 0, 0, 0]

    knowing = knows(RATIO)
    knowing.generator.log_ratio = log_ratio
    rejecting = (Rejecting(knowing, 2.0),)
    RejectionDrawer(drawer, rejecting, seed=0, samples=samples).compile(None)
    assert set(shapes) == {(1, 1, 1)}


def test_progress_counts_every_image_once():
    done = []
    drawer_of(RATIO, 3.0).draw(None, 0, 100, progress=done.append)
    assert sum(done) == 100 and min(done) >= 0


def test_a_discriminator_that_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match="rejection_bound"):
        drawn(drawer_of(np.full(4, 1e-9), 1.0), 0, 100)


def test_the_last_candidate_of_an_image_is_kept_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(rejection_drawer, "MOST_CANDIDATES", 2)
    drawer = drawer_of(RATIO, 20.0)
    drawn(drawer, 0, 200)
    with caplog.at_level("WARNING"):
        drawer.report()
    assert drawer.forced > 100 and str(drawer.forced) in caplog.text


# ------------------------------------------------------------------------- with real networks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generator, images that it drew, and a discriminator of them."""
    import jax

    folder = tmp_path_factory.mktemp("rejection")
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        np.save(folder / f"{name}.npy", counted_images(rng, 40, 0.1))
    with jax.numpy_dtype_promotion("standard"):
        train(generator(folder), folder / "run")
        sample(generator(folder, seed=7), folder / "run", num_samples=24, out=folder / "drawn")
        train(discriminator_config(folder, **{"training.n_iters": 20}), folder / "discriminator")
    return folder


def generator(folder, **overrides):
    return sarm_config(folder, **{"data.image_size": 8, "model.window": 3} | overrides)


def rejecting(folder, **overrides):
    source = {"sampling.rejection": str(folder / "discriminator")}
    return generator(folder, **source | {"sampling.rejection_bound": 1.5} | overrides)


def test_samples_are_chosen_and_more_are_added_to_them(folder, tmp_path):
    run = folder / "run"
    few = sample(rejecting(folder), run, num_samples=8, out=tmp_path / "few")
    ours = np.load(few / "samples.npz")["samples"]
    recipe = json.loads((few / "recipe.json").read_text())
    assert 0 < recipe["kept_share"] <= 1 and recipe["rejection"]["bound"] == 1.5
    sample(rejecting(folder), run, num_samples=40, out=tmp_path / "few")
    more = np.load(few / "samples.npz")["samples"]
    assert len(more) == 40
    np.testing.assert_array_equal(more[:8], ours)
    # The same from Python, and by default in a folder whose name says it.
    trained = from_run(rejecting(folder), run)
    np.testing.assert_array_equal(draw(trained, 8), ours[..., 0])
    assert "rejection_1.5" in sample(rejecting(folder), run, num_samples=8).name


@pytest.fixture(scope="module")
def second(folder):
    """A discriminator that has learnt from what the first one keeps."""
    import jax

    with jax.numpy_dtype_promotion("standard"):
        train(second_config(folder), folder / "second")
    return folder / "second"


def second_config(folder, bound=1.5, **overrides):
    named = {"sampling.rejection": f"{folder / 'discriminator'}:{bound}", "model.directions": 4}
    return discriminator_config(folder, **named, **{"optim.schedule": "constant"} | overrides)


def test_a_second_discriminator_chooses_among_what_the_first_keeps(folder, second, tmp_path):
    first = folder / "discriminator"
    both = {"sampling.rejection": f"{first}:1.5,{second}:1.25"}
    out = sample(rejecting(folder, **both), folder / "run", num_samples=8, out=tmp_path / "both")
    recipe = json.loads((out / "recipe.json").read_text())
    assert [each["bound"] for each in recipe["rejection"]] == [1.5, 1.25]
    # The general bound is that of all that have none of their own.
    mixed = {"sampling.rejection": f"{first},{second}:1.25"}
    sample(rejecting(folder, **mixed), folder / "run", num_samples=8, out=tmp_path / "both")
    folder_name = sample(rejecting(folder, **both), folder / "run", num_samples=8).name
    assert "rejection_1.5_1.25" in folder_name


def test_a_second_discriminator_goes_with_the_first_alone(folder, second, tmp_path):
    first = folder / "discriminator"
    for named in (f"{second}", f"{first}:1.25,{second}", f"{second},{first}", f"{first},{first}"):
        config = rejecting(folder, **{"sampling.rejection": named})
        with pytest.raises(ValueError, match=r"sampling\.rejection"):
            sample(config, folder / "run", num_samples=8, out=tmp_path / "out")
    assert not (tmp_path / "out" / "samples.npz").exists()


def test_a_second_discriminator_goes_on_with_the_same_images_only(folder, second):
    with pytest.raises(ValueError, match="data.drawn_path"):
        train(second_config(folder, bound=1.25, **{"training.n_iters": 6}), second)
    train(second_config(folder, **{"training.n_iters": 6}), second)


def test_images_are_repeated_as_often_as_they_are_likely_to_be_kept():
    weights = np.array([0.0, 0.5, 1.0, 0.25, 1.0])
    expected = len(weights) * weights / weights.sum()
    counts = [np.bincount(repeated(weights, seed), minlength=5) for seed in range(400)]
    assert all(abs(count - expected).max() < 1 and count.sum() == 5 for count in counts)
    np.testing.assert_allclose(np.mean(counts, axis=0), expected, atol=0.1)


def test_images_are_turned_after_they_were_chosen(folder, tmp_path):
    run, mirrored = folder / "run", {"sampling.symmetry": "mirror"}
    images = [
        np.load(sample(config, run, num_samples=8, out=tmp_path / name) / "samples.npz")["raw"]
        for name, config in (
            ("as_drawn", rejecting(folder)),
            ("turned", rejecting(folder, **mirrored)),
        )
    ]
    recipe = json.loads((tmp_path / "as_drawn" / "recipe.json").read_text())
    assert "sampling.symmetry" not in recipe["config"]  # as in folders that are older
    expected = turned(images[0], "mirror", seed=rejecting(folder).seed, first=0)
    np.testing.assert_array_equal(images[1], expected)
    # One that has learnt from turned images does not know those that are only drawn.
    sample(generator(folder, seed=7, **mirrored), run, num_samples=24, out=tmp_path / "drawn")
    config = discriminator_config(folder, tmp_path / "drawn", **{"training.n_iters": 2})
    train(config, tmp_path / "discriminator")
    source = {"sampling.rejection": str(tmp_path / "discriminator")}
    with pytest.raises(ValueError, match=r"sampling\.symmetry: 'mirror' there"):
        sample(rejecting(folder, **source), run, num_samples=8, out=tmp_path / "other")


def test_another_bound_is_another_recipe(folder, tmp_path):
    sample(rejecting(folder), folder / "run", num_samples=8, out=tmp_path / "out")
    with pytest.raises(ValueError, match=r"rejection\.bound"):
        other = rejecting(folder, **{"sampling.rejection_bound": 1.2})
        sample(other, folder / "run", num_samples=8, out=tmp_path / "out")
    with pytest.raises(ValueError, match="rejection"):
        sample(generator(folder), folder / "run", num_samples=8, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"sampling.rejection_bound": 0.5}, "rejection_bound"),
        ({"sampling.rejection": "first,,second"}, r"sampling\.rejection"),
        ({"sampling.rejection": "lar64_sarm_discriminator:0.5"}, "bound"),
        ({"sampling.gate_temperature": 0.9}, r"sampling\.gate_temperature"),
        ({"sampling.rejection": "nowhere"}, "discriminator64"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, overrides, named):
    with pytest.raises((ValueError, FileNotFoundError), match=named):
        sample(rejecting(folder, **overrides), folder / "run", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_discriminator_of_other_weights_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="parameters"):
        sample(rejecting(folder), folder / "run", checkpoint=2, out=tmp_path / "out")


def test_a_generator_is_no_discriminator(folder, tmp_path):
    source = {"sampling.rejection": str(folder / "run")}
    with pytest.raises(ValueError, match="'discriminator'"):
        sample(rejecting(folder, **source), folder / "run", out=tmp_path / "out")


def test_conditions_are_refused(folder):
    config = rejecting(folder)
    with pytest.raises(ValueError, match="observable"):
        read_rejection(config, Conditions((8, 8), observable="total_charge", target=9.0))
    with pytest.raises(ValueError, match="16, 16"):
        read_rejection(config, Conditions((16, 16)))


def test_chosen_images_are_not_learnt_from(folder, tmp_path):
    out = sample(rejecting(folder), folder / "run", num_samples=24, out=tmp_path / "chosen")
    with pytest.raises(ValueError, match="data.drawn_path"):
        train(discriminator_config(folder, out), tmp_path / "again")


def test_images_of_unknown_origin_lead_to_a_warning(folder, tmp_path, caplog):
    np.save(tmp_path / "drawn.npy", np.load(folder / "drawn" / "samples.npz")["samples"])
    with caplog.at_level("WARNING"):
        train(discriminator_config(folder, tmp_path / "drawn.npy"), tmp_path / "run")
        assert "data.drawn_path" in caplog.text
        config = rejecting(folder, **{"sampling.rejection": str(tmp_path / "run")})
        sample(config, folder / "run", num_samples=8, out=tmp_path / "out")
    assert "sampling.rejection" in caplog.text


@pytest.mark.parametrize("config_of", [rejecting, generator])
def test_requests_of_pixels_are_refused(folder, tmp_path, config_of):
    # With a discriminator, and without one: this generator knows no pixels of images either.
    known = {"inpaint": np.zeros((1, 8, 8), np.uint8), "mask": np.eye(8, dtype=bool)}
    with pytest.raises(ValueError, match="--inpaint"):
        sample(config_of(folder), folder / "run", request=Request(**known), out=tmp_path / "out")
