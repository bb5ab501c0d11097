import subprocess
import sys

import numpy as np
import pytest

from evaluation.__main__ import main, make_report, parse
from tests.evaluation.drawn_images import drawn_images


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for place, name in enumerate(("real", "generated")):
        np.save(folder / f"{name}.npy", drawn_images(50, seed=place, size=16))
    np.save(folder / "large.npy", drawn_images(50, seed=3, size=32))
    np.save(folder / "unit.npy", np.float32(drawn_images(50, seed=4, size=16) / 255))
    return folder


def line(files, out, **changes):
    given = {"real": files / "real.npy", "generated": files / "generated.npy", "out": out}
    return [
        f"--{name}={value}" for name, value in (given | {"metrics": "looking"} | changes).items()
    ]


def test_the_command_makes_a_report_in_a_process_of_its_own(files, tmp_path):
    command = [sys.executable, "-m", "evaluation", *line(files, tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "looking (generated)" in ended.stderr and "report.html" in ended.stdout
    assert len(list((tmp_path / "out/figures").glob("*.png"))) == 17
    assert (tmp_path / "out/report.json").is_file()
    assert not (tmp_path / "out/partial").exists()


@pytest.mark.parametrize("module", ["__main__", "compare", "label", "power", "train_ssnet"])
def test_commands_do_not_import_jax_before_they_set_its_environment(module):
    check = f"import sys, evaluation.{module}; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generated": "large.npy"}, "16x16 but .* 32x32"),
        ({"generated": "unit.npy"}, "looks like 0..1: multiply by 255"),
        ({"generated": "none.npy"}, "no file or folder"),
        ({"metrics": "chi3"}, "unknown metrics .*chi3.*choose from physics/"),
        ({"name": "a/b"}, "must consist of letters"),
        ({"name": "real"}, "one name"),
        ({"threshold": "4.5"}, "write auto or a whole number from 0 to 254"),
        ({"scaling": "minmax"}, "unknown scaling 'minmax'; it can be: none, per_image"),
    ],
)
def test_bad_input_ends_with_one_line_and_leaves_nothing(files, tmp_path, changes, message, caplog):
    if "generated" in changes:
        changes = {"generated": files / changes["generated"]}
    given = parse(line(files, tmp_path / "out", **changes))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_report(given)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as ended:
        main(line(files, tmp_path / "out", **changes))
    assert ended.value.code == 1


def test_a_ceiling_needs_training_images(files, tmp_path):
    with pytest.raises(ValueError, match="give --train"):
        make_report(parse([*line(files, tmp_path / "out"), "--ceiling"]))


def test_an_existing_folder_is_refused_and_a_finished_report_replaced_on_request(files, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("x")
    for more in ([], ["--overwrite"]):
        with pytest.raises(ValueError, match="no report: choose another"):
            make_report(parse(line(files, tmp_path / "mine") + more))
    make_report(parse([*line(files, tmp_path / "out"), "--nofigures"]))
    with pytest.raises(ValueError, match="finished report: add --overwrite"):
        make_report(parse([*line(files, tmp_path / "out"), "--nofigures"]))
    with pytest.raises(ValueError, match="multiply by 255"):
        make_report(parse([*line(files, tmp_path / "out", real=files / "unit.npy"), "--overwrite"]))
    assert (tmp_path / "out/report.json").is_file()  # bad input does not cost the old report
    make_report(parse([*line(files, tmp_path / "out", seed=1), "--nofigures", "--overwrite"]))
    assert (tmp_path / "out/report.json").is_file()
