import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics.metric import Result
from launch.sweep import cases, compare, judge, report
from sgm_jax.run.interruption import Stop
from sgm_jax.trained import export_weights, from_run
from tests.tiny_run import EDM, tiny_config, write_images


@pytest.fixture
def base(tmp_path):
    write_images(tmp_path)
    return tiny_config(tmp_path, **EDM | {"training.n_iters": 2, "eval.num_samples": 6})


def test_flags_of_a_variant_and_a_sampler_are_read_as_typed(base):
    variant = cases.parse_option(
        "wide, fast: --config.model.ch_mult='(1,2)' --config.optim.lr=0.5", base, sampler=False
    )
    assert variant.name == "wide, fast"
    assert variant.config.model.ch_mult == (1, 2) and variant.config.optim.lr == 0.5
    assert base.optim.lr != 0.5
    text = "ddim4: --config.sampling.method=ddim --num_samples=30 --ema=0.99"
    sampler = cases.parse_option(text, base, sampler=True)
    assert sampler.config.sampling.method == "ddim"
    assert (sampler.num_samples, sampler.ema) == (30, 0.99)


@pytest.mark.parametrize(
    ("variants", "samplers", "message"),
    [
        (["--config.optim.lr=1"], [], "has no name"),
        (["a: --config.optim.rate=1"], [], "rate"),
        (["a: --config.optim.lr=fast"], [], "fast"),
        (["a: config.optim.lr=1"], [], "is no flag; write --config"),
        (["a: --num_samples=5"], [], "num_samples"),
        (["a: --config.optim.lr='1"], [], "quotation"),
        (["a: --config.optim.lr=-1"], [], "optim.lr"),
        (["base: --config.optim.lr=1"], [], "--variant: names must differ.*base"),
        (["a,b: --config.optim.lr=1", "a b: --config.optim.lr=2"], [], "rename a b, a,b"),
        ([], ["wide: --config.model.nf=16"], "'wide' changes the network .*make it a --variant"),
        ([], ["x: --num_samples=1"], "num_samples"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_touched(base, variants, samplers, message):
    with pytest.raises(ValueError, match=message):
        cases.plan(base, variants, samplers)


def test_a_variant_of_sampling_alone_draws_from_the_network_of_base(base):
    variants = ["few: --config.sampling.num_steps=3", "lr: --config.optim.lr=0.5"]
    trained, rows = cases.plan(base, variants, ["ddim: --config.sampling.method=ddim"])
    assert list(trained) == ["base", "lr"]
    names = [(row.variant.name, row.sampler.name, row.network) for row in rows]
    assert names == [
        *(("base", "default", "base"), ("base", "ddim", "base")),
        *(("few", "default", "base"), ("few", "ddim", "base")),
        *(("lr", "default", "lr"), ("lr", "ddim", "lr")),
    ]


def test_rows_with_the_same_images_are_shown_once(base):
    variants, samplers = (
        ["few: --config.sampling.num_steps=3"],
        ["few: --config.sampling.num_steps=3"],
    )
    _, rows = cases.plan(base, variants, samplers)
    assert [(row.variant.name, row.sampler.name) for row in rows] == [
        ("base", "default"),
        ("base", "few"),
    ]


def _number(value, stderr=1.0, floor=5.0):
    return {"value": value, "stderr": stderr, "floor": floor}


def _sweep(base, folder, **options):
    trained, rows = cases.plan(base, ["few: --config.sampling.num_steps=3"], [])
    return compare.Sweep(trained, rows, folder, **{"seeds": [0]} | options)


@pytest.mark.usefixtures("optax_promotion")
def test_rows_are_trained_drawn_and_judged_and_nothing_is_made_twice(base, tmp_path, monkeypatch):
    sweep = _sweep(base, tmp_path / "out")

    def mean_charge(folder):
        with np.load(folder / "samples.npz") as arrays:
            return {"physics": _number(float(arrays["raw"].mean()))}

    rows = list(sweep.rows(mean_charge))
    assert [row["variant"] for row in rows] == ["base", "few"]
    parts = [row["seeds"][0] for row in rows]
    assert [part["steps"] for part in parts] == [2, 2]
    assert [part["network_evaluations"] for part in parts] == [35, 5]
    assert rows[0]["quality"] != rows[1]["quality"]
    assert parts[0]["cpu_seconds"] == parts[1]["cpu_seconds"] > 0.0
    monkeypatch.setattr("sgm_jax.train.train", None)
    again = list(sweep.rows(mean_charge))
    assert again == rows
    content = {"config": "x.py", "rows": rows}
    content["provenance"] = {"command": ["x"], "time": "now", "git_commit": "abc"}
    report.write(content, np.zeros((20, 16, 16), np.uint8), tmp_path)
    assert json.loads((tmp_path / "sweep.json").read_text())["rows"] == json.loads(json.dumps(rows))
    assert (tmp_path / "sweep.png").is_file()
    # The base as a finished run: another seed draws other images from it.
    run = tmp_path / "out/runs/base_seed0"
    found = _sweep(base, tmp_path / "other", seeds=[0, 1], workdir=run)
    found.check_runs()
    base_row = next(found.rows(mean_charge))
    assert base_row["seeds"][0]["quality"] == rows[0]["seeds"][0]["quality"]
    assert base_row["seeds"][1]["quality"] != rows[0]["quality"]
    # And as a file of its weights.
    weights = str(tmp_path / "weights.npz")
    export_weights(from_run(base, run), Path(weights))
    pretrained = _sweep(base, tmp_path / "pretrained", pretrained=weights)
    pretrained.check_runs()
    assert [row["quality"] for row in pretrained.rows(mean_charge)] == [r["quality"] for r in rows]
    averages = cases.plan(base, [], ["average: --config.sampling.num_steps=3 --ema=0.99"])
    with pytest.raises(ValueError, match=r"average.*--ema=0.99"):
        compare.Sweep(*averages, tmp_path / "pretrained", [0], pretrained=weights).check_runs()
    # A run of other settings is refused at the door.
    base.optim.lr = 0.7
    with pytest.raises(ValueError, match=r"weights.npz is of another.*optim.lr"):
        _sweep(base, tmp_path / "out", pretrained=weights).check_runs()
    with pytest.raises(ValueError, match=r"base_seed0 was trained with other.*optim.lr.*--out"):
        _sweep(base, tmp_path / "out").check_runs()
    with pytest.raises(FileNotFoundError, match="--workdir=.*holds no run"):
        _sweep(base, tmp_path / "out", workdir=tmp_path / "none").check_runs()


def test_a_budget_asks_a_training_to_stop_and_adds_up_over_starts(tmp_path):
    note = tmp_path / "run/cpu_seconds.json"
    first = compare.CpuBudget(0.2, note)
    with first, Stop() as stop:
        until = time.monotonic() + 30.0
        while not stop.requested and time.monotonic() < until:
            sum(range(1000))
    assert stop.requested and first.spent
    assert compare.CpuBudget(0.2, note).spent
    assert not compare.CpuBudget(first.used + 1.0, note).spent
    assert not compare.CpuBudget(None, note).spent


def test_a_budget_does_not_end_a_command_that_is_not_training(tmp_path):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with compare.CpuBudget(0.0, tmp_path / "cpu_seconds.json"):
        time.sleep(1.5)
    assert os.getpid()


def test_numbers_are_sums_of_chi2_of_all_images_above_their_floors_per_1000():
    results = [
        Result(f"physics/{kind}/chi2_two_sample", value, stderr, floor, n=500)
        for kind, value, stderr, floor in [
            ("all/holes", 20.0, 3.0, 12.0),
            ("all/peak", 30.0, 4.0, 40.0),
            ("tracks/peak", 999.0, 4.0, 0.0),
        ]
    ]
    results.append(Result("fid/full", 9.0, 1.0, 4.0))
    results.append(Result("mmd/unbiased", 9.0, 1.0, 4.0, status="failed"))
    assert judge.from_results(results) == {
        "physics": _number(-4.0, 10.0, 104.0),
        "fid/full": _number(5.0, 1.0, 4.0),
    }


def test_a_row_is_worse_by_two_combined_errors_or_by_a_missing_number():
    reference = {"physics": _number(-2.0), "fid/full": _number(0.0)}
    assert not judge.is_worse(reference, reference)
    assert not judge.is_worse({"physics": _number(4.0), "fid/full": _number(0.0)}, reference)
    assert judge.is_worse({"physics": _number(5.0), "fid/full": _number(0.0)}, reference)
    assert judge.is_worse({"physics": _number(0.0)}, reference)
    noisy = reference | {"dark_rms": _number(99.0)}
    assert not judge.is_worse(noisy, reference)


def test_the_error_over_seeds_is_the_larger_of_two():
    near, far = ([{"physics": _number(value)} for value in pair] for pair in ((1, 1), (1, 9)))
    assert judge.mean_of(near)["physics"] == _number(1.0, pytest.approx(0.5**0.5))
    assert judge.mean_of(far)["physics"] == _number(5.0, pytest.approx(4.0))
    assert judge.mean_of([near[0], {}]) == {}


@pytest.mark.slow
def test_real_images_are_as_good_as_real_ones_and_noise_is_not(tmp_path):
    rng = np.random.default_rng(0)
    lots = rng.random((3, 60, 16, 16))
    # Real images have faint pixels, too, which are cut off in drawn ones.
    images = np.select([lots < 0.1, lots < 0.2], [200, 3], 0).astype(np.uint8)
    images[2][images[2] <= 4] = 0
    for name, stack in zip(("test", "train"), images[:2], strict=True):
        np.save(tmp_path / f"{name}.npy", stack)
    paths = [str(tmp_path / f"{name}.npy") for name in ("test", "train")]
    ours = judge.Judge(*paths, count=60, folder=tmp_path / "judge")
    noise = rng.integers(0, 256, images[2].shape).astype(np.uint8)
    found = []
    for name, stack in (("same", images[2]), ("noise", noise)):
        (tmp_path / name).mkdir()
        raw = stack[..., None].astype(np.float32)
        np.savez(tmp_path / name / "samples.npz", samples=stack[..., None], raw=raw)
        found.append(ours(tmp_path / name))
    assert abs(found[0]["physics"]["value"]) < 5 * found[0]["physics"]["stderr"]
    assert abs(found[0]["lit_share"]["value"]) < 5 * found[0]["lit_share"]["stderr"]
    assert judge.is_worse(found[1], found[0])
    assert ours(tmp_path / "same") == found[0]
    with pytest.raises(ValueError, match="60 images, and sets of 61 are compared; lower"):
        judge.Judge(*paths, count=61, folder=tmp_path / "judge")
