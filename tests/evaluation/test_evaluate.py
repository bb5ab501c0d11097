import numpy as np
import pytest
from PIL import Image

from evaluation import evaluate
from evaluation.images import alike
from evaluation.images.sets import load
from evaluation.metrics.metric import Metric, Result
from tests.evaluation.drawn_images import drawn_images


@pytest.fixture(scope="module")
def images():
    return {name: drawn_images(60, seed=k, size=16) for k, name in enumerate(("real", "a", "b"))}


def test_arrays_files_and_sets_give_the_same_numbers(images, tmp_path):
    np.save(tmp_path / "a.npy", images["a"])
    loaded = load(images["a"], "loaded", limit=None, seed=0)
    forms = {"array": images["a"], "channel": images["a"][..., None]}
    forms |= {"file": str(tmp_path / "a.npy"), "path": tmp_path / "a.npy", "loaded": loaded}
    report = evaluate(images["real"], forms, train=images["b"], ssnet=False, metrics="looking")
    assert list(report.roles) == [
        "real",
        "train",
        *(f"generated{k}" for k in ("", "_2", "_3", "_4", "_5")),
    ]
    by_set = {name: report["looking/mean_image", name] for name in forms}
    assert len({(row.value, row.stderr, row.floor, row.p) for row in by_set.values()}) == 1
    assert report["looking/mean_image"] is by_set["array"]
    with pytest.raises(KeyError, match="there are looking/mean_image"):
        report["looking/none"]


def test_figures_are_drawn_when_they_are_asked_for_and_saved(images, tmp_path):
    report = evaluate(images["real"], images["a"], ssnet=False, metrics=["looking"])
    assert report.figure("charge").axes
    report.save(tmp_path / "with")
    assert (tmp_path / "with/figures/grid_generated.png").is_file()
    (tmp_path / "with/observables_old.npz").write_bytes(b"")
    report.save(tmp_path / "with", figures=False)  # in the place of the other
    names = {path.name for path in (tmp_path / "with").iterdir()}
    assert names == {
        "report.json",
        "report.md",
        "report.html",
        "observables_real.npz",
        "observables_generated.npz",
    }


def test_a_metric_of_ones_own_is_computed_and_defined(images):
    def brightness(pair, budget, seed):
        return [Result("brightness", float(pair.generated.images.mean() - pair.real.images.mean()))]

    metric = Metric("brightness", brightness, "difference of the mean pixels")
    report = evaluate(images["real"], images["a"], ssnet=False, metrics=[metric])
    assert report["brightness"].value == images["a"].mean() - images["real"].mean()
    assert report.to_dict()["definitions"] == {"brightness": metric.definitions}


def test_given_labels_split_the_images_and_ssnet_is_not_opened(images, tmp_path):
    labels = {name: np.arange(60) % 2 == 0 for name in ("real", "train", "generated")}
    report = evaluate(
        images["real"],
        images["a"],
        train=images["b"],
        labels=labels,
        ssnet=tmp_path / "none.npz",
        metrics="physics/charge,ssnet/track_fraction",
    )
    assert report["physics/showers/charge/w1"].n == 30
    assert report["ssnet/track_fraction"].value == 0.0
    with pytest.raises(ValueError, match="labels for fake, but the sets are real, generated"):
        evaluate(images["real"], images["a"], labels={"fake": labels["real"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "large"}, "'large' is unknown; choose from small, paper, full"),
        ({"metrics": ["chi3"]}, "unknown metrics"),
        ({"generated": {"real": "x"}}, "one name"),
        ({"generated": np.full((5, 16, 16), 0.5)}, "multiply by 255"),
    ],
)
def test_bad_arguments_are_refused_with_the_fix(images, changes, message):
    given = {"real": images["real"], "generated": images["a"]} | changes
    with pytest.raises(ValueError, match=message):
        evaluate(**given)


def test_empty_images_are_a_bad_generator_not_an_error(images):
    with pytest.raises(ValueError, match="multiply by 255"):
        load(np.ones((60, 16, 16), np.uint8), "x", limit=None, seed=0)
    assert len(load(np.zeros((60, 16, 16), np.float32), "x", limit=None, seed=0)) == 60
    report = evaluate(images["real"], np.zeros((60, 16, 16), np.uint8), ssnet=False)
    assert any("generated: all 60 images are empty" in text for text in report.warnings)
    assert {row.status for row in report.results} <= {
        "ok",
        "skipped",
        "undefined",
        "too few images",
    }
    assert report["looking/mean_image"].value == pytest.approx(1.0)
    assert report.summary().kinds["charge"]["generated"].verdict == "differs"


