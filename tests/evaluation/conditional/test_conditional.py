"""Sets of known response, angle and range give the known numbers; like is compared with like."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from evaluation.conditional import alike, evaluate_conditional, evaluator
from evaluation.conditional.__main__ import make_report, named, parse
from evaluation.conditional.sets import read_generated, read_real
from sgm_jax.run.files import write_json
from tests.evaluation.asked_images import LENGTH_PX, LEVELS, shown

NONE = {"classifiers": (), "permutations": 0}


@pytest.fixture(scope="module")
def real():
    return shown(seed=0)


@pytest.fixture(scope="module")
def report(real):
    """Another draw, and flawed ones."""
    sets = {
        "same": real,
        "again": shown(seed=1),
        "strong": shown(seed=2, charge=1.2 * LEVELS),
        "turned": shown(seed=4, turn_deg=15),
    }
    return evaluate_conditional(real, sets, classifiers=(), permutations=1_000)


def test_a_set_beside_itself_differs_in_nothing(report):
    for chapter, last in (("response", "deviation"), ("range", "deviation"), ("range", "stopping")):
        row = report[f"{chapter}/all/{last}", "same"]
        assert row.value == 0 and row.stderr == 0
    assert report["direction/all/median_ratio", "same"].value == 1
    assert report["observables/all/ks", "same"].value == 0
    assert report["response/all/near", "same"].value == 1


def test_another_draw_is_at_the_floor(report):
    for metric in ("response/all/deviation", "response/all/width", "observables/all/ks"):
        row = report[metric, "again"]
        assert abs(row.value - row.floor) < 3.5 * 2**0.5 * row.stderr, metric


def test_the_response_is_the_known_function_of_the_momentum(report):
    (pairing,) = (one for one in report.pairings if one.name == "again")
    for kind in ("electron", "muon"):
        mean = pairing.series[f"response/{kind}/mean"]
        expected = 0.1 * LEVELS * mean.centres  # in MeV
        # Momenta of a bin have their median, not their middle, at half of the images.
        np.testing.assert_allclose(mean.generated[0], expected, rtol=0.06)
        np.testing.assert_allclose(mean.real[0], expected, rtol=0.06)
    assert len(mean.centres) == 10


def test_flaws_of_the_charge_are_measured(report):
    strong = report["response/all/bias", "strong"]
    np.testing.assert_allclose(strong.value, 0.2, atol=4 * strong.stderr)
    assert 0 < strong.stderr < 0.02
    assert report["response/all/near", "strong"].value < 0.1


def test_images_that_are_too_alike_have_a_small_width(real):
    sets = {"narrow": shown(seed=3, spread=0.05)}
    narrow = evaluate_conditional(real, sets, **NONE)["response/all/width"]
    # Beside 5 % instead of 10 %, the momenta of a bin spread the charges.
    assert narrow.value < 0.85 and narrow.value + 5 * narrow.stderr < narrow.floor


def test_a_turn_is_the_median_angle(report):
    for kind in ("electron", "muon"):
        np.testing.assert_allclose(
            report[f"direction/{kind}/median_deg", "turned"].value, 15, atol=1
        )
    assert report["direction/all/median_ratio", "turned"].value > 5
    assert report["direction/all/backward", "turned"].value == 0


def test_the_range_is_the_length_over_the_share_in_the_plane(report):
    pairing = report.pairings[1]
    ranges = pairing.series["range/muon/range"]
    # A pixel is 1 cm: LENGTH_PX for each MeV/c in the plane, over the same share.
    np.testing.assert_allclose(ranges.generated[0], LENGTH_PX * ranges.centres, rtol=0.1)


def test_each_test_of_an_observable_has_a_row(report):
    for kind in ("electron", "muon"):
        rows = [r for r in report.results if r.metric.startswith(f"observables/{kind}/1/")]
        assert len({row.metric for row in rows}) == 20  # ten observables, two statistics
    (bad,) = (t for t in report.observables() if (t["set"], t["kind"]) == ("strong", "muon"))
    (good,) = (t for t in report.observables() if (t["set"], t["kind"]) == ("again", "muon"))
    assert bad["p < 0.001"] > 5 > good["p < 0.001"]


# ------------------------------------------------------------------------- like with like


def test_images_of_other_directions_are_weighted(real):
    # The charge that stays depends on the direction: in the plane half of it is lost.
    def lossy(one):
        size = np.linalg.norm(one.momentum, axis=1)
        flat = np.hypot(one.momentum[:, 1], one.momentum[:, 2]) / size > 0.8
        images = one.images * np.where(flat, 0.5, 1.0)[:, None, None]
        return dataclasses.replace(one, images=images)

    asked = lossy(shown(seed=5, flat=True))
    row = evaluate_conditional(lossy(real), {"flat": asked}, **NONE)["response/all/bias"]
    assert abs(row.value) < 4 * row.stderr < 0.1
    plain = alike.IN_PLANE
    try:
        alike.IN_PLANE = ()  # without the classes of direction
        row = evaluate_conditional(lossy(real), {"flat": asked}, **NONE)["response/all/bias"]
    finally:
        alike.IN_PLANE = plain
    assert row.value < -0.15


def test_what_differs_in_kinds_and_momenta_is_said(real):
    report = evaluate_conditional(real, {"few": shown(seed=6, kinds=("muon",), high=300)}, **NONE)
    text = " ".join(report.warnings)
    assert "few has no electron" not in text  # nobody asked for them
    assert "real: electron is in no other set" in text
    assert "other particles and momenta" in text and "are not compared" in text
    assert np.isnan(report.pairings[0].series["response/muon/mean"].generated[0, -1])
    same = evaluate_conditional(real, {"same": real}, **NONE)
    assert not any("particles and momenta" in text for text in same.warnings)


def test_images_of_one_event_are_drawn_again_together(real):
    once = dataclasses.replace(real, event=np.arange(1_200) // 2)
    thrice = dataclasses.replace(
        once,
        images=np.repeat(real.images, 3, axis=0),
        particle=np.repeat(real.particle, 3),
        momentum=np.repeat(real.momentum, 3, axis=0),
        event=np.repeat(once.event, 3),
    )
    other = {"other": shown(seed=7)}
    errors = [
        evaluate_conditional(one, other, **NONE)["response/all/bias"].stderr
        for one in (once, thrice, dataclasses.replace(thrice, event=None))
    ]
    np.testing.assert_allclose(errors[1], errors[0], rtol=0.15)
    assert errors[2] < 0.9 * errors[1]


def test_momenta_beyond_the_training_stand_apart(real):
    trained = {"electron": (100.0, 300.0), "muon": (100.0, 500.0)}
    beyond = shown(seed=8, trained=trained)
    report = evaluate_conditional(real, {"g": beyond}, **NONE)
    (row,) = report.pairings[0].beyond
    assert row["kind"] == "electron" and row["momenta"].startswith("above: 30")
    value, error = row["charge, ratio"]
    np.testing.assert_allclose(value, 1, atol=4 * error)
    edges = report.pairings[0].series["response/electron/mean"].edges
    assert edges[-1] <= 300 < report.pairings[0].series["response/muon/mean"].edges[-1]


# ------------------------------------------------------------------------- classifiers


def test_classifiers_learn_from_simulated_images_alone(real):
    good = shown(seed=9)
    swapped = dataclasses.replace(
        good, particle=np.where(good.particle == "muon", "electron", "muon")
    )
    sets = {"good": good, "swapped": swapped}
    report = evaluate_conditional(real, sets, classifiers=("trees",), permutations=0)
    tables = {one.name: one.confusion["trees"] for one in report.pairings}
    np.testing.assert_allclose(tables["good"]["real"], np.eye(2), atol=0.05)
    np.testing.assert_allclose(tables["good"]["generated"], np.eye(2), atol=0.05)
    np.testing.assert_allclose(tables["swapped"]["generated"], 1 - np.eye(2), atol=0.05)
    row = report["confusion/trees/tracks_and_showers", "good"]
    assert abs(row.value) < 0.03 and row.floor is not None
    assert report["confusion/trees/tracks_and_showers", "swapped"].value < -0.9


# ------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mev_per_level": 0.2}, r"scale of charge .* differs: real 0.1, g 0.2"),
        ({"pixel_mm": 3.0}, "size of a pixel .* differs: real 10, g 3"),
        ({"mev_per_level": -1.0}, "scale of charge|must be above 0"),
        ({"momentum": np.ones((3, 3))}, r"momentum has shape \(3, 3\)"),
        ({"particle": np.full(1_200, "kaon")}, "no kind of particle is in both"),
        ({"particle": np.arange(1_200)}, "give their names"),
        ({"momentum": np.full((1_200, 3), np.nan)}, "no image is known to show"),
        ({"images": np.full((1_200, 32, 32), 9, np.uint8)}, "64x64 but .* 32x32"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(real, changes, message):
    with pytest.raises(ValueError, match=message):
        evaluate_conditional(real, {"g": dataclasses.replace(real, **changes)}, **NONE)


def test_momenta_that_nothing_real_has_are_refused(real):
    with pytest.raises(ValueError, match="no images of one kind, momentum"):
        evaluate_conditional(real, {"g": shown(seed=1, low=20, high=40)}, **NONE)


def test_names_and_classifiers_are_checked(real):
    for sets, options, message in (
        ({}, {}, "no generated images"),
        ({"real": real}, {}, "choose another"),
        ({"a/b": real}, {}, "must consist of letters"),
        ({"g": real}, {"classifiers": ("forest",)}, "there are trees, cnn"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_conditional(real, sets, **options)
    with pytest.raises(ValueError, match="two sets have one name"):
        named(["a", "b"])


def test_an_unknown_scale_is_said_and_can_be_given(real):
    bare = dataclasses.replace(real, mev_per_level=None, pixel_mm=None)
    sets = {"g": bare}
    report = evaluate_conditional(bare, sets, **NONE)
    assert report.units == {"mev_per_level": None, "pixel_mm": None}
    assert sum("--mev_per_level=" in text for text in report.warnings) == 1
    given = evaluate_conditional(bare, sets, mev_per_level=0.1, pixel_mm=10.0, **NONE)
    assert not any("--mev_per_level=" in text for text in given.warnings)
    series = [one.pairings[0].series["response/muon/mean"].real[0] for one in (report, given)]
    np.testing.assert_allclose(series[1], 0.1 * series[0])


# ------------------------------------------------------------------------- files


@pytest.fixture
def folders(tmp_path):
    """A simulated set and a drawn one, as the programs write them."""
    import h5py

    one = shown(120, seed=0)
    images = tmp_path / "sim/test/larcv_png_64"
    images.mkdir(parents=True)
    levels = np.rint(one.images).clip(0, 255).astype(np.uint8)
    for k, level in enumerate(levels):
        Image.fromarray(level).save(images / f"{k:07d}.png")
    with h5py.File(tmp_path / "sim/labels.h5", "w") as file:
        code = np.where(one.particle == "muon", 2, 0)
        file["test/particle"] = code.astype(np.uint8)
        # Looked at along y: rows are x.
        file["test/momentum_mev"] = one.momentum[:, [1, 0, 2]].astype(np.float32)
        file["test/projection"] = np.ones(120, np.uint8)
        file["test/num_particles"] = np.ones(120, np.uint16)
        file["test/event_id"] = np.arange(120) // 3
    settings = {"crop": "start", "scaling": "absolute", "pixel_mm": 10.0}
    write_json(tmp_path / "sim/recipe.json", {"mev_per_level": 0.1, "simulation": settings})
    drawn = tmp_path / "drawn"
    drawn.mkdir()
    np.savez(
        drawn / "samples.npz",
        samples=levels[..., None],
        raw=levels[..., None].astype(np.float32),
        particle=np.where(one.particle == "muon", 1, 0).astype(np.int32),
        momentum=one.momentum.astype(np.float32),
    )
    config = {
        "data.particles": ["electron", "muon"],
        "data.momentum_range": [100, 500, 100, 500, 100, 400],
        "sampling.guidance": 1.5,
    }
    about = {"mev_per_level": 0.1, "pixel_mm": 10.0, "checkpoint_step": 7}
    write_json(drawn / "recipe.json", about | {"config": config})
    return tmp_path, one


def test_what_images_show_is_found_beside_them(folders):
    folder, one = folders
    real, drawn = read_real(folder / "sim/test/larcv_png_64"), read_generated(folder / "drawn")
    for found in (real, drawn):
        assert found.particle.tolist() == one.particle.tolist()
        np.testing.assert_allclose(found.momentum, one.momentum, rtol=1e-6)
        assert (found.mev_per_level, found.pixel_mm) == (0.1, 10.0)
    assert real.event.tolist() == (np.arange(120) // 3).tolist()
    assert drawn.guidance == 1.5 and drawn.trained["muon"] == (100, 400)


def test_sets_that_do_not_say_what_they_show_are_refused(folders, tmp_path):
    folder, _ = folders
    np.savez(tmp_path / "plain.npz", samples=np.ones((3, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="draw them with --conditions="):
        read_generated(tmp_path / "plain.npz")
    with pytest.raises(FileNotFoundError, match="no drawn images"):
        read_generated(folder / "sim")
    with pytest.raises(FileNotFoundError, match="or --conditions="):
        read_real(folder / "drawn/samples.npz")
    recipe = json.loads((folder / "sim/recipe.json").read_text())
    recipe["simulation"]["crop"] = "charge_centroid"
    write_json(folder / "sim/recipe.json", recipe)
    with pytest.raises(ValueError, match=r"simulation\.crop=start"):
        read_real(folder / "sim/test/larcv_png_64")


def line(folder, *more):
    real = f"--real={folder / 'sim/test/larcv_png_64'}"
    return parse([real, f"--generated=g={folder / 'drawn'}", f"--out={folder / 'out'}", *more])


def test_the_command_makes_a_page_goes_on_and_keeps_what_it_finished(folders, monkeypatch):
    folder, _ = folders
    options = line(folder, "--classifiers=trees")
    with monkeypatch.context() as patched:
        patched.setattr(evaluator, "observable_rows", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_report(options)
    assert (folder / "out/partial/confusion/trees.npz").is_file()
    with monkeypatch.context() as patched:
        patched.setattr("evaluation.conditional.confusion._predictions", lambda *a, **k: 1 / 0)
        make_report(options)
    content = json.loads((folder / "out/conditional.json").read_text())
    assert content["units"] == {"mev_per_level": 0.1, "pixel_mm": 10.0}
    assert {row["set"] for row in content["rows"]} == {"g"}
    # The network was not trained with muons above 400 MeV/c.
    assert content["sets"]["g"]["beyond_training"] > 0
    page = (folder / "out/conditional.html").read_text()
    for name in ("response", "direction", "confusion_trees", "observables_g", "pictures_real"):
        assert f'alt="{name.replace("_", " ")}"' in page
        assert (folder / f"out/figures/{name}.pdf").is_file()
    assert not any("Figure" in text for text in content["warnings"])
    assert not (folder / "out/partial").exists()
    with pytest.raises(ValueError, match="add --overwrite"):
        make_report(options)


def test_numbers_of_rows_and_images_must_agree(folders):
    folder, one = folders
    table = folder / "half.csv"
    rows = [f"{k},{x},{y},{z}" for k, (x, y, z) in zip(one.particle, one.momentum, strict=True)]
    table.write_text("\n".join(["particle,px,py,pz", *rows[:60]]))
    with pytest.raises(ValueError, match=r"particle has shape \(60,\), and 120 images"):
        make_report(line(folder, f"--conditions={table}"))
