"""What autoregressive configurations are refused, and what stands in them."""

import jax
import pytest

from sgm_jax import generator as contract
from sgm_jax.conditions import Conditions
from sgm_jax.config import check, flatten
from sgm_jax.generators.autoregressive.made import made_parameters
from sgm_jax.generators.autoregressive.stages import Blocks, OneStage, Window
from sgm_jax.run.experiment import from_json, read_experiment
from tests.tiny_sarm import random_generator, sarm_config

OUTWARDS = {"model.order": "spiral_out_clockwise"}
REFUSED = {
    "order": ({"model.order": "zigzag"}, "'row', 'column', 'spiral_out_clockwise'.*'entropy'"),
    "head": ({"model.head": "normal"}, "'dc_logistic', 'dc_normal', 'dd', 'ungated'"),
    "trunk": ({"model.trunk": "dense"}, "'causal_conv', 'made'"),
    "stages": ({"model.stages": "three"}, "'one', 'window', 'blocks'"),
    "too many levels": ({"model.last_level": 276}, "last_level 276.*<= 255"),
    "threshold": ({"model.threshold": 255}, "threshold is 255"),
    "channels": ({"data.num_channels": 3}, "data.num_channels=1"),
    "centered": ({"data.centered": True}, "data.centered=False"),
    "saturation": ({"data.saturation": 0.2}, "data.saturation=0.2"),
    "guidance": ({"sampling.guidance": 2.0}, "guidance=1"),
    "no temperature": ({"sampling.gate_temperature": 0.0}, "gate_temperature is 0.0"),
    "temperature of no gate": (
        {"sampling.gate_temperature": 0.9, "model.head": "ungated"},
        "ungated has no gate; set it to 1",
    ),
    "one saturated in blocks": (
        {"sampling.one_saturated": True, "model.stages": "blocks"},
        "one_saturated is for .*stages=one",
    ),
    "one saturated of one level": (
        {"sampling.one_saturated": True, "model.threshold": 254},
        "needs another one below it",
    ),
    "even kernel": ({"model.kernel": 4}, "model.kernel is 4"),
    "no dilation": ({"model.dilations": ()}, "model.dilations is"),
    "half a dilation": ({"model.dilations": (1, 0.5)}, "model.dilations is"),
    "large window": ({"model.stages": "window", "model.window": 6} | OUTWARDS, "window is 6"),
    "window by rows": ({"model.stages": "window"}, "spiral_out_clockwise"),
    "window inwards": (
        {"model.stages": "window", "model.order": "spiral_in_clockwise"},
        "first 4 pixels are no square",
    ),
    "block": ({"model.stages": "blocks", "model.block": 4}, "model.block is 4.*divide.*6"),
    "made in blocks": ({"model.stages": "blocks", "model.trunk": "made"}, "trunk=causal_conv"),
    "few units": ({"model.trunk": "made", "model.hidden": 35}, "model.hidden=36"),
    "wide attention": (
        {"model.attention": (0,), "data.image_size": 32},
        "up to 16 x 16 .*32 pixels wide",
    ),
    "attention in blocks": (
        {"model.attention": (0,), "model.stages": "blocks"},
        "model.attention",
    ),
    "attention after": ({"model.attention": (2,)}, r"model\.attention is \(2,\).*from 0 to 1"),
    "heads": ({"model.attention": (0,), "model.heads": 3}, "model.heads 3"),
    "order by hand": (
        {"model.order": "entropy", "model.order_places": (1, 1), "model.stages": "window"},
        "measured when a run begins",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_what_can(case):
    overrides, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        sarm_config(**overrides)


def test_a_dense_network_for_large_images_says_how_large_it_would_be():
    options = {"model.trunk": "made", "data.image_size": 64, "model.inner": 3, "model.layers": 5}
    size = made_parameters(4096, hidden=4096, layers=5, inner=3, channels=3)
    assert size > 1.2e8
    with pytest.raises(ValueError, match=f"{size / 1e6:.0f} million.*trunk=causal_conv"):
        sarm_config(**options)


def test_the_number_of_parameters_is_that_of_the_kernels():
    options = {"model.trunk": "made", "model.head": "dc_normal"}
    generator, params = random_generator(**options)
    kernels = [leaf for leaf in jax.tree.leaves(params["pixels"]) if leaf.ndim > 1]
    shared = generator.plan.stage.head.features * 3
    biases = 36 * 3  # of the pixels' features
    expected = made_parameters(36, hidden=40, layers=1, inner=3, channels=3)
    assert sum(leaf.size for leaf in kernels) == expected + shared + biases


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("configs/sarm64.py", OneStage),
        ("configs/sarm64.py:tiny", OneStage),
        ("configs/sarm_made32.py", Window),
    ],
)
def test_the_configurations_are_good(name, plan):
    config = read_experiment(name)
    check(config)
    assert isinstance(contract.build(config).plan, plan)
    assert config.simulation.image_size == config.data.image_size
    # As a run keeps it.
    stored = from_json(config.to_dict())
    assert flatten(stored).items() >= flatten(config).items()
    contract.check_new(stored)
    assert contract.free_fields(stored) == () and contract.doubts(stored) == []


def test_64_pixels_go_in_blocks_too():
    config = read_experiment("configs/sarm64.py")
    config.model.stages = "blocks"
    check(config)
    plan = contract.build(config).plan
    assert isinstance(plan, Blocks) and plan.num_steps == 64 + 4096


def test_only_what_was_learnt_can_be_asked():
    generator, _ = random_generator()
    for conditions, flag in (
        (Conditions((6, 6), known=[0]), "--inpaint"),
        (Conditions((12, 12), tile=6, stride=3), "--canvas"),
        (Conditions((6, 6), observable="total_charge"), "--observable"),
        (Conditions((6, 6), condition={"particle": [0]}), "without particle"),
    ):
        with pytest.raises(ValueError, match=flag):
            generator.drawing(conditions)
