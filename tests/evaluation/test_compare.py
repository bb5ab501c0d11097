import copy
import json

import pytest

from evaluation import compare as command
from evaluation.compare import compare, draw, markdown
from evaluation.report import SCHEMA_VERSION


def row(metric, value, **changes):
    given = {"metric": metric, "set": "g", "value": value, "stderr": 0.1, "floor": 1.0, "p": 0.5}
    return given | {"n": 100, "status": "ok", "note": "", "definition": f"of {metric}"} | changes


def content(step=None, w1=2.0):
    real = {"pixel_scale": "0..255", "threshold": 0, "size": [64, 64], "hash_of_used": "a" * 32}
    return {
        "schema_version": SCHEMA_VERSION,
        "roles": {"real": "real", "generated": "g"},
        "floor": "training images (100 and 100 images)",
        "sets": {"real": real, "g": {"checkpoint_step": step}},
        "rows": [row("w1", w1), row("mmd", 0.25)],
    }


@pytest.fixture
def write(tmp_path):
    def save(*contents):
        paths = [tmp_path / f"{place}" / "report.json" for place in range(len(contents))]
        for path, one in zip(paths, contents, strict=True):
            path.parent.mkdir()
            path.write_text(json.dumps(one))
        return paths

    return save


def test_equal_definitions_are_tabulated_with_the_floor(write):
    found = compare(write(content(10), content(20, w1=1.5)))
    assert found["refused"] == {} and set(found["rows"]) == {"w1", "mmd"}
    assert [cell["value"] for cell in found["rows"]["w1"]] == [2.0, 1.5]
    assert [column["step"] for column in found["columns"]] == [10, 20]
    text = markdown(found)
    assert "| w1 | 100 | 1 | 2 ± 0.1 (p 0.5) | 1.5 ± 0.1 (p 0.5) |" in text
    assert "g at step 10 (0)" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"definition": "another"}, "definition differs: of w1 and another"),
        ({"n": 50}, "n differs: 100 and 50"),
    ],
)
def test_rows_of_other_definition_or_size_are_refused_and_the_rest_compared(change, message, write):
    other = content()
    other["rows"][0] |= change
    found = compare(write(content(), other))
    assert found["refused"] == {"w1": message} and set(found["rows"]) == {"mmd"}
    assert message in markdown(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [("pixel_scale", "0..1"), ("threshold", 4), ("size", [32, 32]), ("hash_of_used", "b" * 32)],
)
def test_reports_of_other_scale_size_or_real_images_are_refused(name, value, write):
    other = copy.deepcopy(content())
    other["sets"]["real"][name] = value
    with pytest.raises(ValueError, match="nothing can be compared: .* differ"):
        compare(write(content(), other))


def test_a_row_without_value_is_named_by_its_status(write):
    other = content()
    other["rows"][0] |= {"value": None, "status": "failed"}
    found = compare(write(content(), other))
    assert "| w1 | 100 | 1 | 2 ± 0.1 (p 0.5) | failed |" in markdown(found)


def test_steps_must_be_one_for_each_set(write):
    paths = write(content(), content())
    assert [c["step"] for c in compare(paths, steps=[3, 4])["columns"]] == [3, 4]
    with pytest.raises(ValueError, match="1 --steps for 2"):
        compare(paths, steps=[3])


def test_a_figure_shows_values_in_order_of_steps_and_the_floor():
    cells = [row("w1", 3.0), row("w1", 2.0), None, row("w1", None, status="failed")]
    axes = draw("w1", cells, [20, 10, 30, 40]).axes[0]
    assert list(axes.lines[0].get_xdata()) == [10, 20]
    assert list(axes.lines[0].get_ydata()) == [2.0, 3.0]
    assert axes.patches[0].get_y() == pytest.approx(0.9)
    assert draw("w1", cells, [None, 10, 30, 40]) is None


def test_the_command_writes_a_table_and_figures_and_ends_with_one_line_on_bad_input(
    write, tmp_path, capsys
):
    paths = [str(path) for path in write(content(10), content(20))]
    command.main([*paths, f"--out={tmp_path / 'out'}"])
    assert (tmp_path / "out/compare.md").read_text() in capsys.readouterr().out
    assert (tmp_path / "out/w1.png").is_file()
    with pytest.raises(SystemExit) as ended:
        command.main([*paths, f"--out={tmp_path / 'out'}"])
    assert ended.value.code == 1 and "--overwrite" in capsys.readouterr().out
