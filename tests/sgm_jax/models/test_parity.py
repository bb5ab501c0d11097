"""The network against outputs and gradients of the original code, for every fixture found."""

import ast
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from sgm_jax.generators.score_config import ncsnpp_from_config
from sgm_jax.losses import score_matching_loss
from sgm_jax.score import noise_score
from sgm_jax.sde import VESDE, VPSDE
from sgm_jax.torch.checkpoint import from_torch, to_torch, torch_names
from tests.fixture_files import fixture_files
from tests.torch_files import read_torch_file

NETS = fixture_files("net_*.npz")
FORMULAS = [path for path in fixture_files("formula_*.npz") if "config_json" in np.load(path)]


def nhwc(images):
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def assert_same_output(out, expected):
    expected = expected.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4 * expected.std() + 1e-5)


def load(path):
    arrays = np.load(path)
    config = ml_collections.ConfigDict(json.loads(str(arrays["config_json"])))
    return arrays, config, ncsnpp_from_config(config)


def checkpoint_of(path):
    return read_torch_file(path.with_name(path.stem.replace("net_", "ckpt_") + ".pth"))


def sde_of(arrays, config):
    model = config.model
    if str(arrays["sde"]) == "vp":
        return VPSDE(beta_min=model.beta_min, beta_max=model.beta_max)
    return VESDE(sigma_min=model.sigma_min, sigma_max=model.sigma_max)


def score_of(net, params, sde):
    return noise_score(lambda x, labels: net.apply({"params": params}, x, labels), sde)


def continuous_loss(net, params, arrays, config):
    """The loss that training minimises, with the stored times and noise."""
    x, z, u = nhwc(arrays["loss_x"]), nhwc(arrays["loss_z"]), jnp.asarray(arrays["loss_u"])
    sde = sde_of(arrays, config)
    t = u * (1.0 - 1e-5) + 1e-5
    return score_matching_loss(score_of(net, params, sde), sde, x, t=t, z=z).mean()


@pytest.mark.parity
@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_published_weights_give_the_output_of_the_original(path):
    arrays, _, net = load(path)
    checkpoint = checkpoint_of(path)
    averaged = dict(zip(torch_names(net), checkpoint["ema"]["shadow_params"], strict=True))
    apply = jax.jit(net.apply)
    for state, expected in [
        (checkpoint["model"], arrays["out"]),
        (
            {k.removeprefix("module."): v for k, v in checkpoint["model"].items()} | averaged,
            arrays["out_ema"],
        ),
    ]:
        params = from_torch(state, net)
        out = apply({"params": params}, nhwc(arrays["x"]), jnp.asarray(arrays["labels"]))
        assert_same_output(out, expected)


@pytest.mark.parity
@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_score_agrees_with_the_original(path):
    arrays, config, net = load(path)
    params = from_torch(checkpoint_of(path)["model"], net)
    score = score_of(net, params, sde_of(arrays, config))
    got = jax.jit(score)(nhwc(arrays["x"]), jnp.asarray(arrays["t"]))
    for image, expected, t in zip(got, arrays["score"], arrays["t"], strict=True):
        # Near t = 0 the original divides by a rounded standard deviation (fixtures/README.md).
        rtol = 5e-4 if t < 5e-3 else 1e-4
        atol = 1e-4 * expected.std() + 1e-5
        np.testing.assert_allclose(image, expected.transpose(1, 2, 0), rtol=rtol, atol=atol)


@pytest.mark.parity
@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_loss_and_gradient_agree_with_the_original(path):
    arrays, config, net = load(path)
    params = from_torch(checkpoint_of(path)["model"], net)
    loss, grads = jax.jit(
        jax.value_and_grad(lambda params: continuous_loss(net, params, arrays, config))
    )(params)
    np.testing.assert_allclose(loss, arrays["loss"], rtol=1e-4)
    grads = to_torch(grads)
    names = [str(name).removeprefix("module.") for name in arrays["param_names"]]
    assert torch_names(net) == names
    norms = np.array([np.linalg.norm(grads[name].astype(np.float64)) for name in names])
    expected = arrays["grad_norms"]
    np.testing.assert_allclose(norms, expected, rtol=1e-3, atol=1e-5 * expected.max())
    convolutions = [name for name in names if grads[name].ndim == 4]
    for name, key in [(convolutions[0], "grad_first_conv"), (convolutions[-1], "grad_last_conv")]:
        largest = np.abs(arrays[key]).max()
        np.testing.assert_allclose(grads[name], arrays[key], rtol=0, atol=1e-3 * largest)


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("path", FORMULAS, ids=lambda path: path.stem)
def test_full_size_networks_agree_with_the_original(path):
    arrays, _, net = load(path)
    state = {}
    for i, name in enumerate(arrays["param_names"]):
        shape = ast.literal_eval(str(arrays["param_shapes"][i]))
        rng = np.random.Generator(np.random.PCG64(int(arrays["seed"]) + i))
        draws = rng.standard_normal(shape, dtype=np.float32)
        tensor = draws * arrays["scale"][i] + arrays["offset"][i]
        check = [tensor.flat[0], tensor.flat[-1], tensor.sum(dtype=np.float64)]
        np.testing.assert_allclose(check, arrays["check_first_last_sum"][i], rtol=1e-3, atol=1e-3)
        state[str(name)] = tensor
    params = from_torch(state, net)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == int(arrays["n_params"])
    apply = jax.jit(net.apply)
    out = apply({"params": params}, nhwc(arrays["x"]), jnp.asarray(arrays["labels"]))
    assert_same_output(out, arrays["out"])


@pytest.mark.parity
def test_fixtures_of_every_kind_are_found():
    assert NETS
    assert FORMULAS
