"""Which particle an image shows, and with which momentum, as a vector for the blocks of a network.

A condition is a dict of arrays with one row an image. What is not asked has a value of its own, so
that the type alone, the momentum alone or nothing can be asked:

* ``particle``: whole numbers ``[B]``, places in ``config.data.particles``; -1: any.
* ``momentum``: ``[B, 3]`` in MeV/c; NaN: any.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Condition = dict[str, jax.Array]

# What is known of an image of which nothing is asked, by field.
ANY = {"particle": np.int32(-1), "momentum": np.full(3, np.nan, np.float32)}
# Under this name the embedding lies in the parameters of a network.
PARAMETERS = "condition"
_SMALLEST = 1e-6


class ConditionEmbedding(nn.Module):
    """A vector of a condition, to be added to the embedding of the time.

    The last layer begins with zeros: a network that gets one gives the numbers that it gave before.

    Attributes:
        features: length of the vector.
        fields: those of :data:`ANY` that are looked at.
        num_particles: kinds of particle.
        momentum_scale: in MeV/c, a momentum of ordinary size.
        activation: between the layers.
    """

    features: int
    fields: Sequence[str]
    num_particles: int
    momentum_scale: float
    activation: Callable[[jax.Array], jax.Array] = nn.swish

    @nn.compact
    def __call__(self, condition: Condition) -> jax.Array:
        """Map conditions of ``B`` images to ``[B, features]``."""
        parts = {"particle": self._particle, "momentum": self._momentum}
        h = sum(parts[name](condition[name]) for name in self.fields)
        h = self.activation(nn.Dense(self.features, name="hidden")(self.activation(h)))
        return nn.Dense(self.features, kernel_init=nn.initializers.zeros, name="last")(h)

    def _particle(self, particle: jax.Array) -> jax.Array:
        """Look up a row of a table, whose last one is that of any particle."""
        shape = (self.num_particles + 1, self.features)
        table = self.param("particle", nn.initializers.normal(1.0), shape)
        return table[jnp.where(particle < 0, self.num_particles, particle)]

    def _momentum(self, momentum: jax.Array) -> jax.Array:
        """Map size, direction and components linearly; any momentum has a vector of its own."""
        any_momentum = self.param("any_momentum", nn.initializers.normal(1.0), (self.features,))
        asked = ~jnp.isnan(momentum).any(axis=-1, keepdims=True)
        # Its gradient would be NaN, too, wherever a NaN went through.
        scaled = jnp.where(asked, momentum / self.momentum_scale, 1.0)
        size = jnp.maximum(jnp.linalg.norm(scaled, axis=-1, keepdims=True), _SMALLEST)
        seen = jnp.concatenate([jnp.log(size), scaled / size, scaled], axis=-1)
        return jnp.where(asked, nn.Dense(self.features, name="momentum")(seen), any_momentum[None])


def anything(condition: Condition) -> Condition:
    """Return a condition of the same fields and number of images that asks nothing."""
    return {
        name: jnp.broadcast_to(jnp.asarray(ANY[name]), (len(values), *ANY[name].shape))
        for name, values in condition.items()
    }


def of_images(fields: Sequence[str], count: int) -> Condition:
    """Return the condition of so many images of which nothing is asked."""
    return anything({name: np.empty((count, *ANY[name].shape)) for name in fields})


def drop(keys: jax.Array, condition: Condition, *, whole: float, field: float) -> Condition:
    """Forget the conditions of some images, so that a network learns to draw without them, too.

    Args:
        keys: one for each image ``[B]``; what is forgotten of an image depends on it alone.
        condition: of the images.
        whole: probability that all of it is forgotten (arXiv:2207.12598).
        field: probability, for each field on its own, that this one is.
    """
    names = sorted(condition)

    def chosen(key: jax.Array) -> jax.Array:
        draws = jax.random.uniform(key, (1 + len(names),))
        return (draws[0] < whole) | (draws[1:] < field)

    forgotten, nothing = jax.vmap(chosen)(keys), anything(condition)
    return {
        name: jnp.where(
            forgotten[:, i].reshape(-1, *(1,) * (condition[name].ndim - 1)),
            nothing[name],
            condition[name],
        )
        for i, name in enumerate(names)
    }


def check_fields(fields: dict[str, Any]) -> None:
    """Refuse the fields of a configuration that cannot work together, by ``section.field``.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    seen, particles = fields["model.condition"], fields["data.particles"]
    known = ", ".join(map(repr, ANY))
    if not _are_names(seen) or not set(seen) <= ANY.keys():
        raise ValueError(
            f"--config.model.condition is {seen!r}; it lists what the network sees of: {known}"
        )
    if not _are_names(particles):
        raise ValueError(
            f"--config.data.particles is {particles!r}; it must list names that are all different"
        )
    if not seen:
        return
    if not fields["data.condition"]:
        raise ValueError(
            f"--config.model.condition is {tuple(seen)}, and nothing says what the images show; "
            "set --config.data.condition=labels for labels.h5 beside them, or to a .csv, .npz or "
            ".h5 file"
        )
    if "particle" in seen and not particles:
        raise ValueError(
            "--config.model.condition has 'particle', which needs the names of the kinds: "
            """--config.data.particles="('muon', 'proton')" """.rstrip()
        )


def _are_names(values: Any) -> bool:
    texts = isinstance(values, list | tuple) and all(isinstance(v, str) and v for v in values)
    return texts and len(set(values)) == len(values)
