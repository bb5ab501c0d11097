from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.torch.checkpoint import from_torch, to_torch, torch_names
from tests.small_network import SMALL


def weights(**options):
    net = NCSNpp(**SMALL | options)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)), jnp.ones((1,)))
    rng = np.random.default_rng(0)
    draw = partial(rng.standard_normal, dtype=np.float32)
    return net, jax.tree.map(lambda leaf: draw(leaf.shape), shapes["params"])


@pytest.mark.parametrize("options", [{}, {"resblock_type": "ddpm", "embedding_type": "fourier"}])
def test_weights_survive_the_way_to_pytorch_names_and_back(options):
    net, params = weights(**options)
    state = {f"module.{name}": tensor for name, tensor in to_torch(params).items()}
    back = from_torch(state | {"module.sigmas": np.ones(1000)}, net)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_names_leave_out_frozen_frequencies_and_keep_the_order():
    net, params = weights(embedding_type="fourier")
    names = torch_names(net)
    assert names == [name for name in to_torch(params) if name != "all_modules.0.W"]
    assert names[:4] == [f"all_modules.{i}.{leaf}" for i in (1, 2) for leaf in ("weight", "bias")]


def test_an_unconditional_network_skips_the_unused_layers_of_the_original():
    net, params = weights(conditional=False)
    state = to_torch(params)
    unused = [name for name in torch_names(net) if name not in state]
    assert all("Dense_0" in name for name in unused)
    assert len(unused) == 2 * sum(name.endswith("_block") for name in params)
    back = from_torch(state | {name: np.ones(1) for name in unused}, net)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_every_tensor_that_does_not_fit_is_named():
    net, params = weights()
    state = to_torch(params)
    state["all_modules.99.weight"] = np.ones((2, 2))
    state["all_modules.2.weight"] = state["all_modules.2.weight"][:, :, :1]
    del state["all_modules.3.Conv_0.bias"]
    with pytest.raises(ValueError, match="do not fit") as error:
        from_torch(state, net)
    message = str(error.value)
    assert "unexpected: all_modules.99.weight (2, 2)" in message
    assert "missing: all_modules.3.Conv_0.bias" in message
    assert "shape: all_modules.2.weight" in message
    assert message.count("\n") == 3
