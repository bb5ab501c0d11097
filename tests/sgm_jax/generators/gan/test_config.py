"""What configurations of GANs are refused, and what stands in them."""

import jax
import pytest

from sgm_jax import generator as contract
from sgm_jax.config import check, flatten
from sgm_jax.generators.gan.lagan import Local
from sgm_jax.models.dcgan import Convolutional
from sgm_jax.run.experiment import from_json, read_experiment
from tests.tiny_gan import LAGAN, gan_config

REFUSED = {
    "loss": ({"model.loss": "log"}, "'hinge', 'wgan_gp'"),
    "channels of images": ({"data.num_channels": 3}, "data.num_channels=1"),
    "centered": ({"data.centered": True}, "data.centered=False"),
    "saturation": ({"data.saturation": 0.2}, "data.saturation=0.2"),
    "guidance": ({"sampling.guidance": 2.0}, "guidance=1"),
    "threshold": ({"model.threshold": 255}, "threshold is 255; .*from 0 to 254"),
    "negative threshold": ({"model.threshold": -1}, "threshold is -1"),
    "no grids": ({"model.channels": ()}, r"model.channels is \(\)"),
    "half a channel": ({"model.channels": (8, 0.5)}, r"channels is \(8, 0.5\)"),
    "size": ({"data.image_size": 10}, "image_size is 10; with 2 grids .*multiple of 4"),
    "three grids of LAGAN": (LAGAN | {"model.channels": (8, 4, 2)}, r"lagan=True.*\(128, 64\)"),
    "size of LAGAN": (LAGAN | {"data.image_size": 12}, "lagan=True it must be a multiple of 8"),
    "half of them flipped": ({"model.flip": 0.5}, r"flip is 0.5.*\[0, 0.5\)"),
    "shift": ({"model.shift": 5}, "shift is 5.*from 0 to 4"),
    "a group of one": ({"model.group": 1}, "group is 1.*2 or more, or 0"),
    "penalty": ({"model.penalty": 0}, "penalty is 0.0; it must be above 0"),
    "rate": ({"optim.discriminator_lr": -1.0}, "discriminator_lr is -1.0"),
    "steps": ({"optim.discriminator_steps": 0}, "discriminator_steps is 0"),
    "averages": ({"model.ema_rates": (0.9,)}, r"ema_rates is \(0.9,\).*one average"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_what_can(case):
    overrides, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        gan_config(**overrides)


@pytest.mark.parametrize(
    ("name", "network", "millions"),
    [
        ("configs/gan64.py", Convolutional, 1.032),
        ("configs/gan64.py:tiny", Convolutional, 0.209),
        ("configs/gan64.py:lagan", Local, 14.07),
    ],
)
def test_the_configurations_are_good(name, network, millions):
    config = read_experiment(name)
    check(config)
    gan = contract.build(config)
    assert isinstance(gan.generator, network)
    assert contract.first_stage(config) is None and contract.purpose(config) is None
    assert config.simulation.image_size == config.data.image_size
    state = jax.eval_shape(gan.initial_state, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert abs(size / 1e6 - millions) < 0.02 * millions
    # As a run keeps it.
    stored = from_json(config.to_dict())
    assert flatten(stored).items() >= flatten(config).items()
    contract.check_new(stored)


def test_another_variant_is_refused():
    with pytest.raises(ValueError, match="no variant 'small'; there are: tiny, lagan"):
        read_experiment("configs/gan64.py:small")
