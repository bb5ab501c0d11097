"""The network, rules and loss against arrays of the original code, for every fixture found."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from evaluation.ssnet import network
from evaluation.ssnet.network import (
    SCORE_CAP,
    DoubleResNet,
    UpConvNorm,
    edge_padding,
    repeat_border,
)
from evaluation.ssnet.scores import Histograms, count_votes, lit
from evaluation.ssnet.training import segmentation_loss
from evaluation.ssnet.weights import from_torch, to_torch
from sgm_jax.torch.file import read_state
from tests.fixture_files import fixture_files
from tests.torch_files import read_torch_file

pytestmark = pytest.mark.parity
FORMULAS = [path for path in fixture_files("formula_*.npz") if "fid_features" in np.load(path)]
CHECKPOINTS = [path for path in fixture_files("ckpt_*_io.npz") if "fid_features" in np.load(path)]
LOSSES = [path for path in fixture_files("loss_*.npz") if "grad_is_null" in np.load(path)]
BLOCKS = fixture_files("padding_blocks*.npz")
RULES = fixture_files("rules*.npz")


def nhwc(x):
    return jnp.asarray(x.transpose(0, 2, 3, 1), jnp.float32)


def nchw(x):
    return np.asarray(x).transpose(0, 3, 1, 2)


def assert_near(found, expected, *, largest, rms):
    difference = np.abs(nchw(found) - expected)
    assert difference.max() < largest
    assert np.sqrt((difference**2).mean()) < rms


def formula_tensors(arrays):
    """Draw the weights that a formula file describes, and check a few against it."""
    tensors = {}
    for i, name in enumerate(arrays["param_names"]):
        shape = tuple(int(k) for k in arrays["param_shapes"][i] if k)
        rng = np.random.Generator(np.random.PCG64(int(arrays["seed"]) + i))
        noise = rng.standard_normal(shape, dtype=np.float32)
        tensors[str(name)] = noise * arrays["scale"][i] + arrays["offset"][i]
        first, last, total = arrays["check_first_last_sum"][i]
        values = tensors[str(name)].ravel()
        assert values[0] == np.float32(first) and values[-1] == np.float32(last)
        assert values.sum(dtype=np.float64) == pytest.approx(total, rel=1e-9)
    return tensors


def checkpoint_of(path):
    """Return the published-format tensors beside a file of inputs and outputs."""
    (file,) = [
        found
        for found in path.parent.glob(path.name.replace("_io.npz", ".*"))
        if found.suffix in (".pth", ".tar")
    ]
    if file.read_bytes()[:2] == b"PK":
        return read_torch_file(file)["state"]
    pytest.importorskip("torch")
    return read_state(file)


@pytest.mark.parametrize("path", FORMULAS, ids=lambda path: path.stem)
def test_weights_by_formula_give_the_output_of_the_original(path):
    arrays = np.load(path)
    state = formula_tensors(arrays)
    assert sum(value.size for value in state.values()) == int(arrays["n_params"])
    net, variables = from_torch(state)
    apply = jax.jit(functools.partial(network.apply, net))
    for suffix in [name.removeprefix("x") for name in arrays.files if name.startswith("x")]:
        output = apply(variables, nhwc(arrays[f"x{suffix}"]))
        assert_near(output.logits, arrays[f"logits{suffix}"], largest=1e-3, rms=2e-5)
        assert_near(output.features, arrays[f"fid_features{suffix}"], largest=3e-4, rms=1e-5)
    first = len(arrays["logits_first8"])
    alone = apply(variables, nhwc(arrays["x"][:first]))
    assert_near(alone.logits, arrays["logits_first8"], largest=1e-3, rms=2e-5)
    assert_near(alone.features, arrays["fid_features_first8"], largest=3e-4, rms=1e-5)
    output = apply(variables, nhwc(arrays["x"]))
    scores = np.asarray(network.probabilities(output.logits, cap=SCORE_CAP))
    np.testing.assert_allclose(nchw(scores), arrays["softmax_capped"], atol=2e-4)
    check_rules(scores, arrays, votes=3, bins=6)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_published_files_give_the_output_of_the_original(path):
    arrays = np.load(path)
    net, variables = from_torch(checkpoint_of(path))
    output = jax.jit(functools.partial(network.apply, net))(variables, nhwc(arrays["x"]))
    assert_near(output.logits, arrays["logits"], largest=5e-4, rms=2e-5)
    assert_near(output.features, arrays["fid_features"], largest=3e-4, rms=1e-5)
    if "is_track" in arrays:
        scores = np.asarray(network.probabilities(output.logits, cap=SCORE_CAP))
        check_rules(scores, arrays, votes=3, bins=6)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_and_histograms_are_the_scripts(path):
    arrays = np.load(path)
    check_rules(arrays["prob"].transpose(0, 2, 3, 1), arrays, votes=0, bins=0)


def check_rules(scores, arrays, *, votes, bins):
    images = arrays["x"].transpose(0, 2, 3, 1)
    found = count_votes(scores)
    np.testing.assert_allclose(found.num_track, arrays["n_track"], rtol=0, atol=votes)
    np.testing.assert_allclose(found.num_shower, arrays["n_shower"], rtol=0, atol=votes)
    np.testing.assert_array_equal(found.is_track, arrays["is_track"])
    np.testing.assert_array_equal(lit(images).sum(axis=(1, 2)), arrays["n_above"])
    histograms = Histograms()
    pixels = histograms.add(scores, lit(images))
    np.testing.assert_allclose(pixels, arrays["npix_class"], rtol=0, atol=votes)
    for name, stored, allowed in (
        ("score_above_threshold", "hist_score_abovethresh", bins),
        ("score_of_winner", "hist_score_per_max", bins),
        ("pixels_per_image", "hist_npix_per_image", min(bins, 2)),
    ):
        distance = np.abs(histograms.arrays[name] - arrays[stored]).sum(axis=1)
        assert distance.max() <= allowed, name


def loss_case(path):
    arrays = np.load(path)
    checkpoint = path.with_name(path.name.replace("loss_", "ckpt_").replace(".npz", ".tar.pth"))
    net, variables = from_torch(read_torch_file(checkpoint)["state"])
    images, labels = nhwc(arrays["x"]), jnp.asarray(arrays["label"][:, 0])

    def loss(params):
        logits = network.apply(net, {"params": params}, images).logits
        return segmentation_loss(logits, images, labels, empty_pixels=False)

    return arrays, variables["params"], loss


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_loss_and_gradients_are_the_originals(path):
    arrays, params, loss = loss_case(path)
    divisor = float(arrays["divisor"])

    def total(params):
        per_image = loss(params)
        return per_image.sum() / divisor, per_image

    (value, per_image), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    np.testing.assert_allclose(per_image, arrays["loss_per_image"], rtol=1e-5)
    assert float(value) == pytest.approx(float(arrays["loss"]), rel=1e-5)
    named = to_torch(grads)
    for i, name in enumerate(map(str, arrays["param_names"])):
        if not arrays["has_grad"][i]:
            assert name not in named
        elif arrays["grad_is_null"][i]:
            assert np.linalg.norm(named[name]) < 1e-4, name
        else:
            assert np.linalg.norm(named[name]) == pytest.approx(arrays["grad_norms"][i], rel=1e-3)
    for name in arrays.files:
        if name.startswith("grad."):
            expected, found = arrays[name], named[name.removeprefix("grad.")]
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_adam_follows_the_original(path, optax_promotion):
    arrays, params, loss = loss_case(path)
    transform = optax.chain(optax.add_decayed_weights(1e-4), optax.adam(1e-3))
    opt_state = transform.init(params)

    @jax.jit
    def step(params, opt_state):
        value, grads = jax.value_and_grad(lambda p: loss(p).sum() / arrays["divisor"])(params)
        updates, opt_state = transform.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    losses = []
    for _ in arrays["adam_losses"]:
        params, opt_state, value = step(params, opt_state)
        losses.append(float(value))
    np.testing.assert_allclose(losses, arrays["adam_losses"], rtol=1e-3)


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.stem)
def test_padding_rule_is_the_originals(path):
    for kernel, stride, width, before, after in np.load(path)["padrule_kernel_stride_width_p1_p2"]:
        assert edge_padding(int(kernel), int(stride), int(width)) == (before, after)


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.stem)
def test_blocks_and_borders_are_the_originals(path):
    arrays = np.load(path)
    state = {n.removeprefix("w."): arrays[n] for n in arrays.files if n.startswith("w.")}
    net, variables = from_torch(state)
    apply = jax.jit(functools.partial(network.apply, net))
    params = variables["params"]
    mode = {"running": False, "axis_name": None}
    cases = sorted({n.split("/")[0] for n in arrays.files if n.endswith("/x")})
    for case in cases:
        x, y = nhwc(arrays[f"{case}/x"]), arrays.get(f"{case}/y")
        atol = 5e-4 if case.endswith("tiny_eps") else 2e-5
        if case.startswith("whole_net"):
            logits = apply(variables, x).logits
            np.testing.assert_allclose(nchw(logits), arrays[f"{case}/logits"], atol=1e-4)
            continue
        if case.startswith("decode_conv"):
            module, name = UpConvNorm(y.shape[1], **mode), "decode_conv_0"
        else:
            encode = case.startswith("stride2")
            name = "double_resnet_0" if encode else "decode_double_resnet_0"
            module = DoubleResNet(y.shape[1], 2 if encode else 1, **mode)
            check_padding(case, arrays, x)
        run = jax.jit(functools.partial(module.apply, mutable=["batch_stats"]))
        out, _ = run({"params": params[name]}, x)
        if case.startswith("decode_conv"):
            out = jax.nn.relu(out)
        np.testing.assert_allclose(nchw(out), y, rtol=0, atol=atol, err_msg=case)
    assert len(cases) > 5


def check_padding(case, arrays, x):
    stride = 2 if case.startswith("stride2") else 1
    for inner, source, step in (
        ("resnet1.residual1", x, stride),
        ("resnet2.residual1", nhwc(arrays[f"{case}/resnet1"]), 1),
    ):
        padded = repeat_border(source, edge_padding(3, step, source.shape[2]))
        expected = arrays[f"{case}/{inner}.padded_in"]
        np.testing.assert_allclose(nchw(padded), expected, rtol=0, atol=2e-5)


def test_the_transposed_convolution_is_that_of_a_dilated_input(key):
    x = jax.random.normal(key, (2, 4, 6, 3))
    module = UpConvNorm(2, running=True, axis_name=None)
    variables = module.init(key, x)
    kernel = variables["params"]["conv"]["kernel"]
    expected = jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((1, 2), (1, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(
        module.apply(variables, x), expected / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-6
    )
