"""Moments: where the charge of earlier pixels lies, in whole images and in drawing alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgm_jax.data import PixelScale
from sgm_jax.generators.autoregressive.heads import Levels
from sgm_jax.generators.autoregressive.moments import Moments
from sgm_jax.generators.autoregressive.orders import ORDERS, ranks

SIZE = (4, 6)
SCALES = [PixelScale(False, "log"), PixelScale(False, "linear"), PixelScale(False, "sqrt")]


def images(count=3):
    drawn = np.random.default_rng(0).integers(0, 256, (count, *SIZE))
    return jnp.asarray(np.where(drawn < 128, 0, drawn))


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: scale.transform)
@pytest.mark.parametrize("order", ["row", "column"])
def test_a_pixel_is_told_charge_moments_and_centre_of_those_before_it(order, scale):
    order = ORDERS[order](SIZE)
    told = Moments(order, SIZE, scale).before(Levels(scale=scale).embed(images()))
    told = np.asarray(told, np.float64).reshape(3, -1, 5)
    when, charge = ranks(order), np.asarray(images()).reshape(3, -1) / 255
    rows, columns = np.divmod(np.arange(24), 6)
    place = np.stack([(rows - 1.5) / 4, (columns - 2.5) / 6], axis=1)
    for pixel in range(24):
        earlier = when < when[pixel]
        total = charge[:, earlier].sum(1)
        moments = charge[:, earlier] @ place[earlier]
        np.testing.assert_allclose(np.expm1(2 * told[:, pixel, 0]), total, atol=1e-4)
        np.testing.assert_allclose(np.sinh(2 * told[:, pixel, 1:3]) / 4, moments, atol=1e-4)
        centre = moments / np.maximum(total, 1e-9)[:, None]
        np.testing.assert_allclose(told[:, pixel, 3:] / 2, centre, atol=2e-3)


def test_drawing_is_told_the_same():
    order, scale = ORDERS["column"](SIZE), SCALES[0]
    moments, inputs = Moments(order, SIZE, scale), Levels(scale=scale).embed(images(1))
    expected = moments.before(inputs).reshape(24, 5)

    def step(total, pixel):
        value = inputs.reshape(24, -1)[pixel]
        return moments.add(total, pixel, value), moments.at(total)

    _, told = jax.lax.scan(step, moments.empty(), jnp.asarray(order))
    np.testing.assert_allclose(told[ranks(order)], expected, atol=1e-5)
