"""Addresses are refused by every command and every door, and never become folders."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sgm_jax.data import open_images
from sgm_jax.run.address import refuse_address, refuse_addresses
from sgm_jax.run.files import atomic_write, write_json
from sgm_jax.run.lock import locked
from tests.tiny_command import run_command, tiny_command
from tests.tiny_run import write_images

ADDRESSES = ["gs://bucket/a", "s3://b", "file:///tmp/a", "https://x.org/a.npy", "root://eos/a"]


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_refused_with_the_flag(address, kind):
    with pytest.raises(ValueError, match="--out is .*an address"):
        refuse_addresses({"seed": 3, "out": kind(address)})
    with pytest.raises(ValueError, match=r"--config\.data\.train_path is"):
        refuse_addresses({"config": {"data": {"train_path": address}}})
    with pytest.raises(ValueError, match="--reports is"):
        refuse_addresses({"reports": [Path("a.json"), kind(address)]})
    with pytest.raises(ValueError, match="--variant is"):
        refuse_addresses({"variant": [f"x: --config.data.train_path={address}"]})


@pytest.mark.parametrize(
    "path",
    [
        "runs/a",
        "/tmp/a:b/c",
        "C:/images",
        "a.h5::group/images",
        "10.0.0.1:80",
        "x: --a.b=/c",
        "a:b",
    ],
)
def test_paths_of_files_are_not(path):
    refuse_address(path)
    refuse_address(Path(path))


def test_no_door_of_python_makes_a_folder_of_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    doors = [
        lambda path: write_json(path, {}),
        lambda path: atomic_write(path).__enter__(),
        lambda path: locked(Path(path), fix="").__enter__(),
        lambda path: open_images(path, num_channels=1, image_size=None),
    ]
    for door in doors:
        for address in ADDRESSES:
            with pytest.raises(ValueError, match="an address"):
                door(address)
    assert not list(tmp_path.iterdir())


MAIN, ROOT = "sgm_jax.main", str(Path(__file__).parents[3])
LABEL = ("evaluation.label", "--images=a.npy", "--out=b")
COMMANDS = [
    (MAIN, "--mode=sample", "--pretrained=lar64", "--num_samples=1", "--samples_dir=gs://b/s"),
    (MAIN, "--mode=sample", "--pretrained=lar64", "--inpaint=gs://b/s"),
    (MAIN, "--mode=sample", "--pretrained=gs://b/s.npz"),
    (MAIN, "--config=demo", "--workdir", "gs://b/run"),
    (MAIN, "--config=demo", "--mode=simulate", "--workdir=gs://b/run"),
    (MAIN, "--config=demo", "--config.data.train_path=gs://b/a.npy"),
    (MAIN, "--config=demo", "--mode=convert", "--export=gs://b/a.npz"),
    (MAIN, "--config=gs://b/config.json"),
    ("evaluation", "--real=a", "--generated=b", "--out=gs://b/report"),
    ("evaluation", "--real=gs://b/a", "--generated=b", "--out=report"),
    (*LABEL, "--ssnet=gs://b/a.npz"),
    ("evaluation.train_ssnet", "--config=ssnet", "--workdir=gs://b/a"),
    ("evaluation.train_ssnet", "--config=ssnet", "--config.data.train_path=gs://b/a"),
    ("evaluation.turing", "--real=a", "--generated=b", "--out=gs://b/t.html"),
    ("evaluation.paper", "--workdir=gs://b/a", "--real=a", "--train=a", "--out=c"),
    ("evaluation.compare", "gs://b/report.json"),
    ("evaluation.power", "--real=a", "--train=b", "--work=gs://b/w"),
    ("evaluation.ssnet.quality", "--real=a", "--labels=b", "--out=gs://b/a"),
    ("launch.plan", "--config=demo", "--out=gs://b/a"),
    ("launch.sweep", "--config=demo", "--out=gs://b/a"),
    ("sgm_jax.simulation.validate", "--out=gs://b/a"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_so_in_a_line_and_makes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ROOT)
    ended = run_command([sys.executable, "-m", *command], cwd=tmp_path)
    said = (ended.stdout + ended.stderr).strip().splitlines()
    assert ended.returncode == 1
    assert "is gs:/" in said[-1] and "mount the bucket" in said[-1] and len(said) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_named_like_an_address_is_not_made_by_training(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ROOT)
    config = f"--config={ROOT}/configs/larcv_png64.py"
    command = [config if "--config=" in part else part for part in tiny_command(tmp_path)]
    ended = run_command([*command, "--workdir=s3://bucket/run"], cwd=tmp_path)
    assert ended.returncode == 1 and "--workdir is s3://bucket/run" in ended.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"train.npy", "test.npy"}
    assert np.load(tmp_path / "train.npy").shape == (20, 16, 16)
