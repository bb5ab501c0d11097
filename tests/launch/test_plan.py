"""Plans: a step's cost is read from the real program, and hours follow from the chip's peaks."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import programs
from launch.plan import chips, compiled, report, roofline
from launch.plan.__main__ import Plan
from launch.plan.roofline import Cost
from sgm_jax.generators import score
from sgm_jax.run import parallel
from tests.tiny_run import EDM, tiny_config

ROOT = Path(__file__).parents[2]
V5E = chips.topology("v5e:2x2")
GIB = 2**30


@pytest.mark.parametrize(
    ("name", "count", "peak"),
    [("v5e:2x2", 4, 197e12), ("v4:2x2x1", 4, 275e12), ("v6e:16x16", 256, 918e12)],
)
def test_a_slice_has_its_chips_and_their_peak(name, count, peak):
    where = chips.topology(name)
    assert where.count == count and where.chip.peak_flops == peak


@pytest.mark.parametrize("name", ["v5e", "v5e:", "v9:2x2", "v5e:2", "v5e:2xx2", "v5e-8"])
def test_an_unknown_slice_is_refused_with_the_known_chips(name):
    with pytest.raises(ValueError, match=rf"--topology={name} is unknown.*v4, v5e, v6e"):
        chips.topology(name)


PROGRAM = """
  %a = f32[512,512]{1,0:T(8,128)S(1)} all-reduce(%fusion), channel_id=1, to_apply=%add
  %b = (bf16[8]{0}, f32[]) all-reduce-start(%x, %y), channel_id=2
  %c = (bf16[8]{0}, f32[]) all-reduce-done(%b)
  %d = (f32[2,4]{1,0}, f32[8,4]{1,0:T(8,128)}) all-gather-start(f32[2,4]{1,0} %z), dimensions={0}
  %e = f32[8,4] all-gather-done(%d), metadata={op_name="all-gather(x)"}
  %f = pred[16] reduce-scatter(pred[64] %m), dimensions={0}
