import numpy as np
import pytest

from evaluation import evaluate
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
        ({"generated": np.zeros((5, 16, 16))}, "multiply by 255"),
    ],
)
def test_bad_arguments_are_refused_with_the_fix(images, changes, message):
    given = {"real": images["real"], "generated": images["a"]} | changes
    with pytest.raises(ValueError, match=message):
        evaluate(**given)
