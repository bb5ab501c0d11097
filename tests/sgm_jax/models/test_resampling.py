import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.models import resampling
from tests.fixture_files import fixture_files

FILES = fixture_files("fir_embed.npz")
KERNELS = [(1, 3, 3, 1), (1, 2, 3, 4), (1, 2, 1)]


def nhwc(images):
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours, theirs.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_filters_agree_with_the_original(path):
    arrays = np.load(path)
    x, weight = nhwc(arrays["x"]), jnp.asarray(arrays["w"].transpose(2, 3, 1, 0))
    functions = {"up": resampling.upsample_2d, "down": resampling.downsample_2d}
    checked = 0
    for name in arrays.files:
        if not name.startswith(("up_", "down_", "convdown_")):
            continue
        kind, *middle, kernel = name.split("_")
        taps = arrays[kernel].tolist()
        gain = float(middle[0].removeprefix("gain")) if middle else 1.0
        if kind == "convdown":
            ours = resampling.conv_downsample_2d(x, weight, taps, gain=gain)
        else:
            ours = functions[kind](x, taps, gain)
        assert_same(ours, arrays[name])
        checked += 1
    assert checked >= 9
    assert_same(resampling.nearest_upsample_2d(x), arrays["naive_up"])
    assert_same(resampling.mean_downsample_2d(x), arrays["naive_down"])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 9)])
def test_a_filter_is_the_same_as_matrices_and_as_shifted_images(key, kernel, up, height, width):
    x = jax.random.normal(key, (2, height, width, 3))
    ours = (resampling.upsample_2d if up else resampling.downsample_2d)(x, kernel, 1.5)
    rows, columns = (
        resampling.resampling_matrix(
            size, gain * (4.0 if up else 1.0) ** 0.5 * np.array(kernel[::-1]) / sum(kernel), up=up
        )
        for size, gain in ((height, 1.5), (width, 1.0))
    )
    products = np.einsum("oh,pw,bhwc->bopc", rows, columns, x)
    np.testing.assert_allclose(ours, products, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_filtered_constants_keep_their_value_away_from_the_edge(kernel):
    x = jnp.full((1, 8, 8, 2), 0.7)
    up = resampling.upsample_2d(x, kernel)
    down = resampling.downsample_2d(x, kernel)
    np.testing.assert_allclose(down[:, 1:-1, 1:-1], 0.7, rtol=1e-5)
    np.testing.assert_allclose(up[:, 2:-2, 2:-2].mean(), 0.7, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_upsampling_convolution_is_upsampling_then_convolution_inside_the_image(key, kernel):
    x = jax.random.normal(key, (2, 8, 8, 3))
    weight = jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 3, 5))
    joint = resampling.upsample_conv_2d(x, weight, kernel)
    apart = jax.lax.conv_general_dilated(
        resampling.upsample_2d(x, kernel),
        weight,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert joint.shape == (2, 16, 16, 5)
    np.testing.assert_allclose(joint[:, 3:-3, 3:-3], apart[:, 3:-3, 3:-3], rtol=1e-4, atol=1e-4)


def test_upsampling_convolution_equals_its_definition_with_inserted_zeros(key):
    x = jax.random.normal(key, (1, 4, 4, 2))
    weight = jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 2, 3))
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    full = jax.lax.conv_general_dilated(
        x, weight, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), **options
    )
    taps = jnp.array([1.0, 3.0, 3.0, 1.0]) / 4.0
    kernel = jnp.einsum("h,w,cd->hwcd", taps, taps, jnp.eye(3))
    expected = jax.lax.conv_general_dilated(full, kernel, (1, 1), ((1, 1), (1, 1)), **options)
    ours = resampling.upsample_conv_2d(x, weight, (1, 3, 3, 1))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_folding_pixels_into_channels_is_undone_exactly(key, k):
    x = jax.random.normal(key, (2, 8, 8, 3))
    folded = resampling.space_to_depth(x, k)
    assert folded.shape == (2, 8 // k, 8 // k, 3 * k * k)
    np.testing.assert_array_equal(resampling.depth_to_space(folded, k), x)


def test_folding_keeps_neighbouring_pixels_together(key):
    x = jax.random.normal(key, (1, 4, 4, 1))
    folded = resampling.space_to_depth(x, 2)
    np.testing.assert_array_equal(folded[0, 1, 0], x[0, 2:4, 0:2, 0].reshape(-1))


def test_a_kernel_that_cannot_be_normalised_is_refused():
    with pytest.raises(ValueError, match="sum to 0"):
        resampling.downsample_2d(jnp.ones((1, 4, 4, 1)), (1, -1))


def test_an_upsampling_convolution_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        resampling.upsample_conv_2d(jnp.ones((1, 4, 4, 1)), jnp.ones((5, 5, 1, 1)), (1, 3, 3, 1))
