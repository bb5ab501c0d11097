"""What configurations of flows are refused, and what stands in them."""

import jax
import numpy as np
import pytest

from configs import l2lflows64
from sgm_jax import generator as contract
from sgm_jax.conditions import Conditions
from sgm_jax.config import check, flatten
from sgm_jax.data import from_array
from sgm_jax.generators.flows import build, measure
from sgm_jax.generators.flows.config import check_new
from tests.tiny_flows import MAF, flows_config, sparse_images

REFUSED = {
    "layers that do not divide": ({"model.strip": 4}, "strip is 4; .*image_size 6.* 1, 2, 3"),
    "one layer": ({"model.strip": 6}, "two or more: take one of 1, 2, 3"),
    "longer context": ({"model.context": 6}, "has 6 layers: set --config.model.context=5"),
    "context of strips": ({"model.strip": 2, "model.context": 3}, "model.context=2 or less"),
    "threshold above all": ({"model.threshold": 255}, "from 0 to 254"),
    "threshold below all": ({"model.threshold": -1}, "from 0 to 254"),
    "alpha of infinite logits": ({"model.alpha": 0.0}, "model.alpha is 0.0; .*finite"),
    "large alpha": ({"model.alpha": 0.5}, "model.alpha is 0.5"),
    "alpha of charges": ({"model.energy_alpha": -0.1}, "model.energy_alpha is -0.1"),
    "one bin": ({"model.bins": 1}, "model.bins is 1"),
    "large bins": ({"model.least_bin": 0.25}, "lower model.least_bin"),
    "transform": ({"model.transform": "glow"}, "'coupling', 'maf'"),
    "direction": ({"model.layers": "wires"}, "'rows', 'columns'"),
    "postprocess": ({"model.postprocess": "none"}, "'l2lflows', 'caloflow'"),
    "no layers": ({"training.layers": 0}, "training.layers is 0"),
    "standard": ({"model.standard": (1.0,)}, "four numbers that are measured"),
    "channels": ({"data.num_channels": 3}, "data.num_channels=1"),
    "centered": ({"data.centered": True}, "data.centered=False"),
    "saturation": ({"data.saturation": 0.2}, "data.saturation=0.2"),
    "guidance": ({"sampling.guidance": 2.0}, "guidance=1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused(case):
    overrides, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        flows_config(**overrides)


def test_new_couplings_map_every_number():
    check_new(flows_config(**{"model.permutation": "reverse"}))
    check_new(flows_config(**MAF | {"model.permutation": "random", "model.blocks": 1}))
    # An older run can go on with random ones.
    config = flows_config(**{"model.permutation": "random"})
    with pytest.raises(ValueError, match="--config.model.permutation=paired"):
        check_new(config)
    for field in ("model.blocks", "model.energy_blocks"):
        with pytest.raises(ValueError, match=f"--config.{field}=1 must be at least 2"):
            check_new(flows_config(**{field: 1}))


@pytest.mark.parametrize("variant", ["", "tiny", "published"])
def test_every_variant_can_be_built(variant):
    config = l2lflows64.get_config(variant)
    check(config)
    generator = build(config)
    shapes = jax.eval_shape(generator.initial_state, jax.random.key(0))
    side = config.data.image_size
    assert generator.image_shape == (side, side, 1)
    drawing = generator.drawing(Conditions((side, side)))
    assert drawing.num_steps == side + 1 and drawing.at_once == 32
    first = shapes.params["causal"]["embedding"]["first"]["kernel"].shape
    assert first[-2:] == (5 * side, config.model.embedding_hidden)
    assert (first[0] == side) == (variant == "published")
    with pytest.raises(ValueError, match="there are: tiny, published"):
        l2lflows64.get_config("huge")


def test_scales_are_measured_on_lit_layers():
    images = from_array(sparse_images(200), num_channels=1, image_size=6)
    for options in ({}, MAF):
        config = flows_config(**options)
        pixel_mean, pixel_std, charge_mean, charge_std = measure(config, images)["model.standard"]
        # With the measured ones the numbers have a mean of 0 and a standard deviation of 1.
        config = config.copy_and_resolve_references()
        config.model.standard = (pixel_mean, pixel_std, charge_mean, charge_std)
        assert measure(config, images) == {}
        generator = build(config)
        keys = jax.random.split(jax.random.key(1), 200)
        levels = images[np.arange(200)][..., 0].astype(np.float32)
        drawn = jax.jit(generator.flows.noised)(keys, levels)
        pixels = np.asarray(drawn.pixels)[np.asarray(drawn.lit)]
        for values in (pixels, np.asarray(drawn.charges)):
            assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05


def test_how_drawn_layers_end_may_change():
    fields = contract.free_fields(flows_config())
    assert fields == ("model.postprocess",) and fields[0] in flatten(flows_config())
