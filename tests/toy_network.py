"""The closed-form network that the parity fixtures were made with."""

import jax.numpy as jnp


def toy_network(abc):
    """Return ``eps(x, labels)`` with the coefficients stored in a fixture."""
    a, b, c = (float(v) for v in abc)

    def eps(x, labels):
        wave = b * jnp.sin(labels / 100)
        return a * x + wave.reshape(-1, 1, 1, 1) + c * x * jnp.abs(x) / (1 + x**2)

    return eps
