"""docs/your_own_images.md does what it says: its lines are run, with fewer and smaller images."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import uproot
from PIL import Image

from tests.larcv3_files import write_larcv3
from tests.tiny_command import environment

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/your_own_images.md").read_text()
(DIVIDE,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
COMMANDS = re.findall(r"^    (python -m .*)$", PAGE.replace("\\\n", ""), re.M)
ROWS = re.findall(r"^\| .* \| `(\".*\")` \| `(\".*\")` \|$", PAGE, re.M)
COUNT, HELD_OUT = 24, 8
# A network and a length that a test has time for.
SMALL = {
    "sgm_jax.main --config": "--config.model.nf=8 --config.model.ch_mult=(1,) "
    "--config.model.attn_resolutions=() --config.training.n_iters=2 "
    "--config.training.batch_size=4 --config.training.snapshot_sampling=False "
    "--config.eval.batch_size=8",
    "--mode=sample": f"--num_samples={HELD_OUT}",
    "evaluation": "--metrics=physics --nossnet",
}


def charges(full):
    """Tracks of up to `full`, ``[N, 64, 64]``."""
    rng = np.random.default_rng(7)
    images = np.zeros((COUNT, 64, 64))
    for image in images:
        rows = np.clip(rng.integers(5, 60) + np.arange(50) * rng.uniform(-0.5, 0.5), 0, 63)
        image[rows.astype(int), np.arange(50)] = rng.uniform(0.2, 1, 50) * full
    return images.astype(np.uint16)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with all the files of the page."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "pictures").mkdir()
    for i, image in enumerate(charges(255)):
        Image.fromarray(image.astype(np.uint8)).save(folder / f"pictures/{i}.png")
    adc = charges(4095)
    for name, part in {"events": adc, "train": adc[:-HELD_OUT], "test": adc[-HELD_OUT:]}.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["adc"] = part
    with uproot.recreate(folder / "events.root") as file:
        file.mktree("events", {"run": np.int32, "adc": np.dtype((np.float32, (64, 64)))})
        file["events"].extend({"run": np.arange(COUNT), "adc": adc.astype(np.float32)})
    planes = np.stack([0 * adc, 0 * adc, charges(500)], axis=1)
    write_larcv3(folder / "larcv3.h5", "sparse2d", planes)
    for name, part in {"train": slice(HELD_OUT, None), "test": slice(HELD_OUT)}.items():
        shown = charges(255)[part]
        np.save(folder / f"my_{name}.npy", shown)
        rows = [f"{('muon', 'proton')[i % 2]},0,0,{300 + i}" for i in range(len(shown))]
        (folder / f"my_{name}.csv").write_text("\n".join(["particle,px,py,pz", *rows]) + "\n")
    return folder


def run(command, folder):
    environ = environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def small(command):
    """Return the words of a command of the page, with what makes it small behind them."""
    words = shlex.split(command)
    return [sys.executable, *words[1:], *next(v for k, v in SMALL.items() if k in command).split()]


def divided(path, scaling, folder, monkeypatch):
    """Run the lines that divide a set; return what they define."""
    monkeypatch.chdir(folder)
    lines, found = re.subn(r"PATH, SCALING = .*", f"PATH, SCALING = {path}, {scaling}", DIVIDE)
    assert found == 1
    names = {}
    exec(lines.replace("1000", str(HELD_OUT)), names)
    return names


@pytest.mark.parametrize(("path", "scaling"), [row for row in ROWS if "larcv2" not in row[0]])
def test_the_lines_that_divide_a_set_give_its_images(desk, monkeypatch, path, scaling):
    divided(path, scaling, desk, monkeypatch)
    full = float(scaling.strip('"').rpartition(":")[2].replace("none", "255"))
    expected = charges(int(full)) / full * 255
    stored = np.concatenate([np.load(desk / "train.npy"), np.load(desk / "test.npy")])
    assert len(np.load(desk / "test.npy")) == HELD_OUT
    np.testing.assert_allclose(stored[..., 0], expected, rtol=1e-6)


def test_all_the_rows_of_the_table_are_run():
    assert len(ROWS) == 5 and DIVIDE.count("1000") == 2 and len(COMMANDS) == 6


def test_without_a_scale_the_lines_say_which_values_a_file_has(desk, monkeypatch):
    largest = charges(4095).max()
    with pytest.raises(ValueError, match=rf"span 0\.\.{largest}"):
        divided(ROWS[1][0], '"none"', desk, monkeypatch)


@pytest.mark.slow
def test_the_commands_lead_to_a_report(desk, monkeypatch):
    divided(*ROWS[2], desk, monkeypatch)
    for command in COMMANDS:
        run(small(command), desk)
    drawn = np.load(desk / "drawn/samples.npz")["samples"]
    assert drawn.shape[:3] == (HELD_OUT, 64, 64) and drawn.dtype == np.uint8
    for report in ("report", "report_large"):
        assert (desk / report / "report.html").stat().st_size > 10_000
    for trained in ("large", "asked"):
        assert list((desk / "runs" / trained / "checkpoints").iterdir())
