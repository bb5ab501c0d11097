"""Conditions of the command: refused at the door, fulfilled by every image, whatever the batch."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from PIL import Image

from sgm_jax.conditions import Conditions, Request, read_conditions
from sgm_jax.data import PixelScale, from_array, to_uint8
from sgm_jax.drawer import Drawer
from sgm_jax.generators.score import build
from sgm_jax.sample import sample
from sgm_jax.sde import VPSDE, per_image
from sgm_jax.step import Variables
from sgm_jax.train import train
from tests.tiny_run import tiny_config, write_images

pytestmark = pytest.mark.usefixtures("optax_promotion")
SPREAD = 0.2


@pytest.fixture
def images(tmp_path):
    """Images, masks and pictures for the refusals."""
    write_images(tmp_path, count=3)
    mask = np.zeros((16, 16), bool)
    mask[:, :8] = True
    np.save(tmp_path / "mask.npy", mask)
    np.save(tmp_path / "two.npy", np.stack([mask, ~mask]))
    np.save(tmp_path / "wide.npy", np.repeat(mask, 2, axis=1))
    np.save(tmp_path / "number.npy", mask.astype(np.float32))
    np.save(tmp_path / "all.npy", np.ones_like(mask))
    Image.fromarray(np.uint8(255 * mask)).save(tmp_path / "mask.png")
    Image.fromarray(np.uint8(100 * mask)).save(tmp_path / "grey.png")
    (tmp_path / "text.npy").write_text("no mask")
    return tmp_path


def asked(folder, changes=None, **fields):
    """Return the conditions of a request whose files lie in a folder."""
    paths = {name: str(folder / fields.pop(name)) for name in ("inpaint", "mask") if name in fields}
    return read_conditions(Request(**paths, **fields), tiny_config(folder, **changes or {}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask": "mask.npy"}, "--mask says nothing without --inpaint"),
        ({"resample": 2}, "--resample says nothing without --inpaint"),
        ({"stride": 8}, "--stride says nothing without --canvas"),
        ({"target": 1.0}, "--target says nothing without --observable"),
        ({"inpaint": "test.npy"}, "--inpaint needs --mask"),
        ({"inpaint": "test.npy", "mask": "wide.npy"}, r"wide.npy .*\(16, 32\) .*\(16, 16\)"),
        ({"inpaint": "test.npy", "mask": "two.npy"}, "2 masks for the 3 images of .*test.npy"),
        ({"inpaint": "test.npy", "mask": "number.npy"}, "float32 .* a mask is boolean"),
        ({"inpaint": "test.npy", "mask": "all.npy"}, "100% of the pixels are known"),
        ({"inpaint": "test.npy", "mask": "grey.png"}, "grey levels such as 100"),
        ({"inpaint": "test.npy", "mask": "text.npy"}, "no mask can be read"),
        ({"inpaint": "test.npy", "mask": "mask.npy", "resample": 0}, "--resample is 0"),
        ({"canvas": "32"}, "give HEIGHTxWIDTH"),
        ({"canvas": "32x20"}, "canvas of 20; make it 24"),
        ({"canvas": "32x32", "stride": 17}, "stride is 17; it must be 1 to the tile's size, 16"),
        ({"canvas": "32x32", "inpaint": "test.npy", "mask": "mask.npy"}, r"images of \(32, 32\)"),
        ({"canvas": "16x32", "inpaint": "test.npy", "mask": "wide.npy"}, r"test.npy .*\(16, 16\)"),
        ({"observable": "mass", "target": 1.0}, "can be: total_charge"),
        ({"observable": "total_charge"}, "needs --target"),
        ({"observable": "total_charge", "target": float("nan")}, "needs --target, a finite"),
        ({"observable": "total_charge", "target": 0.0}, "--spread is 0.0; it must be above 0"),
        ({"observable": "total_charge", "target": -5.0}, "from 0 to 65280"),
        ({"observable": "total_charge", "target": 65281.0}, "from 0 to 65280"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(fields, message, images):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        asked(images, **fields)


def test_a_solver_that_chooses_its_steps_takes_no_repeats(images):
    fields = {"inpaint": "test.npy", "mask": "mask.npy"}
    ode = {"sampling.method": "ode"}
    assert asked(images, **fields).repeats == 10 and asked(images, ode, **fields).repeats == 1
    with pytest.raises(ValueError, match="chooses its own steps"):
        asked(images, ode, resample=2, **fields)


def test_files_that_are_not_there_are_named(images):
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        asked(images, inpaint="none.npy", mask="mask.npy")
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        asked(images, inpaint="test.npy", mask="none.png")


def test_a_picture_says_what_an_array_says(images):
    ours, theirs = (asked(images, inpaint="test.npy", mask=f"mask.{s}") for s in ("npy", "png"))
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert ours.recipe == theirs.recipe


def test_arrays_say_what_files_say(images):
    array, two = np.load(images / "test.npy")[:2], np.load(images / "two.npy")
    np.save(images / "first.npy", array)
    files = asked(images, inpaint="first.npy", mask="two.npy")
    ours = read_conditions(Request(inpaint=array, mask=two), tiny_config(images))
    assert ours.recipe == files.recipe
    jax.tree.map(np.testing.assert_array_equal, ours.given(np.arange(3)), files.given(np.arange(3)))


@pytest.mark.parametrize(
    ("inpaint", "mask", "message"),
    [
        (np.full((2, 16, 16), 9), np.eye(16), "the array mask: float64 .* a mask is boolean"),
        (np.full((2, 16, 16), 9), np.ones((16, 16), bool), "the array mask: 100%"),
        (np.full((16, 16), 9), np.eye(16) > 0, r"the array inpaint: shape \(16, 16\)"),
        (np.full((2, 16, 16), 300.0), np.eye(16) > 0, "the array inpaint: .*outside 0..255"),
        (np.full((2, 8, 8), 9), np.eye(16) > 0, r"the array inpaint .*\(8, 8\).*\(16, 16\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(inpaint, mask, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_conditions(Request(inpaint=inpaint, mask=mask), tiny_config(tmp_path))


def test_image_i_gets_the_known_pixels_of_image_i_modulo_their_number(images):
    known = asked(images, inpaint="test.npy", mask="mask.npy").given(np.array([1, 4, 5]))["known"]
    np.testing.assert_array_equal(known[0], known[1])
    want = np.load(images / "test.npy")[2, :, :8, None]
    np.testing.assert_allclose(PixelScale(True).from_model(known[2][:, :8]), want, atol=1e-4)


@pytest.mark.parametrize("scaling", ["none", "per_image", "quantile", "fixed:4000"])
@pytest.mark.parametrize("hidden", [0.0, 9e9, -7.0, np.nan])
def test_what_the_mask_hides_changes_nothing(scaling, hidden, tmp_path):
    """Dead wires hold anything: the scale of an image is that of its known pixels."""
    known = np.random.default_rng(0).random((2, 5)) < 0.5
    charge = 100 * np.random.default_rng(1).random((4, 2, 5)).astype(np.float32)
    config = tiny_config(tmp_path, **{"data.scaling": scaling, "data.image_size": 2})
    canvas = "2x5"
    np.save(tmp_path / "charge.npy", np.where(known, charge, hidden))
    ours = Request(inpaint=str(tmp_path / "charge.npy"), mask=known, canvas=canvas, stride=1)
    ours = read_conditions(ours, config)
    theirs = Request(inpaint=charge[..., None], mask=known, canvas=canvas, stride=1)
    theirs = read_conditions(theirs, config)
    assert ours.recipe == theirs.recipe
    want = np.where(known, charge, 0)
    brightest = want.max(axis=(1, 2), keepdims=True)
    if scaling == "per_image":
        want = want / brightest * 255
    elif scaling == "fixed:4000":
        want = want / 4000 * 255
    given = ours.given(np.arange(4))
    jax.tree.map(np.testing.assert_array_equal, given, theirs.given(np.arange(4)))
    if scaling != "quantile":
        got = PixelScale.from_config(config.data).from_model(given["known"])[..., 0]
        np.testing.assert_allclose(got, want, atol=1e-3)


def white_noise(folder, changes=None, **fields):
    """Return a drawer of independent Gaussian pixels under conditions, and those."""
    steps = {"sampling.method": "heun", "sampling.num_steps": 18, "sampling.sigma_min": 0.01}
    config = tiny_config(folder, **steps | (changes or {}))

    def score(params):
        del params
        sde = VPSDE()
        return lambda x, t: -x / per_image((sde.mean_coeff(t) * SPREAD) ** 2 + sde.std(t) ** 2, x)

    generator = dataclasses.replace(build(config), score=score)
    under = dataclasses.replace(Conditions((16, 16)), **fields)
    return Drawer(generator, batch_size=64, seed=3, conditions=under)


def draw(drawer, first, count):
    return drawer.draw(Variables({}), first, count, progress=lambda done: None)


def test_the_charge_of_every_image_is_the_one_asked_for(tmp_path):
    fields = {"observable": "total_charge", "target": 34_000.0, "spread": 100.0}
    drawer = white_noise(tmp_path, **fields)
    images = draw(drawer, 0, 64)
    grey = PixelScale(True).from_model(images).sum(axis=(1, 2, 3))
    # Unasked: 256 pixels of 127.5 +- 25.5, so 32640 +- 408. Bayes' rule for a spread of 100:
    prior, spread = 256 * 25.5**2, 100.0**2
    mean = (32_640 * spread + 34_000 * prior) / (prior + spread)
    std = (prior * spread / (prior + spread)) ** 0.5
    np.testing.assert_allclose(grey.mean(), mean, atol=3 * std / 8 + 10)
    np.testing.assert_allclose(grey.std(), std, rtol=0.3)
    assert drawer.drawing.nfe == 35


def test_what_was_compiled_once_draws_any_number_of_images(tmp_path, caplog):
    drawer = white_noise(tmp_path)
    drawer.compile(Variables({}))
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        for first, count in ((0, 64), (64, 5)):
            draw(drawer, first, count)
        assert "Compiling" not in caplog.text
        jax.jit(lambda x: x + first)(0.0)
        assert "Compiling" in caplog.text


@pytest.mark.parametrize(("steps", "told"), [(3, [3]), (12, [5, 5, 2]), (110, 18 * [6] + [2])])
def test_progress_is_told_twenty_times_but_after_five_steps_at_least(tmp_path, steps, told):
    drawer, heard = white_noise(tmp_path, {"sampling.num_steps": steps}), []
    drawer.draw(Variables({}), 0, 10, progress=heard.append)
    assert heard == [10 * one for one in told]


def test_a_canvas_is_drawn_whole_and_costs_its_tiles(tmp_path):
    drawer = white_noise(tmp_path, size=(24, 32), tile=16, stride=8)
    images = draw(drawer, 0, 3)
    assert images.shape == (3, 24, 32, 1) and drawer.drawing.nfe == 35 * 2 * 3
    np.testing.assert_allclose(images.std(), SPREAD, rtol=0.1)


@pytest.mark.parametrize("method", ["heun", "pc"])
def test_known_pixels_are_exact_and_images_do_not_depend_on_the_batch(method, tmp_path):
    known = from_array(
        np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(np.uint8),
        num_channels=1,
        image_size=16,
    )
    mask = np.random.default_rng(1).random((3, 16, 16, 1)) < 0.5
    changes = {"sampling.method": method, "model.num_scales": 50}
    drawer = white_noise(tmp_path, changes, known=known, mask=mask, repeats=2)
    images = draw(drawer, 0, 6)
    given = drawer._conditions.given(np.arange(6))
    np.testing.assert_array_equal(images[given["mask"]], given["known"][given["mask"]])
    np.testing.assert_allclose(images[~given["mask"]].std(), SPREAD, rtol=0.25)
    # The same known pixels, and still another image: another number, another key.
    assert np.abs(images[0] - images[3]).max() > SPREAD
    np.testing.assert_allclose(draw(drawer, 4, 2), images[4:], atol=1e-5)


def test_the_charge_that_was_drawn_is_that_of_the_samples():
    """Not less, though whole levels and the cut at 4 take some of it away."""
    rng = np.random.default_rng(0)
    lit = rng.random((6, 64, 64, 1)) < 0.1
    raw = np.where(lit, rng.gamma(2, 15, lit.shape), rng.normal(0, 0.3, lit.shape))
    raw *= 12_000 / raw.sum(axis=(1, 2, 3), keepdims=True)
    raw *= np.array([0.995, 1.0, 1.005, 1.2, 0.7, 2.0])[:, None, None, None]
    fields = {"observable": "total_charge", "target": 12_000.0, "spread": 100.0}
    conditions = Conditions((64, 64), **fields)
    assert (raw - to_uint8(raw)).sum(axis=(1, 2, 3)).min() > 100
    samples = conditions.to_samples(raw, np.arange(6))
    charge = samples.astype(int).sum(axis=(1, 2, 3))
    # A pixel that passes the cut adds 5; what would take more than a quarter is left as it is.
    np.testing.assert_allclose(charge[:3], [11_940, 12_000, 12_060], atol=5)
    # Guidance missed by a fifth, and this image comes to within one spread all the same.
    assert abs(charge[3] - 12_000) < 105
    # Which place there it gets, its number decides, and nothing beside it.
    alone = conditions.to_samples(raw[3:4], np.array([3]))
    np.testing.assert_array_equal(alone, samples[3:4])
    assert charge[4] < 11_000 and charge[5] > 13_000
    summary = conditions.summary(conditions.reached(samples))
    np.testing.assert_allclose(summary["within_three_spreads"], 4 / 6)
    assert (samples[~lit] == 0).all() and summary["largest"] == charge.max()


def test_a_target_below_the_known_charge_is_refused(tmp_path):
    known = np.zeros((300, 16, 16), np.uint8)
    known[270, :2] = 100
    request = {"inpaint": known, "mask": np.arange(256).reshape(16, 16) < 200}
    request |= {"observable": "total_charge", "spread": 10.0}
    config = tiny_config(tmp_path)
    read_conditions(Request(target=3200.0, **request), config)
    with pytest.raises(ValueError, match="from 3200 to 14280 with .* image 270"):
        read_conditions(Request(target=3199.0, **request), config)
    with pytest.raises(ValueError, match="from 3200 to 14280"):
        read_conditions(Request(target=14_281.0, **request), config)


def test_faint_known_pixels_are_exact_in_the_samples(tmp_path):
    known = np.arange(2 * 256).reshape(2, 16, 16).astype(np.uint8) % 7
    mask = np.arange(16)[None].repeat(16, axis=0) < 8
    config = tiny_config(tmp_path, **{"data.transform": "log"})
    conditions = read_conditions(Request(inpaint=known, mask=mask), config)
    raw = np.full((3, 16, 16, 1), 4.5, np.float32)
    samples = conditions.to_samples(raw, np.array([0, 1, 2]))[..., 0]
    np.testing.assert_array_equal(samples[:, mask], known[[0, 1, 0]][:, mask])
    assert (samples[:, ~mask] == 0).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with every choice of times and averages, and a mask."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder)
    np.save(folder / "known.npy", np.load(folder / "test.npy")[:3])
    Image.fromarray(np.uint8(255 * (np.arange(16) < 8)[None].repeat(16, 0))).save(folder / "m.png")
    changes = {
        "model.ema_rates": (0.1,),
        "training.likelihood_weighting": True,
        "training.time_sampling": "importance",
        "training.low_discrepancy": True,
    }
    with jax.numpy_dtype_promotion("standard"):
        train(tiny_config(folder, **changes), folder / "run")
    return folder, lambda **more: tiny_config(folder, **changes, **more)


def test_samples_under_conditions_say_so(trained):
    folder, config = trained
    inpaint, mask = str(folder / "known.npy"), str(folder / "m.png")
    request = Request(inpaint=inpaint, mask=mask, resample=2)
    out = sample(config(), folder / "run", num_samples=4, request=request, ema_rate=0.1)
    assert out.name == "step_000004_ema_0.1_inpaint"
    raw = np.load(out / "samples.npz")["raw"]
    want = np.load(folder / "known.npy")[[0, 1, 2, 0], :, :8, None]
    np.testing.assert_allclose(raw[:, :, :8], want, atol=1e-4)
    np.testing.assert_array_equal(np.load(out / "samples.npz")["samples"][:, :, :8], want)
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["conditions"].keys() == {"inpaint", "mask", "resample"}
    assert recipe["ema_rate"] == 0.1 and recipe["network_evaluations"] == 19
    with pytest.raises(ValueError, match=r"another recipe \(conditions.*; ema_rate: 0.1 there"):
        sample(config(), folder / "run", num_samples=4, out=out)
    with pytest.raises(ValueError, match=r"--ema is 0\.5; .* averages: 0\.9999, 0\.1"):
        sample(config(), folder / "run", ema_rate=0.5)
