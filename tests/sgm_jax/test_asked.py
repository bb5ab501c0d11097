"""Which particle with which momentum: rows by the image's number, and what is refused."""

import numpy as np
import pytest

from sgm_jax.asked import MomentumRange, folder_names
from sgm_jax.conditions import Request, read_conditions
from tests.tiny_run import tiny_config

# Of all images, of muons, of protons, and of pions, of which there were none.
RANGE = (90.0, 1400.0, 90.0, 1000.0, 300.0, 1400.0, 0.0, 0.0)
CONDITIONAL = {
    "model.condition": ("particle", "momentum"),
    "data.condition": "labels",
    "data.particles": ("muon", "proton", "pion"),
    "data.momentum_range": RANGE,
}


def asked(folder, changes=None, **fields):
    return read_conditions(Request(**fields), tiny_config(folder, **CONDITIONAL | (changes or {})))


def test_what_is_typed_is_what_every_image_shows(tmp_path):
    conditions = asked(tmp_path, particle="proton", momentum="0,-4e2,300")
    rows = conditions.given(np.array([0, 7]))["condition"]
    np.testing.assert_array_equal(rows["particle"], [1, 1])
    np.testing.assert_array_equal(rows["momentum"], [[0, -400, 300]] * 2)
    assert rows["particle"].dtype == np.int32 and rows["momentum"].dtype == np.float32
    # The recipe can be read.
    shown = {"particle": "proton", "momentum": [0, -400, 300]}
    assert conditions.recipe == {"condition": shown}
    array = asked(tmp_path, condition={"particle": [1], "momentum": [[0, -400, 300]]})
    assert array.recipe == conditions.recipe


def test_what_is_not_asked_says_so(tmp_path):
    rows = asked(tmp_path, particle="muon").given(np.arange(2))["condition"]
    assert np.isnan(rows["momentum"]).all() and rows["momentum"].shape == (2, 3)
    rows = asked(tmp_path, momentum=(0, 0, 300)).given(np.arange(2))["condition"]
    np.testing.assert_array_equal(rows["particle"], [-1, -1])
    assert "condition" not in asked(tmp_path).given(np.arange(2))


def test_momenta_of_a_range_lie_in_the_plane_and_depend_on_seed_and_number(tmp_path):
    conditions = asked(tmp_path, momentum_range="100:500")
    momenta = conditions.given(np.arange(4000))["condition"]["momentum"]
    size = np.linalg.norm(momenta, axis=1)
    np.testing.assert_allclose([size.min(), size.mean(), size.max()], [100, 300, 500], atol=6)
    assert (momenta[:, 0] == 0).all()
    # Isotropic: no direction is preferred, to three errors.
    cosine, sine = momenta[:, 2] / size, momenta[:, 1] / size
    for angles in (cosine, sine, cosine * sine, cosine**2 - 0.5):
        assert abs(angles.mean()) < 3 * angles.std() / 4000**0.5
    some = np.array([3999, 5])
    np.testing.assert_array_equal(conditions.given(some)["condition"]["momentum"], momenta[some])
    assert (MomentumRange(100, 500, seed=7)[np.arange(9)] != momenta[:9]).any()


def test_momenta_of_a_range_go_in_the_direction_that_is_given(tmp_path):
    free = asked(tmp_path, momentum_range="100:500").given(np.arange(50))["condition"]
    conditions = asked(tmp_path, momentum_range="100:500", direction="0,-3,4")
    momenta = conditions.given(np.arange(50))["condition"]["momentum"]
    sizes = np.linalg.norm(momenta, axis=1, keepdims=True)
    np.testing.assert_allclose(momenta / sizes, [[0, -0.6, 0.8]] * 50, atol=1e-6)
    # The same sizes as in any direction, and any length of the direction.
    np.testing.assert_allclose(sizes[:, 0], np.linalg.norm(free["momentum"], axis=1), rtol=1e-5)
    for same in ("0,-6e200,8e200", (0, -0.3, 0.4)):
        other = asked(tmp_path, momentum_range=(100, 500), direction=same)
        given = other.given(np.arange(50))["condition"]
        np.testing.assert_allclose(given["momentum"], momenta, rtol=1e-6)
    assert momenta.dtype == np.float32
    shown = conditions.recipe["condition"]["momentum"]
    np.testing.assert_allclose(shown["direction"], [0, -0.6, 0.8])
    assert folder_names(conditions.condition, ()) == ["momentum_100_to_500", "along_0_-0.6_0.8"]


