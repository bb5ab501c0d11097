import itertools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from sgm_jax.generators.score_config import ncsnpp_from_config
from sgm_jax.models.ncsnpp import OPTIONS, NCSNpp, normalised_widths
from sgm_jax.models.overview import block_means
from tests.small_network import SMALL

MINI = SMALL | {"ch_mult": (1,), "attn_resolutions": (), "dropout": 0.2}
LABELS = jnp.array([3.0, 400.0])
# Every pair of two options' values stands in one of these.
COMBINATIONS = [
    {"resblock_type": block, "fir": fir, "progressive": up, "progressive_input": down}
    for up, down, block, fir in (
        ("none", "none", "biggan", True),
        ("none", "input_skip", "ddpm", False),
        ("none", "residual", "biggan", False),
        ("output_skip", "none", "ddpm", True),
        ("output_skip", "input_skip", "biggan", False),
        ("output_skip", "residual", "ddpm", True),
        ("residual", "none", "ddpm", False),
        ("residual", "input_skip", "biggan", True),
        ("residual", "residual", "ddpm", False),
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
    {"overview": 2},
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
    training = {"dtype": "float32"}
    for name, value in changes.items():
        (data if name in data else training if name in training else model)[name] = value
    return ml_collections.ConfigDict({"model": model, "data": data, "training": training})


def images(key, net, count=2):
    return jax.random.normal(key, (count, net.image_size, net.image_size, net.num_channels))


def random_weights(net):
    """Return weights of order 1/sqrt(fan), so that every branch shows in the output, uncompiled."""
    shape = (1, net.image_size, net.image_size, net.num_channels)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape), jnp.ones((1,)))
    rng = np.random.default_rng(0)

    def draw(leaf):
        fan = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 4.0
        return rng.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(fan))

    return jax.tree.map(draw, params["params"])


@pytest.mark.parametrize("options", COMBINATIONS + OTHERS, ids=str)
def test_combinations_of_options_have_outputs_and_widths_as_they_are_told(options):
    net = NCSNpp(**SMALL | {"ch_mult": (1, 3, 2), "num_res_blocks": 2, "nf": 12} | options)
    x = jnp.zeros((2, 8, 8, 1))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    out, variables = jax.eval_shape(lambda keys: net.init_with_output(keys, x, LABELS, True), keys)
    assert (out.shape, out.dtype) == (x.shape, jnp.float32)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    assert all(leaf.dtype == jnp.float32 for _, leaf in leaves)
    scales = {leaf.size for path, leaf in leaves if "'scale'" in jax.tree_util.keystr(path)}
    assert scales == set(normalised_widths(net))


def test_every_pair_of_values_is_among_the_combinations():
    for first, second in itertools.combinations(COMBINATIONS[0], 2):
        pairs = {(options[first], options[second]) for options in COMBINATIONS}
        values = [{options[name] for options in COMBINATIONS} for name in (first, second)]
        assert pairs == set(itertools.product(*values))
    for name in ("resblock_type", "progressive", "progressive_input"):
        assert {options[name] for options in COMBINATIONS} == set(OPTIONS[name])


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": "residual", "progressive_input": "input_skip"},
        {"progressive": "output_skip", "resblock_type": "ddpm", "embedding_type": "fourier"},
    ],
    ids=str,
)
def test_gradients_are_finite_and_reach_every_trained_parameter(key, options):
    net = NCSNpp(**SMALL | options)
    params, x = random_weights(net), images(key, net)

    @jax.jit
    @jax.grad
    def gradient(params):
        return jnp.square(net.apply({"params": params}, x, LABELS)).sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.all(np.isfinite(leaf)), path
        name = jax.tree_util.keystr(path)
        # A key's bias shifts all attention weights of a query alike, which softmax cannot see.
        if "'W'" not in name and "NIN_1']['bias" not in name:
            assert np.any(leaf != 0.0), path


@pytest.fixture(scope="module")
def mini():
    """Return a network of one level, its weights, two images and its compiled forward pass."""
    net = NCSNpp(**MINI)
    return net, random_weights(net), images(jax.random.key(5), net), jax.jit(net.apply)


def test_dropout_is_the_same_in_one_batch_and_in_halves(key, mini):
    net, params, _, _ = mini
    x = images(key, net, count=4)
    labels, numbers = jnp.array([1.0, 20.0, 300.0, 900.0]), jnp.array([5, 0, 7, 2])

    @jax.jit
    def run(x, labels, numbers):
        return net.apply({"params": params}, x, labels, True, numbers, rngs={"dropout": key})

    whole = run(x, labels, numbers)
    halves = [run(x[half], labels[half], numbers[half]) for half in (slice(0, 2), slice(2, 4))]
    np.testing.assert_allclose(jnp.concatenate(halves), whole, rtol=1e-4, atol=1e-4)
    assert np.max(np.abs(run(x, labels, numbers + 1) - whole)) > 1e-2


def test_without_training_features_are_never_dropped(mini):
    net, params, x, apply = mini
    out = apply({"params": params}, x, LABELS)
    certain = jax.jit(net.clone(dropout=0.0).apply, static_argnums=3)
    np.testing.assert_allclose(certain({"params": params}, x, LABELS, True), out, atol=1e-5)


def test_images_do_not_see_each_other(mini):
    _, params, x, apply = mini
    out = apply({"params": params}, x, LABELS)
    changed = apply({"params": params}, x.at[0].multiply(3.0), LABELS.at[0].set(77.0))
    np.testing.assert_allclose(changed[1], out[1], atol=1e-5)
    assert np.max(np.abs(changed[0] - out[0])) > 1e-2


