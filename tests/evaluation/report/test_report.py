import argparse
import dataclasses
import html.parser
import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from evaluation import evaluator
from evaluation.__main__ import make_report, parse
from evaluation.images.sets import ImageSet, TooFewImagesError, pair
from evaluation.metrics.budget import Budget
from evaluation.metrics.compute import compute
from evaluation.metrics.metric import Metric, Result
from evaluation.metrics.table import METRICS
from evaluation.report import SCHEMA_VERSION, read, report
from evaluation.ssnet.network import SSNet
from evaluation.ssnet.weights import save
from sgm_jax.run.parts import Parts
from tests.evaluation.drawn_images import drawn_images
from tests.evaluation.small_ssnet import trained_variables

ROLES = ("real", "train", "generated", "ceiling")
BUDGET = Budget(None, None, None, 20, 20, 4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for place, name in enumerate(("real", "generated", "train")):
        np.save(folder / f"{name}.npy", drawn_images(60, seed=place, size=24))
    net = SSNet("running_statistics", filters=2, num_strides=3)
    save(folder / "ssnet.npz", net, trained_variables(net), dtype="float32")
    return folder


def arguments(files, out, *more: str) -> argparse.Namespace:
    given = [f"--{name}={files}/{name}.npy" for name in ("real", "generated", "train")]
    return parse([*given, f"--out={out}", *more])


def numbers_only(files, out, *more: str) -> argparse.Namespace:
    return arguments(files, out, "--nofigures", "--nossnet", *more)


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    given = arguments(
        files, out, f"--ssnet={files}/ssnet.npz", "--metrics=physics,looking,ssnet,kid"
    )
    given.ceiling = True
    make_report(given)
    return out


class Page(html.parser.HTMLParser):
    """Collects what a page refers to, and which tags are open."""

    def __init__(self):
        super().__init__()
        self.sources, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def evaluate(given: argparse.Namespace) -> dict:
    """Make the report of a command line; return what report.json holds."""
    make_report(given)
    return read(given.out / "report.json")


def one_row_of(results, tmp_path):
    metric = Metric("looking", results, {"looking": "a metric"})
    real = ImageSet("real", drawn_images(30, seed=0, size=16))
    pairs = [pair(real, ImageSet("g", real.images), None, seed=0)]
    return compute(pairs, [metric], BUDGET, seed=0, parts=Parts(tmp_path))


def test_a_report_has_all_its_parts(made):
    content = read(made / "report.json")
    assert content["schema_version"] == SCHEMA_VERSION
    assert content["roles"] == {name: name for name in ROLES}
    assert {row["set"] for row in content["rows"]} == {"generated", "ceiling"}
    for row in content["rows"]:
        assert row["definition"] == content["definitions"][row["metric"]]
        if row["status"] == "ok":
            assert row["n"] == 60 or row["metric"].startswith(("physics/tracks", "physics/showers"))
            assert None not in (row["value"], row["stderr"], row["floor"], row["p"])
            assert row["seconds"] > 0
    assert {row["status"] for row in content["rows"]} <= {"ok", "skipped"}
    ok = {row["metric"] for row in content["rows"] if row["status"] == "ok"}
    assert {"ssnet/track_fraction", "ssnet/scores/track/ks", "kid"} <= ok
    for name, facts in content["sets"].items():
        assert len(facts["hash_of_used"]) == 32 and len(facts["ssnet"]) == 64
        with np.load(made / f"ssnet_{name}.npz") as table:
            assert facts["track_images"] == table["is_track"].sum()
    assert {"numpy", "scipy", "POT"} <= set(content["provenance"]["versions"])
    text = (made / "report.md").read_text()
    for row in content["rows"]:
        assert f"| {row['metric']} | {row['set']} |" in text


def test_every_figure_has_a_picture_a_pdf_and_the_numbers_behind_it(made):
    pictures = sorted((made / "figures").glob("*.png"))
    assert len(pictures) >= 25
    for picture in pictures:
        assert picture.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert picture.with_suffix(".json").is_file() or picture.with_suffix(".npz").is_file()
    counts = json.loads((made / "figures/charge.json").read_text())["counts"]
    assert {name: sum(values) for name, values in counts.items()} == {
        "real": 60,
        "generated": 60,
        "ceiling": 60,
    }


def test_the_page_is_whole_and_needs_nothing_from_outside(made):
    page = Page()
    page.feed((made / "report.html").read_text())
    assert page.open == []
    assert len(page.sources) == len(list((made / "figures").glob("*.png")))
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)