def test_a_file_has_a_row_for_each_image(tmp_path):
    path = str(tmp_path / "shown.csv")
    (tmp_path / "shown.csv").write_text(
        "particle,px,py,pz\nmuon,0,0,300\nproton,0,400,1\nmuon,0,-90,0\n"
    )
    conditions = asked(tmp_path, conditions=path)
    rows = conditions.given(np.array([1, 2]))["condition"]
    np.testing.assert_array_equal(rows["particle"], [1, 0])
    np.testing.assert_array_equal(rows["momentum"], [[0, 400, 1], [0, -90, 0]])
    assert conditions.number(None, 99) == conditions.number(3, 99) == 3
    with pytest.raises(ValueError, match="3 rows.*--num_samples is 4"):
        conditions.number(4, 99)
    np.savez(tmp_path / "shown.npz", **conditions.given(np.arange(3))["condition"])
    assert asked(tmp_path, conditions=path[:-3] + "npz").recipe == conditions.recipe
    # A network that sees the particle alone reads that alone.
    particle = asked(tmp_path, {"model.condition": ("particle",)}, conditions=path)
    assert particle.condition.keys() == {"particle"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"particle": "kaon"}, "'kaon'; this network knows: muon, proton, pion"),
        ({"momentum": "0,300"}, "give finite numbers in MeV/c as in 0,0,300"),
        ({"momentum": "0,0,nan"}, "give finite numbers"),
        ({"momentum_range": "500"}, "as in 100:500"),
        ({"momentum_range": "500:100"}, "two rising sizes"),
        ({"momentum": "0,0,300", "momentum_range": "100:500"}, "give one of them"),
        ({"conditions": "f.csv", "particle": "muon"}, "give one of them"),
        ({"conditions": "f.csv", "direction": "0,0,1"}, "give one of them"),
        ({"momentum": "0,0,300", "direction": "0,0,1"}, "give one of them"),
        ({"direction": "0,0,1"}, "nothing without --momentum_range"),
        ({"momentum_range": "100:500", "direction": "0,0,0"}, "leads somewhere"),
        ({"momentum_range": "100:500", "direction": "0,1"}, "give finite numbers as in 0,0,1"),
        ({"momentum_range": "100:500", "direction": "0,inf,1"}, "give finite numbers"),
        ({"extrapolate": True}, "--extrapolate says nothing"),
        ({"condition": {"energy": [1.0]}}, "no condition is called 'energy'"),
        ({"condition": {"momentum": [0, 0, 300]}}, r"shape \(3,\)"),
        ({"condition": {"particle": [0, 3]}}, "row 1 is 3; .*0 muon, 1 proton, 2 pion"),
        ({"condition": {"momentum": [[0, 0, 300], [0, np.nan, 300]]}}, "row 1 is .*three NaN"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        asked(tmp_path, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"momentum": "0,0,89"}, "89 MeV/c, and of a particle .* from 90 to 1400"),
        ({"particle": "muon", "momentum": "0,0,1200"}, "1200 .* of a muon .* from 90 to 1000"),
        ({"particle": "proton", "momentum_range": "200:400"}, "200 .* proton .* from 300 to 1400"),
        (
            {"particle": "proton", "momentum_range": "200:400", "direction": "1,0,0"},
            "200 .* proton .* from 300 to 1400",
        ),
        ({"particle": "pion", "momentum": "0,0,300"}, "of a pion .* there was none"),
        (
            {"condition": {"particle": [0, 1, 0], "momentum": [[0, 0, 300]] * 2 + [[2e3, 0, 0]]}},
            "momentum of row 2 is 2000",
        ),
    ],
)
def test_what_was_not_in_the_training_is_drawn_only_if_told_to(fields, message, tmp_path):
    with pytest.raises(ValueError, match=f"{message}.*--extrapolate"):
        asked(tmp_path, **fields)
    assert asked(tmp_path, extrapolate=True, **fields).condition is not None
    # The ends are in the range.
    asked(tmp_path, particle="muon", momentum_range="90:1000")


@pytest.mark.parametrize(
    "fields", [{"particle": "muon"}, {"momentum": "0,0,1"}, {"conditions": "rows.csv"}]
)
def test_a_network_without_conditions_is_asked_for_none(fields, tmp_path):
    with pytest.raises(ValueError, match="trained without conditions"):
        read_conditions(Request(**fields), tiny_config(tmp_path))
    with pytest.raises(ValueError, match=r"--guidance=1\.5 says nothing without a condition"):
        read_conditions(Request(), tiny_config(tmp_path, **{"sampling.guidance": 1.5}))


def test_what_the_network_does_not_see_is_not_asked(tmp_path):
    with pytest.raises(ValueError, match="trained with particle, and has no momentum"):
        asked(tmp_path, {"model.condition": ("particle",)}, momentum="0,0,300")