"""


def test_exchanges_are_counted_once_with_the_bytes_of_their_results():
    assert compiled.exchanges(PROGRAM) == {
        "all-reduce": [2, 4 * 512 * 512 + 2 * 8 + 4],
        "all-gather": [1, 4 * 32],
        "reduce-scatter": [1, 16],
    }


COST = Cost(flops=197e9, bytes_accessed=1638e6, memory_bytes=2 * GIB, exchanges={"x": [1, 2**20]})


def _estimate(cost=COST, where=V5E, **options):
    options = {"dtype": "bfloat16", "precision": "default", "images_per_chip": 8} | options
    return roofline.Estimate(where, cost=cost, **options)


def test_the_best_time_is_the_longer_of_work_and_traffic():
    one = _estimate()
    np.testing.assert_allclose(one.flop_seconds, 1e-3)
    np.testing.assert_allclose(one.step_seconds, 2e-3)
    np.testing.assert_allclose(one.share_of_peak, 0.5)
    np.testing.assert_allclose(one.exchange_seconds, 2**20 / 200e9)
    # 4 chips, 8 images each, 2 ms: 16,000 images a second.
    np.testing.assert_allclose(one.hours(16_000 * 3600), 1.0)


@pytest.mark.parametrize(
    ("dtype", "precision", "milliseconds"),
    [
        ("float32", "default", 1),
        ("float32", "high", 3),
        ("float32", "highest", 6),
        ("bfloat16", "highest", 1),
    ],
)
def test_a_float32_product_is_as_many_bf16_ones_as_its_precision_needs(
    dtype, precision, milliseconds
):
    one = _estimate(dtype=dtype, precision=precision)
    np.testing.assert_allclose(one.flop_seconds, 1e-3 * milliseconds)


def test_the_largest_batch_lies_on_a_line_through_two():
    costs = {8: Cost(memory_bytes=5 * GIB), 4: Cost(memory_bytes=3 * GIB)}
    # 1 GiB and half a GiB an image: 30 images fill 16 GiB.
    assert roofline.largest(costs, 16 * GIB) == 30


def test_what_the_compiler_refused_does_not_fit(tmp_path):
    refused, fitting = Cost(refused="RESOURCE_EXHAUSTED: too much"), Cost(memory_bytes=9 * GIB)
    assert roofline.largest({8: refused, 4: fitting}, 16 * GIB) == 4
    assert roofline.largest({8: refused, 4: refused}, 16 * GIB) == 0
    assert not _estimate(refused).fits and _estimate().fits
    assert not _estimate(Cost(flops=1.0, memory_bytes=17 * GIB)).fits
    row = report.table([_estimate(refused)], {"a run": 1}).splitlines()[-1]
    assert "| > 16 | no |" in row
    report.save(tmp_path / "plan", "text", [_estimate(refused)])
    assert not json.loads((tmp_path / "plan.json").read_text())[0]["fits"]


def test_the_table_has_a_value_in_every_column_and_scaling_from_the_first_slice():
    slower = dataclasses.replace(COST, bytes_accessed=2 * COST.bytes_accessed)
    rows = [_estimate(), _estimate(slower, chips.topology("v5e:4x8"), images_per_chip=4)]
    rows.append(_estimate(Cost(refused="RESOURCE_EXHAUSTED: too much")))
    # 4 chips, 8 images each, 2 ms; then twice as long a run.
    header, line, *lines = report.table(rows, {"a": 57_600_000, "b": 115_200_000}).splitlines()
    assert all(text.count("|") == header.count("|") for text in (line, *lines))
    assert lines[0].endswith("| 1.00 | 1 | 4 | 2 | 8 |")
    # Half the images on a chip, in twice the time, on eight times the chips.
    assert lines[1].endswith("| 0.25 | 0.5 | 16 | 1 | 32 |")


@pytest.fixture(scope="module")
def train_cost():
    with jax.numpy_dtype_promotion("standard"):
        lowered = programs.lower_train(tiny_config(Path()), jax.devices(), images_per_device=1)
    return compiled.compile_cost(lowered)


def test_a_training_step_exchanges_its_gradients_once(train_cost):
    config = tiny_config(Path())
    params = jax.eval_shape(score.build(config).initial_state, jax.random.key(0)).params
    gradients = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    assert set(train_cost.exchanges) == {"all-reduce"}
    # Biases that are added to one another have the same gradient, which is sent once.
    assert 0.98 * gradients < train_cost.exchanged_bytes < gradients + 64


def test_a_training_step_holds_parameters_averages_and_moments(train_cost):
    generator = score.build(tiny_config(Path()))
    params = jax.eval_shape(generator.initial_state, jax.random.key(0)).params
    size = 4 * sum(leaf.size for leaf in jax.tree.leaves(params))
    images = 4 * 16 * 16
    assert 4 * size + images <= train_cost.argument_bytes < 4 * size + images + 1000
    assert train_cost.memory_bytes > train_cost.argument_bytes


def test_a_sampler_step_is_a_third_of_a_training_step_or_less(train_cost):
    config = tiny_config(Path(), **{"model.num_scales": 100})
    lowered = programs.lower_sample(config, jax.devices(), images_per_device=1)
    found = compiled.compile_cost(lowered)
    assert 0.1 * train_cost.flops < found.flops < 0.5 * train_cost.flops
    assert not found.exchanges


@pytest.mark.parametrize("options", [EDM, {"training.dtype": "bfloat16"}], ids=["edm", "bfloat16"])
@pytest.mark.usefixtures("optax_promotion")
def test_other_networks_are_lowered_for_devices_as_well(options):
    config = tiny_config(Path(), **options)
    text = programs.lower_train(config, jax.devices()[:2], images_per_device=3).as_text()
    assert "mhlo.num_partitions = 2" in text
    assert ("bf16" in text) == ("training.dtype" in options)


def _lowered(value):
    mapped = parallel.batch_function(lambda x: x * value, in_axes=(0,), devices=jax.devices())
    return mapped.lower(jax.ShapeDtypeStruct((8, 4), jnp.float32))


def test_what_was_compiled_once_is_read_back(tmp_path):
    compiled.cost(_lowered(2.0), "here", cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"flops": 12345.0}))
    assert compiled.cost(_lowered(2.0), "here", cache=tmp_path).flops == 12345.0
    assert compiled.cost(_lowered(3.0), "here", cache=tmp_path).flops != 12345.0
    assert compiled.cost(_lowered(2.0), "there", cache=tmp_path).flops != 12345.0


def test_runs_are_counted_in_images(tmp_path):
    config = tiny_config(tmp_path, **{"training.batch_size": 16})
    assert Plan(config, "train", "default").runs([50, 9]) == {"50 steps": 800, "9 steps": 144}
    plan = Plan(config, "sample", "default")
    assert plan.runs([]) == {"12 images of 10 steps": 120}
    assert plan.runs([3], 100) == {"100 images of 3 steps": 300}


def test_other_numbers_of_images_lie_on_lines_through_two():
    few = Cost(flops=10.0, bytes_accessed=5.0, memory_bytes=100, exchanges={"all-reduce": [1, 8]})
    many = dataclasses.replace(few, flops=18.0, bytes_accessed=7.0, memory_bytes=140)
    costs = {4: few, 8: many}
    assert roofline.between(costs, 16) == dataclasses.replace(
        few, flops=34.0, bytes_accessed=11.0, memory_bytes=220
    )
    assert roofline.between(costs | {8: Cost(refused="too much")}, 2).refused == "too much"


def test_a_sampler_that_chooses_its_steps_is_refused(tmp_path):
    config = tiny_config(tmp_path, **{"sampling.method": "ode"})
    with pytest.raises(ValueError, match="method=ode chooses its steps.*method=pc"):
        Plan(config, "sample", "default").runs([])


def test_a_batch_that_the_chips_cannot_share_is_refused(tmp_path):
    plan = Plan(tiny_config(tmp_path), "train", "default")
    with pytest.raises(
        ValueError, match=r"batch_size 8 is not divisible by the 32 chips of v5e:4x8"
    ):
        plan.estimate(chips.topology("v5e:4x8"), "float32", find_largest=False)


needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="needs libtpu, the extra tpu"
)


@needs_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:2x4", "v6e:2x2"])
def test_a_slice_has_a_device_for_each_chip(name, monkeypatch):
    for variable, value in chips.ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    where = chips.topology(name)
    assert len(chips.devices(where)) == where.count


@needs_libtpu
def test_a_slice_that_does_not_exist_is_refused(monkeypatch):
    for variable, value in chips.ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match="--topology=v5e:2x3: .*not divisible"):
        chips.devices(chips.topology("v5e:2x3"))


def _planned(folder, *options):
    """Return the rows that the command saves for a tiny sampler, and its table."""
    config = folder / "config.py"
    config.write_text(
        "from pathlib import Path\nfrom tests.tiny_run import tiny_config\n"
        "def get_config():\n    return tiny_config(Path())\n"
    )
    command = [
        *(sys.executable, "-m", "launch.plan", f"--config={config}", "--mode=sample"),
        *("--topology=v5e:2x2,v5e:2x4", f"--out={folder}/plan", *options),
    ]
    environ = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    environ |= {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    subprocess.run(command, cwd=ROOT, env=environ, check=True)
    return json.loads((folder / "plan.json").read_text()), (folder / "plan.md").read_text()


@pytest.mark.slow
@needs_libtpu
def test_the_command_compiles_for_tpus_that_are_not_here(tmp_path):
    found, table = _planned(tmp_path)
    assert [one["topology"]["count"] for one in found] == [4, 8]
    assert all(one["fits"] and one["cost"]["flops"] > 0 for one in found)
    assert not any(one["derived"] for one in found)
    assert table.count("| v5e:2x") == 2


@pytest.mark.slow
@needs_libtpu
def test_the_command_derives_slices_from_programs_compiled_for_one(tmp_path):
    options = ("--images_per_chip=2", "--compiled_for=v5e:2x2", "--compiled_images=1,2")
    found, table = _planned(tmp_path, *options)
    assert [one["derived"] for one in found] == [False, True]
    assert found[0]["cost"]["flops"] == found[1]["cost"]["flops"] > 0
    assert table.count("| derived |") == 1
