"""Turned images: which ways there are, that each is as likely, and what an image depends on."""

from types import SimpleNamespace

import numpy as np
import pytest

from sgm_jax.conditions import Conditions
from sgm_jax.config import check
from sgm_jax.symmetry import SYMMETRIES, check_turnable, turned
from tests.tiny_sarm import sarm_config

COUNT = 4000
IMAGE = np.arange(9.0).reshape(3, 3, 1)  # which no symmetry leaves as it is


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_all_ways_to_turn_an_image_are_equally_likely(symmetry):
    ways = [IMAGE]
    for axis in {"none": (), "mirror": (1,), "flips": (0, 1)}[symmetry]:
        ways += [np.flip(way, axis) for way in ways]
    images = turned(np.stack([IMAGE] * COUNT), symmetry, seed=3, first=0)
    counts = [int((images == way).all(axis=(1, 2, 3)).sum()) for way in ways]
    assert sum(counts) == COUNT and len(counts) == SYMMETRIES[symmetry]
    expected = COUNT / len(counts)
    np.testing.assert_allclose(counts, expected, atol=4 * expected**0.5)


@pytest.mark.parametrize("symmetry", ["mirror", "flips"])
def test_an_image_depends_on_the_seed_and_its_number_only(symmetry):
    images = np.random.default_rng(0).random((40, 4, 4, 2))
    whole = turned(images, symmetry, seed=1, first=100)
    part = turned(images[7:20], symmetry, seed=1, first=107)
    np.testing.assert_array_equal(whole[7:20], part)
    assert not np.array_equal(whole, turned(images, symmetry, seed=2, first=100))


def test_images_with_conditions_are_not_turned():
    config = SimpleNamespace(sampling=SimpleNamespace(symmetry="mirror"))
    check_turnable(config, Conditions((8, 8)))
    asked = Conditions((8, 8), observable="total_charge", target=9.0)
    with pytest.raises(ValueError, match=r"sampling\.symmetry=mirror.*observable"):
        check_turnable(config, asked)
    check_turnable(SimpleNamespace(sampling=SimpleNamespace(symmetry="none")), asked)


def test_these_symmetries_and_no_others_can_be_chosen(tmp_path):
    for symmetry in SYMMETRIES:
        check(sarm_config(tmp_path, **{"sampling.symmetry": symmetry}))
    with pytest.raises(ValueError, match=r"sampling\.symmetry is 'turns'"):
        check(sarm_config(tmp_path, **{"sampling.symmetry": "turns"}))
