"""A small convolutional network that classifies images, trained in seconds on a processor."""

import functools
import itertools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

Array = jax.Array
Parameters = dict

BATCH = 32
LEAST_STEPS = 600
LEAST_EPOCHS = 5
_RATE = 5e-3
_BLOCK = 32  # images tested at once; of more, what the network finds leaves the cache
_LEVEL = 64.0  # of a pixel on 0..255 that is one to the network
_PIXELS = 256.0  # lit pixels of an image, about: the sum over pixels is in units of these


class SmallCNN(nn.Module):
    """Two convolutions, and the maximum and the sum of each over all pixels.

    The first keeps the full resolution, because single pixels matter. The input has two channels:
    charge, and which pixels have any. Inside, the batch is the last axis, ``[channels, H, W, B]``:
    with so few channels everything is then sums over long rows of numbers.
    """

    classes: int
    filters: int = 8

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Return the log-probabilities ``[B, classes]`` of images ``[B, H, W, 1]`` on 0..255."""
        charge = images[..., 0].transpose(1, 2, 0)
        x = jnp.stack([charge / _LEVEL, (charge > 0).astype(charge.dtype)])
        x = nn.relu(_Conv(self.filters, 1, name="Conv_0")(x))
        features = [x.max(axis=(1, 2)), x.sum(axis=(1, 2)) / _PIXELS]
        x = nn.relu(_Conv(16, 2, name="Conv_1")(_halved(x)))
        features += [x.max(axis=(1, 2)), x.sum(axis=(1, 2)) / _PIXELS * 16]
        x = nn.relu(nn.Dense(32)(jnp.concatenate(features).T))
        return nn.log_softmax(nn.Dense(self.classes)(x))


class _Conv(nn.Module):
    """A 3x3 convolution that pads with zeros, as one product of matrices."""

    features: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[C, H, W, B]`` to ``[features, ceil(H / stride), ceil(W / stride), B]``."""
        channels, *sides, batch = x.shape
        shape = (3, 3, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        strides = (self.stride, self.stride)
        padding = jax.lax.padtype_to_pads(sides, (3, 3), strides, "SAME")
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        height, width = (-(-side // self.stride) for side in sides)
        rows, columns = ((size - 1) * self.stride + 1 for size in (height, width))
        places = itertools.product(range(3), range(3))
        parts = [x[:, i : i + rows : self.stride, j : j + columns : self.stride] for i, j in places]
        seen = jnp.concatenate(parts).reshape(9 * channels, -1)
        out = kernel.reshape(-1, self.features).T @ seen + bias[:, None]
        return out.reshape(self.features, height, width, batch)


def _halved(x: Array) -> Array:
    """Average ``[C, H, W, B]`` over 2x2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 for side in x.shape[1:3])
    x = x[:, : 2 * height, : 2 * width]
    return x.reshape(len(x), height, 2, width, 2, -1).mean(axis=(2, 4))


def fit_cnn(
    images: np.ndarray, labels: np.ndarray, *, seed: int, steps: int | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Train on images ``[n, H, W]`` on 0..255 with labels ``[n]`` from 0 on; return a classifier.

    Nothing is augmented: turning or mirroring could hide what a generator does wrong. By default it
    makes as many ``steps``, of 32 images, as five epochs have, and 600 at least.
    """
    net = SmallCNN(int(labels.max()) + 1)
    if steps is None:
        steps = max(LEAST_STEPS, LEAST_EPOCHS * len(images) // BATCH)
    params = net.init(jax.random.key(seed), jnp.zeros((1, *images.shape[1:], 1)))
    moments = optax.scale_by_adam().init(params)
    order = _order(len(images), steps * BATCH, seed)
    for step in range(steps):
        rows = order[step * BATCH : (step + 1) * BATCH]
        rate = _RATE * 0.5 * (1.0 + np.cos(np.pi * step / steps))
        params, moments = _train_step(
            net, params, moments, np.float32(rate), _ready(images[rows]), labels[rows]
        )

    def predict(tested: np.ndarray) -> np.ndarray:
        starts = range(0, len(tested), _BLOCK)
        blocks = [_log_probabilities(net, params, tested[k : k + _BLOCK]) for k in starts]
        return np.concatenate(blocks)

    return predict


@functools.partial(jax.jit, static_argnums=0)
def _train_step(
    net: SmallCNN,
    params: Parameters,
    moments: optax.OptState,
    rate: Array,
    images: Array,
    labels: Array,
) -> tuple[Parameters, optax.OptState]:
    def loss(params: Parameters) -> Array:
        logs = net.apply(params, images)
        return -jnp.take_along_axis(logs, labels[:, None], axis=1).mean()

    updates, moments = optax.scale_by_adam().update(jax.grad(loss)(params), moments)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    return optax.apply_updates(params, updates), moments


_classify = jax.jit(SmallCNN.apply, static_argnums=0)


def _log_probabilities(net: SmallCNN, params: Parameters, images: np.ndarray) -> np.ndarray:
    """Classify at most one block. A short one is filled up, so that one program serves all."""
    filled = np.zeros((_BLOCK, *images.shape[1:]), np.float32)
    filled[: len(images)] = images
    return np.asarray(_classify(net, params, _ready(filled)), np.float64)[: len(images)]


def _ready(images: np.ndarray) -> np.ndarray:
    return images[..., None].astype(np.float32)


def _order(count: int, wanted: int, seed: int) -> np.ndarray:
    """Return ``wanted`` places of ``count`` images: one random order after another."""
    rng = np.random.default_rng(seed)
    epochs = -(-wanted // count)
    return np.concatenate([rng.permutation(count) for _ in range(epochs)])[:wanted]
