import itertools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from sgm_jax.models.ncsnpp import OPTIONS, NCSNpp, check_model, ncsnpp_from_config

SMALL = {
    "image_size": 8,
    "num_channels": 1,
    "nf": 8,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "attn_resolutions": (4,),
}
LABELS = jnp.array([3.0, 400.0])
COMBINATIONS = [
    {"resblock_type": block, "fir": fir, "progressive": up, "progressive_input": down}
    for block, fir, up, down in itertools.product(
        OPTIONS["resblock_type"],
        (True, False),
        OPTIONS["progressive"],
        OPTIONS["progressive_input"],
    )
]
OTHERS = [
    {"progressive_input": "input_skip", "progressive_combine": "cat"},
    {"resblock_type": "ddpm", "resamp_with_conv": False},
    {"embedding_type": "fourier"},
    {"embedding_type": "fourier", "conditional": False},
    {"nonlinearity": "elu", "skip_rescale": False},
    {"scale_by_sigma": True, "centered": False},
    {"space_to_depth": 2, "attn_resolutions": (2,)},
    {"dtype": jnp.bfloat16},
]


def config(**changes):
    model = {
        "nf": 8,
        "ch_mult": (1, 2),
        "num_res_blocks": 1,
        "attn_resolutions": (4,),
        "dropout": 0.1,
        "fir": True,
        "fir_kernel": (1, 3, 3, 1),
        "resamp_with_conv": True,
        "skip_rescale": True,
        "resblock_type": "biggan",
        "progressive": "none",
        "progressive_input": "residual",
        "progressive_combine": "sum",
        "embedding_type": "positional",
        "fourier_scale": 16.0,
        "conditional": True,
        "nonlinearity": "swish",
        "init_scale": 0.0,
        "scale_by_sigma": False,
        "sigma_min": 0.01,
        "sigma_max": 50.0,
        "num_scales": 1000,
    }
    data = {"image_size": 8, "num_channels": 1, "centered": True}
    for name, value in changes.items():
        (data if name in data else model)[name] = value
    return ml_collections.ConfigDict({"model": model, "data": data})


def images(key, net, count=2):
    return jax.random.normal(key, (count, net.image_size, net.image_size, net.num_channels))


def build(key, **options):
    """Return a network with weights of order one, so that every branch shows in the output."""
    net = NCSNpp(**SMALL | {"init_scale": 1.0} | options)
    x = images(key, net)
    params = jax.jit(net.init)(key, x, LABELS)["params"]
    return net, params, x