def test_the_page_says_a_note_once_for_the_rows_that_share_it_and_marks_what_differs(tmp_path):
    row = Result("w1/paper", 1.0, 0.5, 0.0, 0.5, n=9, note="a < b", set="g", seconds=1.0)
    other = dataclasses.replace(row, metric="w1/corrected")
    results = [row, other, dataclasses.replace(row, metric="fid", p=1e-4, note="")]
    names = "images_used images_in_source size empty_images constant_images track_images"
    names += " lit_pixels_up_to_4 largest_pixel checkpoint_step source pixel_scale threshold"
    facts = dict.fromkeys(names.split())
    made = {"time": "now", "git_commit": "abc", "command": ["x"]}
    roles = {"generated": "g"}
    report.Report(results, {"g": facts}, roles, "small", BUDGET, 0, "train", [], made).save(
        tmp_path
    )
    text = (tmp_path / "report.html").read_text().partition("<h2>Metrics</h2>")[2]
    assert text.count("a &lt; b") == 1
    assert text.count('<tr class="differs">') == 1
    assert text.index("w1/corrected") < text.index("a &lt; b") < text.index(">fid<")


def test_the_table_has_a_line_for_each_result_and_no_number_where_there_is_none():
    row = Result("w1/paper", 1.25, 0.5, 0.125, None, n=9, set="g")
    failed = dataclasses.replace(row, metric="fid", status="too few images")
    made = report.Report([row, failed], {}, {}, "small", BUDGET, 0, "train", [], {})
    head, first, second = (line.split() for line in made.table().splitlines())
    assert head == ["value", "stderr", "floor", "p", "n"]
    assert first == ["w1/paper", "1.25", "0.5", "0.125", "9"]
    assert second == ["fid", "too", "few", "images"]
    made.results.append(dataclasses.replace(row, set="h"))
    assert made.table().splitlines()[-1].startswith("h: w1/paper")


def test_a_second_run_gives_the_same_numbers_and_other_metrics_do_not_matter(made, files, tmp_path):
    given = arguments(files, tmp_path / "a", "--nofigures", "--ceiling", "--metrics=physics/charge")
    given.ssnet = files / "ssnet.npz"
    again = evaluate(given)
    first = {(row["metric"], row["set"]): row for row in read(made / "report.json")["rows"]}
    for row in again["rows"]:
        there = first[row["metric"], row["set"]]
        assert {k: v for k, v in row.items() if k != "seconds"} == {
            k: v for k, v in there.items() if k != "seconds"
        }


def test_a_killed_run_continues_with_what_is_missing(files, tmp_path, monkeypatch):
    ran, chosen = [], ("physics/charge", "physics/peak", "physics/holes")
    original = dict(METRICS)

    def counting(name, *, kill):
        def compute(*given):
            ran.append(name)
            if kill and name == "physics/peak":
                raise KeyboardInterrupt
            return original[name](*given)

        return dataclasses.replace(original[name], compute=compute)

    given = numbers_only(files, tmp_path / "out", f"--metrics={','.join(chosen)}")
    for name in chosen:
        monkeypatch.setitem(METRICS, name, counting(name, kill=True))
    with pytest.raises(KeyboardInterrupt):
        evaluate(given)
    assert not (tmp_path / "out/report.json").exists()
    with pytest.raises(ValueError, match="another recipe .seed: 0 there, 1 here.*add --overwrite"):
        evaluate(numbers_only(files, tmp_path / "out", "--seed=1"))

    # In any order, and what ran beside the killed one is kept.
    missing = {*chosen} - ({*ran} - {"physics/peak"})
    ran.clear()
    for name in chosen:
        monkeypatch.setitem(METRICS, name, counting(name, kill=False))
    resumed = evaluate(given)
    assert sorted(ran) == sorted(missing)
    assert not (tmp_path / "out/partial").exists()
    given.out = tmp_path / "whole"
    whole = evaluate(given)
    for a, b in zip(resumed["rows"], whole["rows"], strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}


