"""What configurations of autoencoders with critics are refused, and what stands in them."""

import jax
import pytest

from sgm_jax import generator as contract
from sgm_jax.config import check, flatten
from sgm_jax.run.experiment import from_json, read_experiment
from tests.tiny_bibae import bibae_config

REFUSED = {
    "loss": ({"model.loss": "log"}, "'hinge', 'wgan_gp'"),
    "channels of images": ({"data.num_channels": 3}, "data.num_channels=1"),
    "centered": ({"data.centered": True}, "data.centered=False"),
    "saturation": ({"data.saturation": 0.2}, "data.saturation=0.2"),
    "guidance": ({"sampling.guidance": 2.0}, "guidance=1"),
    "threshold": ({"model.threshold": 255}, "threshold is 255; .*from 0 to 254"),
    "size": ({"data.image_size": 10}, "image_size is 10; with 2 grids .*multiple of 4"),
    "no grids": ({"model.channels": ()}, r"model.channels is \(\)"),
    "a group of one": ({"model.group": 1}, "group is 1"),
    "weight": ({"model.latent_critic": -1.0}, "latent_critic is -1.0; it must not be negative"),
    "noise": ({"model.noise": -1}, "noise is -1; it must not be negative"),
    "few latents": ({"model.kept": 7}, "kept is 7.*batch_size=8 .*latent=4 at least 10"),
    "more pixels than there are": ({"model.pixels": 65}, "pixels 65.*<= 64"),
    "windows": ({"model.window": 33}, "window is 33 and --config.model.pixels 32"),
    "averages": ({"model.ema_rates": (0.9,)}, r"ema_rates is \(0.9,\).*one average"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_what_can(case):
    overrides, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        bibae_config(**overrides)


@pytest.mark.parametrize(
    ("name", "millions"), [("configs/bibae64.py", 1.85), ("configs/bibae64.py:tiny", 0.421)]
)
def test_the_configurations_are_good(name, millions):
    config = read_experiment(name)
    check(config)
    generator = contract.build(config)
    assert contract.first_stage(config) is None and contract.purpose(config) is None
    assert config.simulation.image_size == config.data.image_size
    state = jax.eval_shape(generator.initial_state, jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert abs(size / 1e6 - millions) < 0.02 * millions
    # As a run keeps it.
    stored = from_json(config.to_dict())
    assert flatten(stored).items() >= flatten(config).items()
    contract.check_new(stored)
