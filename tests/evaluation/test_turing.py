import base64
import io
import json
import re
import time

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom

from evaluation import turing
from evaluation.turing import page
from tests.evaluation.browser import browser, programs
from tests.evaluation.drawn_images import drawn_images

COUNT = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for place, name in enumerate(("real", "generated")):
        np.save(folder / f"{name}.npy", drawn_images(30, seed=place, size=16))
        with h5py.File(folder / f"{name}.h5", "w") as labels:
            labels["is_track"] = np.arange(30) < 12 + place
    np.save(folder / "large.npy", drawn_images(30, seed=3, size=32))
    # Some are above the threshold before they are rounded, and not after that.
    whole = np.load(folder / "generated.npy")
    np.save(folder / "float.npy", np.clip(np.float32(whole) + 0.25, 0, 255) * (whole > 0))
    return folder


def line(files, out, *more, **changes):
    given = {"real": "real.npy", "generated": "generated.npy"} | changes
    given = {name: files / value for name, value in given.items()}
    options = [f"--{name}={value}" for name, value in given.items()]
    return [*options, f"--out={out}", f"--count={COUNT}", "--name=A & <b>", *more]


def labels(files):
    return [f"--labels_{name}={files / name}.h5" for name in ("real", "generated")]


@pytest.fixture(scope="module")
def made(files):
    out = files / "turing.html"
    turing.main(line(files, out, *labels(files), "--threshold=20", "--seed=3"))
    return out


def content(path):
    text = re.search(r'type="application/json">(.*?)</script>', path.read_text(), re.S)[1]
    return json.loads(text)


def pictures(path):
    found = content(path)["images"]
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def is_generated(files, path):
    """Say of each image of the page whether it is one of the generated set."""
    generated = np.load(files / "generated.npy")
    generated[generated <= 20] = 0
    return [bool((generated == np.asarray(one)).all(axis=(1, 2)).any()) for one in pictures(path)]


def test_the_page_is_one_file_that_refers_to_nothing(made):
    text = made.read_text()
    assert "http://" not in text and "https://" not in text
    assert "<title>A &amp; &lt;b&gt;</title>" in text
    assert re.findall(r'<script[^>]* src|<link[^>]*href="(?!data:,")', text) == []
    assert "default-src 'none'" in text


def test_images_differ_in_their_pixels_only(files, made):
    assert {(one.size, one.mode, one.format) for one in pictures(made)} == {((16, 16), "L", "PNG")}
    assert sum(is_generated(files, made)) == COUNT and len(pictures(made)) == 2 * COUNT
    for one in pictures(made):
        pixels = np.asarray(one)
        assert not ((pixels > 0) & (pixels <= 20)).any() and pixels.max() > 200


def test_the_seed_decides_and_the_answers_are_not_plain(files, made, tmp_path):
    turing.main(line(files, tmp_path / "a.html", *labels(files), "--threshold=20", "--seed=3"))
    assert (tmp_path / "a.html").read_text() == made.read_text()
    turing.main(line(files, tmp_path / "b.html", *labels(files), "--threshold=20", "--seed=4"))
    assert content(tmp_path / "b.html")["images"] != content(made)["images"]
    masked = content(made)["masked"]
    assert max(masked) > 5 and len({value & 1 for value in masked}) == 2
    assert [bool(value & 1) for value in masked] != is_generated(files, made)


def test_floating_point_images_look_like_whole_ones(files, tmp_path):
    turing.main(line(files, tmp_path / "a.html", "--threshold=20"))
    turing.main(line(files, tmp_path / "b.html", "--threshold=20", generated="float.npy"))
    assert content(tmp_path / "a.html")["images"] == content(tmp_path / "b.html")["images"]


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({"generated": "large.npy"}, [], "16x16 but .* 32x32"),
        ({"generated": "none.npy"}, [], "no file or folder"),
        ({}, ["--count=31"], "30 images, but the page takes 31; lower --count"),
        ({}, ["--count=0"], "--count=0 must be from 1 to 500"),
        ({"labels_real": "real.h5"}, [], "labels of one set only"),
        ({"labels_real": "real.h5", "labels_generated": "generated.h5"}, ["--count=26"], "tracks"),
    ],
)
def test_bad_input_ends_with_one_line_and_leaves_nothing(
    files, tmp_path, changes, more, message, caplog
):
    out = tmp_path / "page.html"
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        turing.main([*line(files, out, **changes), *more, "--debug"])
    assert not out.exists()


def test_a_page_is_replaced_on_request_only(files, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(ValueError, match="add --overwrite"):
        turing.main([*line(files, out), "--debug"])
    assert out.read_text() == "mine"
    turing.main([*line(files, out), "--overwrite"])
    assert len(pictures(out)) == 2 * COUNT
    with pytest.raises(FileNotFoundError, match="no folder"):
        turing.main([*line(files, tmp_path / "none/page.html"), "--debug"])


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="2 real and 1 generated"):
        page([1, 2], [1], title="t", seed=0)


@pytest.fixture(scope="module", params=["desktop", "phone"])
def opened(request, tmp_path_factory):
    programs()
    folder = tmp_path_factory.mktemp(request.param)
    with browser(folder, phone=request.param == "phone") as window:
        yield window, folder / "downloads"


