"""What configurations of vector-quantised generators are refused, and what stands in them."""

import jax
import numpy as np
import pytest

from sgm_jax import generator as contract
from sgm_jax.conditions import Conditions
from sgm_jax.config import check, flatten
from sgm_jax.generators.autoregressive.stages import OneStage
from sgm_jax.generators.vqvae.two_levels import TwoLevels
from sgm_jax.run.experiment import from_json, read_experiment
from tests.tiny_vqvae import PUBLISHED, SNAIL, TWO_LEVELS, random_prior, vqvae_config

REFUSED = {
    "one code": ({"model.codes": 1}, "model.codes is 1; a codebook needs 2"),
    "cold": ({"sampling.temperatures": (0.0,)}, r"temperatures is \(0.0,\).*above 0"),
    "one temperature": (
        TWO_LEVELS | {"sampling.temperatures": (1.0,)},
        r"each of 2 levels of codes: .\(1.0, 1.0\)",
    ),
    "stage": ({"model.stage": "second"}, "'first', 'prior'"),
    "size": ({"data.image_size": 10}, "multiple of 4"),
    "size of two levels": (TWO_LEVELS | {"data.image_size": 12}, "multiple of 8"),
    "no channels": ({"model.channels": ()}, "model.channels is"),
    "channels of images": ({"data.num_channels": 3}, "data.num_channels=1"),
    "centered": ({"data.centered": True}, "data.centered=False"),
    "saturation": ({"data.saturation": 0.2}, "data.saturation=0.2"),
    "guidance": ({"sampling.guidance": 2.0}, "guidance=1"),
    "published on a logarithm": (
        PUBLISHED | {"data.transform": "log"},
        "data.transform=linear, not 'log'",
    ),
    "published with hits": (PUBLISHED | {"model.output": "hit"}, "model.output=mse"),
    "mask of another network": (SNAIL | {"prior.mask": "as_published"}, "trunk=gated_pixelcnn"),
    "narrow": ({"prior.first_kernel": 1}, "first_kernel=7"),
    "narrow mask": (PUBLISHED | {"prior.first_kernel": 3}, "first_kernel is 3"),
    "even": ({"prior.kernel": 2}, "prior.kernel is 2"),
    "attention after": (SNAIL | {"prior.attention": (2,)}, r"prior\.attention is \(2,\)"),
    "wide attention": (SNAIL | {"data.image_size": 80}, "up to 16 x 16 .*20 pixels wide"),
    "heads": (SNAIL | {"prior.heads": 3}, "prior.heads 3"),
    "drawing first stage": (
        {"model.stage": "first", "training.snapshot_sampling": True},
        "a first stage draws nothing",
    ),
    "steps at once": (
        {"training.n_jitted_steps": 2, "first.n_iters": 5}
        | {f"training.{n}": 2 for n in ("log_freq", "snapshot_freq_for_preemption")},
        "first.n_iters 5 is not a multiple",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_what_can(case):
    overrides, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        vqvae_config(**overrides)


@pytest.mark.parametrize(
    ("name", "plan", "millions"),
    [
        ("configs/vqvae64.py", OneStage, 0.59),
        ("configs/vqvae64.py:tiny", OneStage, 0.11),
        ("configs/vqvae64.py:published", OneStage, 12.88),
        ("configs/vqvae2_64.py", TwoLevels, 1.0),
        ("configs/vqvae2_64.py:tiny", TwoLevels, 0.24),
    ],
)
def test_the_configurations_are_good(name, plan, millions):
    config = read_experiment(name)
    check(config)
    generator, stage = contract.build(config), contract.first_stage(config)
    check(stage)
    assert isinstance(generator.plan, plan)
    assert contract.first_stage(stage) is None
    assert contract.purpose(config) is None and "prior" in contract.purpose(stage)
    assert config.simulation.image_size == config.data.image_size
    state = jax.eval_shape(generator.initial_state, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves((state.params, state.extra.params)))
    assert abs(size / 1e6 - millions) < 0.05 * millions
    # As a run keeps it.
    stored = from_json(config.to_dict())
    assert flatten(stored).items() >= flatten(config).items()
    contract.check_new(stored)


def test_64_pixels_have_16_codes_a_side_and_8_above():
    config = read_experiment("configs/vqvae2_64.py")
    assert contract.build(config).first.grids == ((8, 8), (16, 16))
    assert contract.build(config).plan.num_steps == 64 + 256


def test_the_first_stage_has_its_own_training_and_its_own_average():
    config = vqvae_config(**{"first.lr": 0.5, "first.n_iters": 7, "model.ema_rate": 0.9})
    stage = contract.first_stage(config)
    assert (stage.optim.lr, stage.training.n_iters) == (0.5, 7)
    assert stage.model.ema_rate == config.model.decay
    free = contract.free_fields(config)
    assert "first.lr" in free and not any(name.startswith("prior") for name in free)
    assert "prior.channels" in contract.free_fields(stage)


def test_only_what_was_learnt_can_be_asked():
    generator, _ = random_prior()
    for conditions, flag in (
        (Conditions((8, 8), known=[0]), "--inpaint"),
        (Conditions((16, 16), tile=8, stride=4), "--canvas"),
        (Conditions((8, 8), observable="total_charge"), "--observable"),
        (Conditions((8, 8), condition={"particle": np.zeros(1)}), "without particle"),
    ):
        with pytest.raises(ValueError, match=flag):
            generator.drawing(conditions)