def test_forward_and_reverse_derivatives_agree(key, mini):
    net, params, x, _ = mini
    tangent = jax.random.normal(key, x.shape)

    @jax.jit
    def products(x):
        def apply(x):
            return net.apply({"params": params}, x, LABELS)

        _, forward = jax.jvp(apply, (x,), (tangent,))
        (reverse,) = jax.vjp(apply, x)[1](tangent)
        return jnp.vdot(forward, tangent), jnp.vdot(reverse, tangent)

    np.testing.assert_allclose(*products(x), rtol=1e-4)


def test_uncentred_data_are_mapped_to_the_symmetric_range(mini):
    net, params, x, apply = mini
    uncentred = jax.jit(net.clone(centered=False).apply)
    shifted = uncentred({"params": params}, (x + 1.0) / 2.0, LABELS)
    np.testing.assert_allclose(shifted, apply({"params": params}, x, LABELS), atol=1e-4)


@pytest.mark.parametrize("embedding", OPTIONS["embedding_type"])
def test_scale_by_sigma_divides_by_the_noise_level(key, embedding):
    net = NCSNpp(**MINI | {"embedding_type": embedding, "sigma_min": 0.1, "sigma_max": 10.0})
    params, x = random_weights(net), images(key, net)
    labels = jnp.array([0.5, 998.7]) if embedding == "positional" else jnp.array([0.3, 7.0])
    levels = np.exp(np.linspace(np.log(10.0), np.log(0.1), 1000))
    sigma = levels[[0, 998]] if embedding == "positional" else np.array([0.3, 7.0])
    scaled, plain = (
        jax.jit(net.clone(scale_by_sigma=on).apply)({"params": params}, x, labels)
        for on in (True, False)
    )
    np.testing.assert_allclose(scaled * sigma[:, None, None, None], plain, rtol=1e-4, atol=1e-5)


def test_an_overview_changes_nothing_at_first_and_then_says_what_is_bright(key, mini):
    net, params, x, apply = mini
    seeing = net.clone(overview=2)
    fresh = seeing.init(key, x, LABELS)["params"]["overview"]
    out = apply({"params": params}, x, LABELS)
    look = jax.jit(seeing.apply)
    np.testing.assert_array_equal(look({"params": params | {"overview": fresh}}, x, LABELS), out)
    learnt = jax.tree.map(lambda leaf: leaf + 0.3, fresh)
    moved = look({"params": params | {"overview": learnt}}, x, LABELS)
    assert np.abs(moved - out).max() > 1e-3


def test_the_parts_of_an_overview_have_the_deviation_of_pixels_of_noise(key):
    means = block_means(jax.random.normal(key, (200, 8, 8, 1)), 2)
    assert means.shape == (200, 2, 2, 1)
    # 800 numbers know their deviation to 2.5 %.
    np.testing.assert_allclose(4 * means.std(), 1.0, rtol=0.1)
    bright = jnp.zeros((1, 8, 8, 1)).at[:, :4, 4:].set(1.0)
    np.testing.assert_array_equal(block_means(bright, 2)[0, ..., 0], [[0, 1], [0, 0]])


def test_folding_starts_at_half_the_resolution_with_four_channels():
    params = random_weights(NCSNpp(**SMALL | {"space_to_depth": 2, "attn_resolutions": (4, 2)}))
    assert params["002_conv"]["kernel"].shape == (3, 3, 4, 8)
    assert sum(name.endswith("attention") for name in params) == 5


@pytest.mark.parametrize("field", OPTIONS)
def test_unknown_options_are_refused_with_the_known_ones(field):
    with pytest.raises(ValueError, match=f"model.{field}='nonsense'.*{OPTIONS[field][0]}"):
        ncsnpp_from_config(config(**{field: "nonsense"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 9}, "image_size=9 must be a multiple of 2"),
        ({"space_to_depth": 8}, "image_size=8 must be a multiple of 16"),
        ({"space_to_depth": 0}, "space_to_depth=0"),
        ({"nf": 10}, "nf=10 must be a multiple of 4"),
        ({"nf": 132}, "132 channels do not divide into 32 groups"),
        ({"ch_mult": ()}, "ch_mult"),
        ({"overview": 3}, "overview=3 must be 0, or divide"),
        ({"overview": 2, "conditional": False}, "overview=2 is added to the embedding"),
        ({"num_res_blocks": 0}, "num_res_blocks=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"fir_kernel": ()}, "fir_kernel"),
        ({"dtype": "float16"}, "dtype='float16'.*float32"),
    ],
    ids=str,
)
def test_impossible_configs_are_refused_with_the_fix(changes, message):
    with pytest.raises(ValueError, match=message):
        ncsnpp_from_config(config(**changes))


def test_options_of_the_original_are_read_whatever_their_case():
    changes = {"resblock_type": "BigGAN", "nonlinearity": "Swish", "normalization": "GroupNorm"}
    net = ncsnpp_from_config(config(**changes))
    assert (net.resblock_type, net.nonlinearity) == ("biggan", "swish")


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 16, 16, 1), (8, 8, 1)])
def test_images_of_another_shape_are_refused(mini, shape):
    net, params, _, _ = mini
    with pytest.raises(ValueError, match=r"built for \(batch, 8, 8, 1\)"):
        net.apply({"params": params}, jnp.ones(shape), LABELS)
