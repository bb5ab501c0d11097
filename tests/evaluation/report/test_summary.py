import json

import numpy as np
import pytest

from evaluation import evaluate
from evaluation.metrics.metric import Result
from evaluation.metrics.table import METRICS
from evaluation.metrics.verdict import excess, family, stands_out
from evaluation.report.summary import OTHER, kind_of, strongest_rows, summarise
from tests.evaluation.drawn_images import drawn_images


def row(metric, value, stderr=1.0, floor=0.0, p=None, **more):
    return Result(metric, value, stderr, floor, p, n=100, **({"set": "g"} | more))


def test_rows_are_judged_by_p_or_by_their_distance_from_the_floor():
    assert excess(5.0, 1.0, 2.0) == pytest.approx(4 / (2 * 2**0.5))
    assert excess(5.0, None, 2.0) is None and excess(np.nan, 1.0, 2.0) is None
    assert excess(5.0, 1.0, 0.0) is None
    assert stands_out(0.0009, None) and not stands_out(0.5, 100.0)
    assert stands_out(None, -4.0) and not stands_out(None, 3.0)
    assert stands_out(None, None) is None


def test_every_row_of_the_table_has_a_kind():
    ids = [
        name
        for metric in METRICS.values()
        for name in ([metric.name] if isinstance(metric.definitions, str) else metric.definitions)
    ]
    assert not [name for name in ids if kind_of(name) == OTHER]
    assert kind_of("physics/showers/charge/w1") == "charge"
    assert kind_of("physics/all/charge_per_pixel/ks") == "charge"
    assert kind_of("physics/tracks/track_length_px/ks") == "tracks"
    assert kind_of("physics/all/correlation") == "whole images"
    assert kind_of("mine") == OTHER


def test_a_kind_differs_by_one_row_and_the_farthest_is_named():
    rows = [
        row("physics/all/charge/ks", 0.1, p=0.5),
        row("physics/all/charge/w1", 40.0, p=1e-4),
        row("physics/all/peak/w1", 90.0, p=1e-4),
        row("fid/full", 1.0),
        row("kid", 9.0, status="too few images"),
        row("classifier/cnn", np.nan, status="failed"),
    ]
    table = {"charge": np.array([100.0, 120.0])}
    found = summarise(
        rows,
        {"r": {"images_used": 50}, "g": {"images_used": 40}},
        {"observables_r": {"charge": np.array([190.0, 210.0])}, "observables_g": table},
        real="r",
    )
    charge = found.kinds["charge"]["g"]
    assert (charge.verdict, charge.apart, charge.rows) == ("differs", 2, 3)
    assert charge.strongest == "physics/all/peak/w1"
    assert charge.number.mean == 110.0 and charge.change == pytest.approx(-0.45)
    assert charge.number.stderr == pytest.approx(10.0)
    assert found.kinds["features of SSNet"]["g"].verdict == "no difference seen"
    assert found.kinds["classifiers"]["g"].verdict == "not measured"
    assert list(found.kinds) == ["charge", "features of SSNet", "classifiers"]
    assert [one.metric for one in found.strongest["g"]] == [
        "physics/all/peak/w1",
        "physics/all/charge/w1",
    ]
    json.dumps(found.to_dict())


def test_of_a_family_only_the_farthest_row_is_shown():
    rows = [row(f"physics/all/charge/{name}", z, p=1e-4) for name, z in (("ks", 9), ("w1", -30))]
    rows += [row("classifier/cnn@500", 50.0, p=1e-4), row("classifier/cnn", 60.0, p=1e-4)]
    assert [one.value for one in strongest_rows(rows)] == [60.0, -30]
    assert [one.value for one in strongest_rows(rows, most=1)] == [60.0]
    assert family("physics/all/correlation") == "physics/all/correlation"
    assert family("sliced_w1") == "sliced_w1"


def test_the_report_opens_with_verdicts_and_three_pictures(tmp_path):
    sets = [drawn_images(60, seed=seed, size=16) for seed in range(4)]
    dim = (sets[2] * 0.5).astype(np.uint8)
    metrics = "physics/charge,physics/clusters"
    report = evaluate(
        sets[0], {"good": sets[1], "dim": dim}, train=sets[3], ssnet=False, metrics=metrics
    )
    kinds = report.summary().kinds
    assert kinds["charge"]["good"].verdict == "no difference seen"
    assert kinds["charge"]["dim"].verdict == "differs"
    assert kinds["charge"]["dim"].change == pytest.approx(-0.5, abs=0.1)
    report.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    first = page[: page.index("<h2>Sets")]
    assert first.count("data:image/png") == 3
    assert first.index("dim: differs") < first.index("data:image/png")
    text = (tmp_path / "report.md").read_text()
    assert text.index("summary_images.png") < text.index("## Sets")
    assert "dim" in json.loads((tmp_path / "report.json").read_text())["summary"]["sentences"]