def test_charges_are_compared_on_the_scale_of_training(images, tmp_path):
    counts = images["real"] * np.arange(1, 61)[:, None, None]  # each image of another full scale
    np.save(tmp_path / "adc.npy", counts.astype(np.int32))
    given = {"ssnet": False, "metrics": "looking", "threshold": 0}
    with pytest.raises(ValueError, match="--scaling=per_image"):
        evaluate(tmp_path / "adc.npy", images["a"], **given)
    scaled = evaluate(tmp_path / "adc.npy", images["a"], scaling="per_image", **given)
    full = images["real"].max(axis=(1, 2), keepdims=True)
    same = evaluate(np.float32(images["real"] / full * 255), images["a"], **given)
    assert scaled["looking/mean_image"].value == pytest.approx(
        same["looking/mean_image"].value, rel=1e-6
    )
    assert scaled.sets["real"]["pixel_scale"] == "0..255 by per_image"
    other = evaluate(images["a"], tmp_path / "adc.npy", generated_scaling="fixed:15300", **given)
    assert other.sets["generated"]["largest_pixel"] == 255.0
    assert other.sets["real"]["pixel_scale"] == "0..255"


def test_sets_on_two_scales_are_warned_of(images):
    given = {"ssnet": False, "metrics": "looking"}
    in_mev = np.float32(images["a"] / 20)
    (text,) = [t for t in evaluate(images["real"], in_mev, **given).warnings if "one scale" in t]
    assert "--generated_scaling=per_image" in text
    assert not alike.differences(evaluate(images["real"], images["a"], **given).sets, "real")
    texts = evaluate(images["real"], images["a"], train=in_mev, **given).warnings
    assert any("give --scaling=per_image" in text for text in texts)


def _with_faint(images):
    """Give an eighth of the pixels beside the charge a value of 1 to 8."""
    rng = np.random.default_rng(0)
    faint = rng.integers(1, 9, images.shape) * (rng.random(images.shape) < 0.125)
    return np.where(images > 0, images, faint).astype(np.uint8)


def test_sets_cut_differently_are_cut_alike_and_the_report_says_so(images):
    faint = {name: _with_faint(of) for name, of in images.items()}
    cut = np.where(faint["a"] > 4, faint["a"], 0).astype(np.uint8)
    given = {"train": faint["b"], "ssnet": False, "metrics": "physics/hit_multiplicity"}
    # The same images but for the cut: the numbers of lit pixels must be the same.
    report = evaluate(faint["a"], cut, **given)
    assert report["physics/all/hit_multiplicity/w1"].value == 0.0
    assert {facts["threshold"] for facts in report.sets.values()} == {4}
    assert [text for text in report.warnings if "--threshold=0 compares" in text]
    as_they_are = evaluate(faint["a"], cut, threshold=0, **given)
    assert as_they_are["physics/all/hit_multiplicity/w1"].value > 5
    assert [text for text in as_they_are.warnings if "--threshold=4 treats" in text]
    # A few faint pixels that are left do not hide a cut: grey values of three channels.
    cut[:, 0, 0] = 2
    assert evaluate(faint["a"], cut, **given).sets["real"]["threshold"] == 4
    # Faint pixels of the generator alone may be its flaw.
    clean = np.where(faint["a"] > 4, faint["a"], 0).astype(np.uint8)
    flawed = evaluate(clean, faint["a"], **given | {"train": clean})
    assert flawed.sets["real"]["threshold"] == 0
    assert [text for text in flawed.warnings if "--threshold=4 treats" in text]


def test_one_of_three_planes_is_compared(images):
    planes = {name: np.stack([of, of[::-1], of // 2], axis=-1) for name, of in images.items()}
    given = {"ssnet": False, "metrics": "looking", "threshold": 0}
    with pytest.raises(ValueError, match="--plane=0"):
        evaluate(planes["real"], planes["a"], **given)
    with pytest.raises(ValueError, match="there are planes 0, 1 and 2"):
        evaluate(planes["real"], planes["a"], plane=3, **given)
    halves = evaluate(images["real"] // 2, images["a"] // 2, **given)["looking/mean_image"]
    found = evaluate(planes["real"], planes["a"], plane=2, **given)["looking/mean_image"]
    assert found.value == halves.value
    grey = evaluate(planes["real"], images["a"] // 2, plane=2, **given)["looking/mean_image"]
    assert grey.value == halves.value
    equal = np.repeat(images["a"][..., None], 3, axis=-1)
    as_grey = evaluate(images["real"], equal, **given)["looking/mean_image"]
    assert (
        as_grey.value == evaluate(images["real"], images["a"], **given)["looking/mean_image"].value
    )


def test_a_set_that_was_not_filled_is_named_in_the_report(images):
    partly = images["real"].copy()
    partly[6:] = 0
    report = evaluate(partly, images["a"], ssnet=False, metrics="looking")
    assert any(text.startswith("real: 54 of 60 images") for text in report.warnings)


def test_a_folder_of_samples_is_read_as_its_samples(images, tmp_path):
    folder = tmp_path / "step_40"
    folder.mkdir()
    np.savez(folder / "samples.npz", samples=images["a"][..., None])
    Image.fromarray(images["a"][:4].reshape(-1, 16)).save(folder / "grid.png")
    (folder / "recipe.json").write_text('{"checkpoint_step": 40}')
    given = {"ssnet": False, "metrics": "looking"}
    report = evaluate(images["real"], folder, **given)
    assert report.sets["generated"]["images_used"] == 60
    assert report.sets["generated"]["checkpoint_step"] == 40
    of_file = evaluate(images["real"], folder / "samples.npz", **given)
    assert report.results[0].value == of_file.results[0].value
