"""A family of generators that is as small as the contract allows, and uses all of it.

Each pixel is normal with a mean that belongs to the image's label, 0 or 1. The means are learnt
with one optimiser, the logarithm of the common deviation with another, in alternating steps; how
often each label was seen is kept beside the parameters, as a codebook keeps its counts.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sgm_jax.generator import LogProb
from sgm_jax.run import parallel
from sgm_jax.step import TrainState, Variables, ema_update

MEANS, SPREAD = optax.adam(0.05), optax.sgd(0.05)


@dataclasses.dataclass(frozen=True)
class ToyGenerator:
    """A normal distribution for each of two labels."""

    image_shape: tuple[int, int, int]

    def initial_state(self, key):
        means = 0.1 * jax.random.normal(key, (2, *self.image_shape))
        params = {"means": means, "log_std": jnp.zeros(())}
        opt_state = MEANS.init(params["means"]), SPREAD.init(params["log_std"])
        average = jax.tree.map(jnp.copy, params)
        return TrainState(jnp.zeros((), jnp.int32), params, average, opt_state, jnp.zeros(2))

    def train_step(self, state, key, batch):
        label = self.label(batch["image"])

        def loss_fn(params):
            noise = self.noise(jax.random.fold_in(key, state.step), batch["index"])
            nats = self.nats(params, batch["image"] + 0.01 * noise, label)
            return -nats.mean() / batch["image"][0].size

        loss, grads = parallel.mean(jax.value_and_grad(loss_fn)(state.params))
        first, second = state.opt_state
        means, first = MEANS.update(grads["means"], first)
        log_std, second = SPREAD.update(grads["log_std"], second)
        # The mean in even steps, the deviation in odd ones.
        odd = state.step % 2
        updates = {"means": (1 - odd) * means, "log_std": odd * log_std}
        params = optax.apply_updates(state.params, updates)
        count = state.step + 1
        seen = parallel.mean(jax.nn.one_hot(label, 2).sum(0)) * parallel.device_count()
        return TrainState(
            count,
            params,
            ema_update(state.ema_params, params, count.astype(jnp.float32), 0.9),
            (first, second),
            state.extra + seen,
        ), {"loss": loss}

    def eval_loss(self, variables, key, batch):
        del key
        label = self.label(batch["image"])
        return -self.nats(variables.params, batch["image"], label).mean(), {}

    def drawing(self, conditions):
        if conditions.condition is None:
            raise ValueError(
                "the toy family draws images of a label; give condition={'label': ...}"
            )
        return ToyDrawing()

    def log_prob(self, variables, keys, images, given):
        del keys, given
        x = images.astype(jnp.float32) / 255
        share = jnp.log(variables.extra / variables.extra.sum())
        each = [share[k] + self.nats(variables.params, x, jnp.full(len(x), k)) for k in range(2)]
        # A level is 1 / 255 wide here.
        nats = jnp.logaddexp(*each) - x[0].size * jnp.log(255.0)
        return LogProb(nats, jnp.zeros(len(x)), jnp.ones(len(x), jnp.int32), kind="exact")

    @staticmethod
    def label(images):
        """Return which half of an image is lit, ``[B]``; it stands in for a condition."""
        return (images[:, : images.shape[1] // 2].sum((1, 2, 3)) > 0).astype(jnp.int32)

    @staticmethod
    def nats(params, images, label):
        logpdf = jax.scipy.stats.norm.logpdf
        means, std = params["means"][label], jnp.exp(params["log_std"])
        return logpdf(images, means, std).sum((1, 2, 3))

    def noise(self, key, index):
        def draw(i):
            return jax.random.normal(jax.random.fold_in(key, i), self.image_shape)

        return jax.vmap(draw)(index)


class ToyDrawing:
    """The mean first, then its noise in three equal parts."""

    num_steps, nfe, one_step_a_call, at_once = 3, 1, False, None

    def start(self, keys, shape, given):
        return jnp.zeros(shape)

    def step(self, variables: Variables, i: Any, state: Any, keys: Any, given: Any):
        def noise(key):
            return jax.random.normal(jax.random.fold_in(key, i), state.shape[1:])

        return state + jnp.exp(variables.params["log_std"]) * jax.vmap(noise)(keys) / 3**0.5

    def finish(self, variables, state, given):
        return variables.params["means"][given["condition"]["label"]] + state


def check(config):
    if config.data.centered:
        raise ValueError("config.data.centered is True; the toy family needs False")


def check_new(config):
    pass


def free_fields(config):
    return ()


def build(config):
    size = config.data.image_size
    return ToyGenerator((size, size, config.data.num_channels))