def element(window, name):
    return window.find_element("id", name)


def overflow(window):
    return window.execute_script("return document.documentElement.scrollWidth - innerWidth")


def saved(folder):
    for _ in range(200):
        found = list(folder.glob("*.json"))
        if found:
            text = json.loads(found[0].read_text())
            found[0].unlink()
            return text
        time.sleep(0.1)
    raise AssertionError(f"no JSON file arrived in {folder}")


@pytest.mark.parametrize("wrong", [0, 3])
def test_the_score_is_that_of_the_clicks_and_is_saved(opened, files, made, wrong):
    window, downloads = opened
    window.get(made.as_uri())
    truth = is_generated(files, made)
    for place, generated in enumerate(truth):
        assert element(window, "place").text == f"Image {place + 1} of {2 * COUNT}"
        answer = generated if place >= wrong else not generated
        element(window, "generated" if answer else "real").click()
    assert not element(window, "choices").is_displayed()
    element(window, "show").click()
    right = 2 * COUNT - wrong
    assert element(window, "score").text == f"{right} of {2 * COUNT} right"
    assert window.switch_to.active_element.get_attribute("id") == "score"
    assert overflow(window) <= 0
    element(window, "save").click()
    found = saved(downloads)
    assert [one["truth"] == "generated" for one in found["answers"]] == truth
    assert all(one["milliseconds"] >= 0 and one["brightness"] == 1 for one in found["answers"])
    score = found["score"]
    assert score["all"]["right"] == right
    assert score["all"]["p"] == pytest.approx(binom.sf(right - 1, 2 * COUNT, 0.5))
    assert {name: part["images"] for name, part in score.items()} == {
        "all": 2 * COUNT,
        "track": COUNT,
        "shower": COUNT,
    }
    assert found["sets"]["real"]["fingerprint"] and found["seed"] == 3
    assert window.get_log("browser") == []


def test_p_is_that_of_scipy_for_every_outcome(opened, made):
    window, _ = opened
    window.get(made.as_uri())
    script = "const n = arguments[0], out = []; "
    script += "for (let k = 0; k <= n; k++) out.push(binomialTail(k, n)); return out"
    for count in (1, 7, 100, 1000):
        found = window.execute_script(script, count)
        expected = binom.sf(np.arange(count + 1) - 1, count, 0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_keys_answer_and_undo_takes_back(opened, made):
    window, _ = opened
    window.get(made.as_uri())
    body = window.find_element("tag name", "body")
    assert not element(window, "undo").is_enabled()
    for key, place in (("r", 2), ("\ue014", 3), ("g", 4), ("u", 3), ("\ue003", 2), ("b", 2)):
        body.send_keys(key)  # \ue014 is the right arrow, \ue003 backspace
        assert element(window, "place").text == f"Image {place} of {2 * COUNT}"
    assert element(window, "image").value_of_css_property("filter") == "brightness(4)"
    body.send_keys("r" * (2 * COUNT + 3))
    assert element(window, "place").text == f"All {2 * COUNT} images answered."
    element(window, "undo").click()
    assert element(window, "place").text == f"Image {2 * COUNT} of {2 * COUNT}"


def test_targets_are_large_named_and_legible_in_light_and_dark(opened, made):
    window, _ = opened
    window.get(made.as_uri())
    assert overflow(window) <= 0
    assert element(window, "image").get_attribute("alt") == f"Image 1 of {2 * COUNT}"
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        window.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        for name in ("real", "generated"):
            button = element(window, name)
            assert min(button.size["height"], button.size["width"]) >= 44
            assert button.accessible_name
            assert contrast(button, button) >= 4.5
        assert contrast(element(window, "task"), window.find_element("tag name", "body")) >= 4.5


def contrast(text, ground):
    """Return the contrast of a text colour on a background, as WCAG 2 defines it."""
    luminances = []
    for one, name in ((text, "color"), (ground, "background-color")):
        value = [float(part) for part in re.findall(r"[\d.]+", one.value_of_css_property(name))[:3]]
        unit = np.array(value) / 255
        linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
        luminances.append(linear @ [0.2126, 0.7152, 0.0722])
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


def test_a_cut_of_one_set_gives_nothing_away(files, tmp_path):
    images = drawn_images(30, seed=9, size=16)
    rng = np.random.default_rng(0)
    faint = np.where(images > 0, images, rng.integers(0, 9, images.shape)).astype(np.uint8)
    np.save(tmp_path / "faint.npy", faint)
    np.save(tmp_path / "cut.npy", np.where(faint > 4, faint, 0))
    sets = {"real": tmp_path / "faint.npy", "generated": tmp_path / "cut.npy"}
    turing.main(line(files, tmp_path / "a.html", **sets))
    assert all(
        facts["threshold"] == 4 for facts in content(tmp_path / "a.html")["facts"]["sets"].values()
    )
    lit = [np.asarray(picture) for picture in pictures(tmp_path / "a.html")]
    assert all(((image == 0) | (image > 4)).all() for image in lit)
    turing.main(line(files, tmp_path / "b.html", "--threshold=0", **sets))
    assert any((np.asarray(picture) == 1).any() for picture in pictures(tmp_path / "b.html"))
