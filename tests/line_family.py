"""A conditional generator without a network: straight lines, as long as their momentum.

A particle leaves 4 MeV, a proton 40, in each pixel that it crosses, more than a real one in 1 cm,
until its kinetic energy is spent: so what is left is what the charge says. ``sampling.eta`` adds as
many MeV at most at its start, at random.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.data import PixelScale
from sgm_jax.simulation.particles import MASS_MEV
from sgm_jax.step import Variables

MEV_PER_PIXEL = np.array([4, 4, 4, 4, 40], np.float32)  # by kind
LEVELS_PER_MEV = 10.0


def kinetic(momentum, mass):
    """Return the energy that a line is long for."""
    return np.hypot(np.linalg.norm(momentum, axis=-1), mass) - mass


@dataclasses.dataclass(frozen=True)
class Lines:
    """The generator, and how it draws: all in one step."""

    image_shape: tuple[int, int, int]
    scale: PixelScale
    spread: float
    num_steps: int = 1
    nfe: int = 1
    one_step_a_call: bool = False
    at_once: Any = None
    log_prob: Any = None

    def drawing(self, conditions):
        assert conditions.condition is not None
        return self

    def start(self, keys, shape, given):
        return jnp.zeros(shape)

    def step(self, variables: Variables, i, state, keys, given):
        rows = given["condition"]
        mass = jnp.asarray(MASS_MEV, jnp.float32)[rows["particle"]]
        size = jnp.linalg.norm(rows["momentum"], axis=1)
        in_plane = rows["momentum"][:, 1:]
        loss = jnp.asarray(MEV_PER_PIXEL)[rows["particle"]][:, None, None]
        length = (jnp.hypot(size, mass) - mass)[:, None, None] / loss
        unit = in_plane / jnp.linalg.norm(in_plane, axis=1, keepdims=True)
        side = self.image_shape[0]
        row, column = jnp.indices((side, side)).astype(jnp.float32)[:, None] - side // 2
        down, right = unit.T[:, :, None, None]
        along = row * down + column * right
        beside = jnp.abs(row * right - column * down)
        part = jnp.clip(length - along, 0.0, 1.0)
        mev = jnp.where((along > -0.5) & (beside < 0.5), loss * part, 0.0)
        extra = self.spread * jax.vmap(jax.random.uniform)(keys)
        mev = mev.at[:, side // 2, side // 2].add(extra)
        return self.scale.to_model((LEVELS_PER_MEV * mev)[..., None])

    def finish(self, variables, state, given):
        return state


def check(config):
    pass


check_new = check


def free_fields(config):
    return ()


def build(config):
    shape = (config.data.image_size, config.data.image_size, config.data.num_channels)
    return Lines(shape, PixelScale.from_config(config.data), config.sampling.eta)