def test_a_failed_metric_is_a_marked_row_and_the_others_come(files, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no memory for this")

    given = numbers_only(files, tmp_path / "out", "--metrics=physics/charge,physics/peak")
    original = METRICS["physics/peak"]
    metric = dataclasses.replace(original, compute=broken)
    monkeypatch.setitem(METRICS, "physics/peak", metric)
    content = evaluate(given)
    failed = [row for row in content["rows"] if row["status"] == "failed"]
    assert [row["metric"] for row in failed] == ["physics/peak"]
    assert failed[0]["note"] == "RuntimeError: no memory for this" and failed[0]["value"] is None
    assert sum(row["status"] == "ok" for row in content["rows"]) == 4
    assert "no memory for this" in (tmp_path / "out/report.html").read_text()
    monkeypatch.setitem(METRICS, "physics/peak", original)
    assert {row["status"] for row in evaluate(given)["rows"]} == {"ok", "skipped"}


@pytest.mark.parametrize("count", [1, 2])
def test_metrics_of_all_generators_at_once_give_rows_for_each(count, tmp_path, monkeypatch):
    def joint(pairs, budget, seed):
        return {p.generated.name: [Result("looking/mean_image", len(pairs))] for p in pairs}

    metric = Metric("looking/all", joint, {"looking/mean_image": "a metric"}, joint=True)
    real = ImageSet("real", drawn_images(20, seed=0, size=16))
    sets = [ImageSet(f"g{place}", real.images) for place in range(count)]
    pairs = [pair(real, one, None, seed=0) for one in sets]
    for _ in range(2):  # computed, then read
        found = compute(pairs, [metric], BUDGET, seed=0, parts=Parts(tmp_path))
        assert [(row.set, row.value) for row in found] == [(s.name, count) for s in sets]


def test_too_few_images_mark_the_row_of_that_metric(tmp_path, monkeypatch):
    def needs_more(*_):
        raise TooFewImagesError("real: 30 images, at least 50 are needed")

    row = one_row_of(needs_more, tmp_path)[0]
    assert row.status == "too few images" and "at least 50" in row.note


def test_a_value_that_did_not_converge_is_never_printed_as_a_number(tmp_path, monkeypatch):
    def unconverged(*_):
        return [Result("looking/mean_image", 3.0).unconverged("after 10 iterations")]

    row = one_row_of(unconverged, tmp_path)[0].to_dict()
    assert row["status"] == "not converged" and row["value"] is None and not row["converged"]


def test_ssnet_rows_say_what_to_do_where_there_are_no_weights(files, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluator, "PACKAGED", tmp_path / "none.npz")
    metrics = "--metrics=physics/charge,ssnet/track_fraction,fid/direct"
    content = evaluate(arguments(files, tmp_path / "a", "--nofigures", metrics))
    status = {row["metric"]: (row["status"], row["note"]) for row in content["rows"]}
    for name in ("physics/showers/charge/chi2_paper", "ssnet/track_fraction", "fid/paper"):
        assert status[name][0] == "skipped" and "--ssnet" in status[name][1]
    given = arguments(files, tmp_path / "b", "--nofigures", metrics)
    given.ssnet = tmp_path / "none.npz"
    with pytest.raises(FileNotFoundError, match="no weight file"):
        evaluate(given)


def test_labels_from_different_weights_are_warned_of(made):
    sets = read(made / "report.json")["sets"]
    assert report.warnings_of(sets) == []
    sets["generated"]["ssnet"] = "unknown weights of labels.h5"
    assert "from different weights" in report.warnings_of(sets)[0]


def test_a_figure_that_fails_costs_no_report(files, tmp_path, monkeypatch):
    def broken():
        raise ValueError("nothing to draw")

    def whole():
        return Figure(), {"n": 1}

    monkeypatch.setattr(evaluator, "figures", lambda _: {"broken": broken, "whole": whole})
    content = evaluate(arguments(files, tmp_path / "out", "--nossnet", "--metrics=looking"))
    assert content["warnings"] == ["Figure broken failed: ValueError: nothing to draw"]
    assert "whole.png" in (tmp_path / "out/report.md").read_text()
    assert json.loads((tmp_path / "out/figures/whole.json").read_text()) == {"n": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is no report"), ("[]", "is no report"), ('{"schema_version": 0}', "version 0")],
)
def test_what_is_no_report_is_refused(text, message, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "report.json")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.json")
