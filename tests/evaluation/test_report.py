import argparse
import html.parser
import json

import numpy as np
import pytest

from evaluation import report, rows, run
from evaluation.__main__ import parse
from evaluation.budget import Budget
from evaluation.evaluate import evaluate
from evaluation.result import Result
from evaluation.sets import ImageSet, TooFewImagesError, pair
from tests.evaluation.drawn_images import drawn_images

ROLES = ("real", "train", "generated", "ceiling")
BUDGET = Budget(None, None, None, 20, 20, 4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for place, name in enumerate(("real", "generated", "train")):
        np.save(folder / f"{name}.npy", drawn_images(60, seed=place, size=24))
    return folder


def arguments(files, out, *more: str) -> argparse.Namespace:
    given = [f"--{name}={files}/{name}.npy" for name in ("real", "generated", "train")]
    return parse([*given, f"--out={out}", *more])


def numbers_only(files, out, *more: str) -> argparse.Namespace:
    return arguments(files, out, "--nofigures", *more)


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    evaluate(arguments(files, out, "--ceiling", "--metrics=physics,looking"))
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


def one_row_of(metric, results, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "METRICS", rows.METRICS | {metric: results})
    monkeypatch.setattr(run, "METRICS", rows.METRICS)
    real = ImageSet("real", drawn_images(30, seed=0, size=16))
    pairs = [pair(real, ImageSet("g", real.images), None, seed=0)]
    return run.compute(pairs, [metric], BUDGET, seed=0, folder=tmp_path)


def test_a_report_has_all_its_parts(made):
    content = report.read(made / "report.json")
    assert content["schema_version"] == report.SCHEMA_VERSION
    assert content["roles"] == {name: name for name in ROLES}
    assert {row["set"] for row in content["rows"]} == {"generated", "ceiling"}
    for row in content["rows"]:
        assert row["definition"] == content["definitions"][row["metric"]]
        if row["status"] == "ok":
            assert row["n"] == 60 and row["seconds"] > 0
            assert None not in (row["value"], row["stderr"], row["floor"], row["p"])
    assert all(len(facts["hash_of_used"]) == 32 for facts in content["sets"].values())
    assert {"numpy", "scipy", "POT"} <= set(content["provenance"]["versions"])
    text = (made / "report.md").read_text()
    for row in content["rows"]:
        assert f"| {row['metric']} | {row['set']} |" in text


def test_every_figure_has_a_picture_a_pdf_and_the_numbers_behind_it(made):
    pictures = sorted((made / "figures").glob("*.png"))
    assert len(pictures) >= 15
    for picture in pictures:
        assert picture.with_suffix(".pdf").stat().st_size > 1000
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


def test_a_second_run_gives_the_same_numbers_and_other_metrics_do_not_matter(made, files, tmp_path):
    again = evaluate(numbers_only(files, tmp_path / "a", "--ceiling", "--metrics=physics/charge"))
    first = {(row["metric"], row["set"]): row for row in report.read(made / "report.json")["rows"]}
    for row in again["rows"]:
        there = first[row["metric"], row["set"]]
        assert {k: v for k, v in row.items() if k != "seconds"} == {
            k: v for k, v in there.items() if k != "seconds"
        }


def test_a_killed_run_continues_with_what_is_missing(files, tmp_path, monkeypatch):
    ran, chosen = [], ("physics/charge", "physics/peak", "physics/holes")
    original = dict(run.METRICS)

    def counting(name, *, kill):
        def metric(*given):
            ran.append(name)
            if kill and name == "physics/peak":
                raise KeyboardInterrupt
            return original[name](*given)

        return metric

    given = numbers_only(files, tmp_path / "out", f"--metrics={','.join(chosen)}")
    for name in chosen:
        monkeypatch.setitem(run.METRICS, name, counting(name, kill=True))
    with pytest.raises(KeyboardInterrupt):
        evaluate(given)
    assert not (tmp_path / "out/report.json").exists()
    with pytest.raises(ValueError, match="unfinished report of other seed"):
        evaluate(numbers_only(files, tmp_path / "out", "--seed=1"))

    ran.clear()
    for name in chosen:
        monkeypatch.setitem(run.METRICS, name, counting(name, kill=False))
    resumed = evaluate(given)
    assert ran == ["physics/peak", "physics/holes"]
    assert not (tmp_path / "out/partial").exists()
    given.out = tmp_path / "whole"
    whole = evaluate(given)
    for a, b in zip(resumed["rows"], whole["rows"], strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}


def test_a_failed_metric_is_a_marked_row_and_the_others_come(files, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no memory for this")

    original = run.METRICS["physics/peak"]
    given = numbers_only(files, tmp_path / "out", "--metrics=physics/charge,physics/peak")
    monkeypatch.setitem(run.METRICS, "physics/peak", broken)
    content = evaluate(given)
    failed = [row for row in content["rows"] if row["status"] == "failed"]
    assert [row["metric"] for row in failed] == ["physics/peak"]
    assert failed[0]["note"] == "RuntimeError: no memory for this" and failed[0]["value"] is None
    assert sum(row["status"] == "ok" for row in content["rows"]) == 4
    assert "no memory for this" in (tmp_path / "out/report.html").read_text()
    monkeypatch.setitem(run.METRICS, "physics/peak", original)
    assert {row["status"] for row in evaluate(given)["rows"]} == {"ok", "skipped"}


def test_too_few_images_mark_the_row_of_that_metric(tmp_path, monkeypatch):
    def needs_more(*_):
        raise TooFewImagesError("real: 30 images, at least 50 are needed")

    row = one_row_of("looking", needs_more, tmp_path, monkeypatch)[0]
    assert row["status"] == "too few images" and "at least 50" in row["note"]


def test_a_value_that_did_not_converge_is_never_printed_as_a_number(tmp_path, monkeypatch):
    def unconverged(*_):
        return [Result("looking/mean_image", 3.0, converged=False, note="after 10 iterations")]

    row = one_row_of("looking", unconverged, tmp_path, monkeypatch)[0]
    assert row["status"] == "not converged" and row["value"] is None


def test_a_set_without_faint_pixels_beside_one_with_them_is_warned_of(files, tmp_path):
    images = np.load(files / "real.npy")
    images[:, 0, 0] = 3
    np.save(tmp_path / "faint.npy", images)
    given = numbers_only(files, tmp_path / "a", "--metrics=physics/charge")
    given.real, given.train = str(tmp_path / "faint.npy"), None
    assert "Use --threshold 4" in evaluate(given)["warnings"][0]
    given.out, given.threshold = tmp_path / "b", 4
    assert evaluate(given)["warnings"] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is no report"), ("[]", "is no report"), ('{"schema_version": 0}', "version 0")],
)
def test_what_is_no_report_is_refused(text, message, tmp_path):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        report.read(tmp_path / "report.json")
    with pytest.raises(FileNotFoundError):
        report.read(tmp_path / "none.json")
