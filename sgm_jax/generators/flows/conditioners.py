"""Networks that give each number of a vector the spline that it goes through.

``Conditioner`` sees some of the numbers and gives splines to others, as a coupling needs. ``Made``
(arXiv:1502.03509) gives all of them one, that of each from the numbers before it. Last layers begin
with zeros, so that a flow begins as the identity.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sgm_jax.generators.flows.spline import Spline

Array = jax.Array

_KERNEL = nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=-1, out_axis=0)
_ZEROS = nn.initializers.zeros


class Conditioner(nn.Module):
    """Splines of some numbers, from others and a context.

    Attributes:
        outputs: numbers that get a spline.
        parameters: that describe one.
        hidden: units of a layer.
        layers: of them.
    """

    outputs: int
    parameters: int
    hidden: int
    layers: int

    @nn.compact
    def __call__(self, x: Array, context: Array | None) -> Array:
        """Return splines ``[B, outputs, parameters]`` from ``[B, n]`` and a context ``[B, C]``."""
        seen = x if context is None else jnp.concatenate([x, context], axis=-1)
        h = nn.swish(nn.Dense(self.hidden, name="layer_0")(seen))
        for number in range(1, self.layers):
            h = h + nn.swish(nn.Dense(self.hidden, name=f"layer_{number}")(h))
        shape = (self.outputs, self.parameters)
        last = nn.Dense(self.outputs * self.parameters, kernel_init=_ZEROS, name="last")
        return last(h).reshape(*x.shape[:-1], *shape)


class Made(nn.Module):
    """Splines of all numbers of a vector, of each from those before it and a context.

    Every hidden unit has a degree d: it sees the numbers up to number d, and units of its degree or
    less; -1 sees none, only the context. Units are sorted by degree, so a vector is found from the
    front by computing in each step the few units that become known: all steps together are one
    evaluation.

    Attributes:
        size: of a vector.
        spline: that each number goes through.
        hidden: units of a layer.
        layers: of them.
        context: length of the context; 0 for none.
    """

    size: int
    spline: Spline
    hidden: int
    layers: int
    context: int

    def setup(self) -> None:
        """Name the parameters, kernels with outputs first: a unit is a row."""
        units = [self.size, *[self.hidden] * self.layers]
        self.kernels = [
            self.param(f"kernel_{n}", _KERNEL, (self.hidden, units[n])) for n in range(self.layers)
        ]
        self.biases = [self.param(f"bias_{n}", _ZEROS, (self.hidden,)) for n in range(self.layers)]
        shape = (self.hidden, self.context)
        self.asked = [
            self.param(f"context_{n}", _KERNEL, shape) if self.context else None
            for n in range(self.layers)
        ]
        last = (self.size, self.spline.parameters)
        self.last = self.param("last", _ZEROS, (*last, self.hidden))
        self.last_bias = self.param("last_bias", _ZEROS, last)

    def __call__(self, x: Array, context: Array | None) -> Array:
        """Return splines ``[B, size, parameters]`` of vectors ``[B, size]``."""
        h, sees = x, np.arange(self.size)
        for kernel, told in zip(self.kernels, self._told(context, len(x)), strict=True):
            mask = jnp.asarray(self._degrees[:, None] >= sees[None], x.dtype)
            h, sees = nn.swish(h @ (kernel * mask).T + told), self._degrees
        mask = jnp.asarray(np.arange(self.size)[:, None, None] > sees[None, None], x.dtype)
        return jnp.einsum("bh,nph->bnp", h, self.last * mask) + self.last_bias[None]

    def inverse(self, z: Array, context: Array | None) -> Array:
        """Return the vectors that the splines map to ``z [B, size]``."""
        told = self._told(context, len(z))
        most = int(np.bincount(self._degrees + 1).max())
        numbers = np.arange(self.size) - 1
        first = np.minimum(np.searchsorted(self._degrees, numbers), self.hidden - most)
        table, degrees = jnp.asarray(first, jnp.int32), jnp.asarray(self._degrees, jnp.int32)

        def step(i: Array, state: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
            x, units = state
            start, h, known = table[i], x, []
            new = jax.lax.dynamic_slice_in_dim(degrees, start, most)[None] == i - 1
            for kernel, bias, values in zip(self.kernels, told, units, strict=True):
                rows = jax.lax.dynamic_slice_in_dim(kernel, start, most)
                before = h @ rows.T + jax.lax.dynamic_slice_in_dim(bias, start, most, axis=1)
                # What is not known yet is zero, and so is heard by nobody: no mask is needed.
                old = jax.lax.dynamic_slice_in_dim(values, start, most, axis=1)
                fresh = jnp.where(new, nn.swish(before), old)
                h = jax.lax.dynamic_update_slice_in_dim(values, fresh, start, axis=1)
                known.append(h)
            raw = h @ self.last[i].T + self.last_bias[i][None]
            number = self.spline.inverse(jax.lax.dynamic_index_in_dim(z, i, 1, keepdims=False), raw)
            return jax.lax.dynamic_update_slice_in_dim(x, number[0][:, None], i, axis=1), known

        nothing = [jnp.zeros((len(z), self.hidden), z.dtype) for _ in range(self.layers)]
        return jax.lax.fori_loop(0, self.size, step, (jnp.zeros_like(z), nothing))[0]

    def _told(self, context: Array | None, count: int) -> list[Array]:
        """Return what each layer's units hear beside the numbers, ``[B, hidden]``."""
        told = []
        for bias, kernel in zip(self.biases, self.asked, strict=True):
            heard = jnp.broadcast_to(bias[None], (count, self.hidden))
            told.append(heard if kernel is None else heard + context @ kernel.T)
        return told

    @property
    def _degrees(self) -> np.ndarray:
        """Return the degrees of the units, rising and spread over -1 to size - 2."""
        return np.arange(self.hidden) * self.size // self.hidden - 1
