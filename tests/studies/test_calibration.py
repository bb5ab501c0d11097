import json
from pathlib import Path

import numpy as np
import pytest

from studies import calibration_report, foreign_report
from studies.calibration import choose, settings_of, share_conventions, stand_in_orders
from studies.fit import STAND_IN, TRUTH, Trial
from studies.published import TARGETS, ImageTable, Measured

DOCS = Path(__file__).parents[2] / "docs"


def trial(charge, *, tracks="default", low=35.0, labels=STAND_IN, diffusion=1.0):
    measured = {name: Measured(target.value, 0.0) for name, target in TARGETS.items()}
    measured["shower_charge"] = Measured(charge * TARGETS["shower_charge"].value, 0.0)
    detector = {"diffusion_scale": diffusion, "threshold_mev": 0.05}
    return Trial(detector, tracks, (low, 800.0), labels, measured)


@pytest.mark.parametrize(
    ("plain", "other", "wins"), [(1.1, 1.09, "default"), (1.1, 1.05, "slow"), (1.0, 1.1, "default")]
)
def test_other_than_plain_settings_are_taken_only_for_a_clear_gain(plain, other, wins):
    trials = [trial(plain), trial(other, tracks="slow"), trial(1.3, labels=TRUTH)]
    trials.append(trial(plain, diffusion=0.6))
    chosen, fits = choose(trials)
    assert chosen.tracks == wins
    assert wins == "slow" or chosen.detector["diffusion_scale"] == 1.0
    assert fits["true labels"].labels == TRUTH
    assert settings_of(chosen)["momentum_mev"]["electron"] == [35.0, 800.0]


def random_table(count=4000):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 5, count)
    lit = rng.integers(41, 400, count)
    pixels = np.zeros((count, 5))
    pixels[np.arange(count), np.where(kind >= 2, 2, 1)] = lit
    return ImageTable(
        event=np.arange(count),
        kind=kind,
        momentum_mev=np.full(count, 500.0),
        lit=lit,
        charge=50.0 * lit,
        length_px=np.full(count, 40.0),
        width_px=np.where(kind >= 2, 3.0, 9.0),
        label_pixels=pixels,
        label_charge=50.0 * pixels,
    )


def test_conventions_agree_where_every_image_is_pure():
    found = share_conventions(random_table())
    shares = [row["value"] for row in found["conventions"].values()]
    assert len(set(shares)) == 1 and shares[0] == pytest.approx(0.6, abs=0.03)
    assert found["kinds"]["photon"]["called_track"] == 0.0
    assert found["kinds"]["proton"]["called_track"] == 1.0


def test_calling_small_showers_tracks_raises_the_charge_and_lowers_the_narrow_share():
    orders = stand_in_orders(random_table())
    small, chance = orders["fewest lit pixels"], orders["any, at random"]
    assert small["track_share"]["value"] == pytest.approx(TARGETS["track_share"].value, abs=1e-3)
    assert small["shower_charge"]["value"] > 1.1 * chance["shower_charge"]["value"]
    assert small["narrow_share"]["value"] == pytest.approx(0.6 / 0.69, abs=0.03)


@pytest.mark.parametrize(
    ("folder", "numbers", "render"),
    [
        ("calibration", "calibration.json", calibration_report.render),
        ("foreign_images", "comparison.json", foreign_report.render),
    ],
)
def test_the_committed_report_says_what_its_numbers_say(folder, numbers, render):
    text = (DOCS / folder / "report.md").read_text()
    assert text == render(json.loads((DOCS / folder / numbers).read_text()))
    assert all(file.stat().st_size < 100_000 for file in (DOCS / folder).glob("*.png"))