@pytest.mark.parametrize("options", COMBINATIONS + OTHERS, ids=str)
def test_every_combination_of_options_has_an_output_and_a_gradient_of_the_right_shape(options):
    net = NCSNpp(**SMALL | options)
    x = jnp.zeros((2, 8, 8, 1))
    params = jax.eval_shape(net.init, jax.random.key(0), x, LABELS)["params"]

    def loss(params):
        out = net.apply({"params": params}, x, LABELS, True, rngs={"dropout": jax.random.key(1)})
        return jnp.sum(out), out

    grads, out = jax.eval_shape(jax.grad(loss, has_aux=True), params)
    assert out.shape == x.shape
    assert out.dtype == jnp.float32
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": "residual", "progressive_input": "input_skip"},
        {"progressive": "residual", "resblock_type": "ddpm"},
        {"progressive": "output_skip", "fir": False, "embedding_type": "fourier"},
    ],
    ids=str,
)
def test_gradients_are_finite_and_reach_every_trained_parameter(key, options):
    net, params, x = build(key, **options)
    grads = jax.jit(jax.grad(lambda p: jnp.square(net.apply({"params": p}, x, LABELS)).sum()))(
        params
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.all(np.isfinite(leaf)), path
        name = jax.tree_util.keystr(path)
        # A key's bias shifts all attention weights of a query alike, which softmax cannot see.
        if "'W'" not in name and "NIN_1']['bias" not in name:
            assert np.any(leaf != 0.0), path


@pytest.fixture(scope="module")
def small_net():
    return build(jax.random.key(0), dropout=0.2)


def test_dropout_is_the_same_in_one_batch_and_in_halves(key, small_net):
    net, params, _ = small_net
    x = images(key, net, count=4)
    labels = jnp.array([1.0, 20.0, 300.0, 900.0])

    def run(start, stop):
        return net.apply(
            {"params": params},
            x[start:stop],
            labels[start:stop],
            True,
            jnp.arange(start, stop),
            rngs={"dropout": key},
        )

    whole = run(0, 4)
    halves = jnp.concatenate([run(0, 2), run(2, 4)])
    np.testing.assert_allclose(halves, whole, atol=1e-5)
    without_numbers = net.apply({"params": params}, x, labels, True, rngs={"dropout": key})
    np.testing.assert_allclose(without_numbers, whole, atol=1e-6)
    assert np.max(np.abs(run(2, 4) - run(0, 2))) > 1e-2


def test_without_training_no_key_is_needed_and_the_output_is_reproducible(small_net):
    net, params, x = small_net
    first = net.apply({"params": params}, x, LABELS)
    np.testing.assert_array_equal(first, net.apply({"params": params}, x, LABELS))
    dropped = net.apply({"params": params}, x, LABELS, True, rngs={"dropout": jax.random.key(3)})
    assert np.max(np.abs(first - dropped)) > 1e-2


def test_images_do_not_see_each_other(small_net):
    net, params, x = small_net
    alone = net.apply({"params": params}, x[1:], LABELS[1:])
    np.testing.assert_allclose(net.apply({"params": params}, x, LABELS)[1:], alone, atol=1e-5)


def test_forward_and_reverse_derivatives_agree(key, small_net):
    net, params, x = small_net

    def apply(x):
        return net.apply({"params": params}, x, LABELS)

    tangent = jax.random.normal(key, x.shape)
    _, forward = jax.jvp(apply, (x,), (tangent,))
    (reverse,) = jax.vjp(apply, x)[1](tangent)
    np.testing.assert_allclose(jnp.sum(forward * tangent), jnp.sum(reverse * tangent), rtol=1e-4)


def test_a_new_network_starts_near_zero(key):
    net, params, x = build(key, init_scale=0.0)
    assert np.max(np.abs(net.apply({"params": params}, x, LABELS))) < 1e-3


def test_uncentred_data_are_mapped_to_the_symmetric_range(key):
    net, params, x = build(key)
    uncentred = net.clone(centered=False)
    np.testing.assert_allclose(
        uncentred.apply({"params": params}, (x + 1.0) / 2.0, LABELS),
        net.apply({"params": params}, x, LABELS),
        atol=1e-5,
    )


@pytest.mark.parametrize("embedding", OPTIONS["embedding_type"])
def test_scale_by_sigma_divides_by_the_noise_level(key, embedding):
    net, params, x = build(key, embedding_type=embedding, sigma_min=0.1, sigma_max=10.0)
    labels = jnp.array([0.5, 998.7]) if embedding == "positional" else jnp.array([0.3, 7.0])
    levels = np.exp(np.linspace(np.log(10.0), np.log(0.1), 1000))
    sigma = levels[[0, 998]] if embedding == "positional" else np.array([0.3, 7.0])
    plain = net.apply({"params": params}, x, labels)
    scaled = net.clone(scale_by_sigma=True).apply({"params": params}, x, labels)
    np.testing.assert_allclose(scaled * sigma[:, None, None, None], plain, rtol=1e-4, atol=1e-6)


def test_folding_starts_at_half_the_resolution_with_four_channels(key):
    net, params, x = build(key, space_to_depth=2, attn_resolutions=())
    assert params["002_conv"]["kernel"].shape == (3, 3, 4, 8)
    assert net.apply({"params": params}, x, LABELS).shape == x.shape


@pytest.mark.parametrize("field", OPTIONS)
def test_unknown_options_are_refused_with_the_known_ones(field):
    with pytest.raises(ValueError, match=f"model.{field}='nonsense'.*{OPTIONS[field][0]}"):
        check_model(config(**{field: "nonsense"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 9}, "image_size=9 must be a multiple of 2"),
        ({"space_to_depth": 8}, "image_size=8 must be a multiple of 16"),
        ({"space_to_depth": 0}, "space_to_depth=0"),
        ({"nf": 10}, "nf=10 must be a multiple of 4"),
        ({"nf": 132}, "132 channels do not divide into 32 groups"),
        ({"ch_mult": ()}, "ch_mult"),
        ({"num_res_blocks": 0}, "num_res_blocks=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"fir_kernel": ()}, "fir_kernel"),
        ({"dtype": "float16"}, "dtype='float16'.*float32"),
        ({"normalization": "BatchNorm"}, "normalization='BatchNorm'.*groupnorm"),
        ({"attention_type": "linear"}, "attention_type='linear'.*ddpm"),
        ({"conv_size": 5}, "conv_size=5.*3"),
        ({"name": "ddpm"}, "name='ddpm'.*ncsnpp"),
    ],
    ids=str,
)
def test_impossible_configs_are_refused_with_the_fix(changes, message):
    with pytest.raises(ValueError, match=message):
        check_model(config(**changes))


def test_options_of_the_original_are_read_whatever_their_case():
    changes = {"resblock_type": "BigGAN", "nonlinearity": "Swish", "normalization": "GroupNorm"}
    net = ncsnpp_from_config(config(**changes))
    check_model(config(**changes))
    assert (net.resblock_type, net.nonlinearity) == ("biggan", "swish")


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 16, 16, 1), (8, 8, 1)])
def test_images_of_another_shape_are_refused(small_net, shape):
    net, params, _ = small_net
    with pytest.raises(ValueError, match=r"built for \(batch, 8, 8, 1\)"):
        net.apply({"params": params}, jnp.ones(shape), LABELS)
