import numpy as np
import pytest

from evaluation.figures import maps, neighbours
from evaluation.images.sets import ImageSet, pair
from evaluation.metrics.image_emd import image_emd
from tests.evaluation.drawn_images import drawn_images


def _set(name, seed, count=25, labels=True, size=16):
    images = drawn_images(count, seed=seed, size=size)
    return ImageSet(name, images, is_track=np.arange(count) % 3 > 0 if labels else None)


@pytest.mark.parametrize("labels", [False, True])
def test_panels_show_the_nearest_of_either_set_and_class(labels, tmp_path):
    generated, train = _set("generated", 0, labels=labels), _set("train", 1, labels=labels)
    figure, found = neighbours.draw_neighbours(generated, [4, 3], train, count=3)
    figure.savefig(tmp_path / "panels.png")
    assert [query["query"] for query in found["queries"]] == [4, 3]
    for query in found["queries"]:
        image = generated.images[query["query"]]
        kinds = [(row["name"], row["among"]) for row in query["rows"]]
        assert len(kinds) == len(set(kinds)) == (4 if labels else 2)
        for row in query["rows"]:
            pool = generated if row["name"] == "generated" else train
            allowed = np.arange(len(pool))
            if row["among"] == "same class":
                allowed = allowed[pool.is_track == generated.is_track[query["query"]]]
            if pool is generated:
                allowed = allowed[allowed != query["query"]]
            exact = np.array([image_emd(image, one) for one in pool.images[allowed]])
            order = np.argsort(exact, kind="stable")[:3]
            assert row["emd_px"]["places"] == allowed[order].tolist()
            np.testing.assert_allclose(row["emd_px"]["distances"], exact[order])
            apart = pool.images[allowed].astype(float) - image
            pixels = np.sqrt((apart**2).sum(axis=(1, 2)))
            np.testing.assert_allclose(row["l2"]["distances"], np.sort(pixels)[:3])


def test_a_track_and_a_shower_are_queried_and_the_sheet_fits(tmp_path):
    real, generated = _set("real", 2, 40), _set("generated", 3)
    figure, found = neighbours.draw(pair(real, generated, None, seed=0), 0)
    figure.savefig(tmp_path / "panels.png")
    kinds = [bool(generated.is_track[query["query"]]) for query in found["queries"]]
    assert kinds == [True, False] and found["pool"] == "real"
    rows = [row for query in found["queries"] for row in query["rows"]]
    assert all(len(row["emd_px"]["places"]) == 5 for row in rows)


def test_a_class_without_images_leaves_its_row_empty():
    generated, train = _set("generated", 4), _set("train", 5)
    train.is_track[:] = True
    _, found = neighbours.draw_neighbours(generated, [3], train, count=2)
    assert not generated.is_track[3]
    same, every = found["queries"][0]["rows"][:2]
    assert same["l2"]["places"] == [] and len(every["emd_px"]["places"]) == 2


def test_distances_to_training_images_are_all_counted(tmp_path):
    sets = [_set(name, seed) for seed, name in enumerate(("generated", "real", "train"))]
    figure, found = neighbours.draw_train_distances(*sets)
    figure.savefig(tmp_path / "distances.png")
    assert sum(found["counts"]["real"]) == sum(found["counts"]["generated"]) == 25


@pytest.mark.parametrize(("transport", "title"), [("exact", "exact"), ("projected", "bound")])
def test_maps_lay_alike_images_together(transport, title, tmp_path):
    sets = [_set("real", 6, 12), _set("generated", 7, 12)]
    images = sets[0].images
    images[:] = np.roll(images, -4, axis=1) // 2
    sets[1].images[:] = np.roll(sets[1].images, 4, axis=1)
    sets[1].images[5] = 0
    figure, found = maps.draw_maps(sets, count=24, transport=transport, seed=0)
    figure.savefig(tmp_path / "maps.png")
    assert found["without_charge"] == [0, 1] and [len(p) for p in found["places"]] == [12, 11]
    assert list(found["colours"]) == [
        "set",
        "SSNet label",
        "track length (px)",
        "charge (thousands)",
    ]
    pixels, charge = found["maps"].values()
    assert np.isfinite(charge["positions"]).all() and len(pixels["positions"]) == 23
    assert title in list(found["maps"])[1]


def test_equal_images_lie_on_one_spot_of_the_map():
    one = _set("real", 8, 12, labels=False)
    groups = ImageSet("groups", np.repeat(one.images[:3], 8, axis=0))
    _, found = maps.draw_maps([groups], count=24, transport="projected", seed=1)
    assert "SSNet label" not in found["colours"]
    groups_of = np.array(list(found["maps"].values())[1]["positions"]).reshape(3, 8, 2)
    within = groups_of.std(axis=1).max()
    centres = groups_of.mean(axis=1)
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    assert within < apart.min()


def test_impossible_maps_are_refused():
    one = _set("real", 9, 12)
    with pytest.raises(ValueError, match="'guessed' must be one of exact, projected"):
        maps.draw_maps([one], count=10, transport="guessed", seed=0)
    with pytest.raises(ValueError, match="2000 images takes hours: at most 1000"):
        maps.draw_maps([one], count=2000, transport="exact", seed=0)
    with pytest.raises(ValueError, match="8 images with charge, a map needs at least 10"):
        maps.draw_maps([one], count=8, transport="exact", seed=0)
