"""L2LFlows: the charges of all layers of an image, then each layer given those before it.

Diefenbacher et al., arXiv:2302.11594. The energy distribution flow is a density of the charges of
all layers. A causal flow is one of the pixels of a layer, given its charge, what an embedding
network makes of a few layers before it, and what the image is asked to show. In training the layers
before are those of the image, so all layers are learnt at once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sgm_jax.generators.flows.charge import LogitScale, dequantise, quantise
from sgm_jax.generators.flows.flow import Flow
from sgm_jax.generators.flows.layers import Layers
from sgm_jax.generators.flows.postprocess import whole

Array = jax.Array
Params = dict[str, Any]

ENERGY, CAUSAL = "energy", "causal"
EMBEDDING, FLOW = "embedding", "flow"
BRIGHTEST = 255
# The charge of a dark pixel is the first level times such a power of how near to it was drawn.
DARK_POWER = 8


class Embedding(nn.Module):
    """What a causal flow is told of the layers before: a dense network of two hidden layers."""

    hidden: int
    features: int

    @nn.compact
    def __call__(self, seen: Array) -> Array:
        """Return ``[B, features]`` of what lies before layers ``[B, before * size]``."""
        h = nn.swish(nn.Dense(self.hidden, name="first")(seen))
        h = nn.swish(nn.Dense(self.hidden, name="second")(h))
        return nn.Dense(self.features, name="last")(h)


class Drawn(NamedTuple):
    """Images as the flows see them, with noise between the levels.

    Attributes:
        levels: whole ones of the layers ``[B, L, D]``.
        pixels: for the causal flows ``[B, L, D]``.
        charges: for the energy flow ``[B, L]``.
        pixel_nats: of each layer, what its density of ``pixels`` has to be multiplied with to be
            that of whole levels, as a logarithm ``[B, L]``.
        charge_nats: the same of all ``charges`` of an image ``[B]``.
    """

    levels: Array
    pixels: Array
    charges: Array
    pixel_nats: Array
    charge_nats: Array

    @property
    def lit(self) -> Array:
        """Tell which layers are not dark ``[B, L]``."""
        return self.levels.max(axis=2) > 0


@dataclasses.dataclass(frozen=True, eq=False)
class LayeredFlow:
    """The two kinds of flow, and what lies between them and images of whole levels.

    A layer without charge is dark for sure, so causal flows learn only the others.

    Attributes:
        layers: how an image is cut.
        energy: of the charges of all layers.
        causal: of the pixels of a layer.
        embedding: of the layers before it.
        pixel_scale: of the charges of pixels.
        charge_scale: of the charges of layers.
        first: the lowest level of a lit pixel.
        share: one causal flow for all layers, told which layer it is; or one a layer.
        look: how charges of pixels are shown to the embedding, from levels.
        postprocess: what is drawn of a layer, brought to its charge.
    """

    layers: Layers
    energy: Flow
    causal: Flow
    embedding: Embedding
    pixel_scale: LogitScale
    charge_scale: LogitScale
    first: int
    share: bool
    look: Callable[[Array], Array]
    postprocess: Callable[[Array, Array, float], Array]

    def init(self, key: Array) -> Params:
        """Return random parameters; flows begin as the identity."""
        energy, causal = jax.random.split(key)
        seen = jnp.zeros((1, self.layers.before * self.layers.size))

        def of_layer(key: Array) -> Params:
            first, second = jax.random.split(key)
            return {
                EMBEDDING: self.embedding.init(first, seen)["params"],
                FLOW: self.causal.init(second),
            }

        if self.share:
            own = of_layer(causal)
        else:
            own = jax.vmap(of_layer)(jax.random.split(causal, self.layers.count))
        return {ENERGY: self.energy.init(energy), CAUSAL: own}

    # ------------------------------------------------------------------------------ densities

    def noised(self, keys: Array, images: Array) -> Drawn:
        """Return images of whole levels ``[B, H, W]`` with noise of their keys."""
        levels = self.layers.split(images)
        total = levels.sum(axis=2)

        def of_image(key: Array, levels: Array, total: Array) -> tuple[Array, ...]:
            first, second = jax.random.split(key)
            pixels = dequantise(first, levels, self.first)
            charges = dequantise(second, total, self.first)
            y, pixel_slope = self.pixel_scale.to_network(pixels.values)
            c, charge_slope = self.charge_scale.to_network(charges.values)
            pixel_nats = (pixel_slope - pixels.log_noise).sum(axis=1)
            return y, c, pixel_nats, (charge_slope - charges.log_noise).sum()

        return Drawn(levels, *jax.vmap(of_image)(keys, levels, total))

    def energy_nats(self, params: Params, drawn: Drawn, vector: Array | None) -> Array:
        """Return lower bounds of the log-probabilities of the layers' charges ``[B]``."""
        nats = self.energy.log_prob(params[ENERGY], drawn.charges, vector)
        return nats + drawn.charge_nats

    def layer_nats(
        self, params: Params, drawn: Drawn, places: Array, vector: Array | None
    ) -> Array:
        """Return those of some layers' pixels, given all before; 0 for dark layers.

        Args:
            params: of all flows.
            drawn: images.
            places: numbers of layers ``[B, m]``; without ``share`` the same for all images.
            vector: what images are asked to show ``[B, E]``.

        Returns:
            ``[B, m]``.
        """
        images, count = places.shape
        seen = self.layers.earlier(self.look(drawn.levels), places)
        charges, lit, nats = (
            jnp.take_along_axis(values, places, axis=1)
            for values in (drawn.charges, drawn.lit, drawn.pixel_nats)
        )
        pixels = jnp.take_along_axis(drawn.pixels, places[..., None], axis=1)

        def log_prob(own: Params, x: Array, seen: Array, *rest: Any) -> Array:
            return self.causal.log_prob(own[FLOW], x, self._context(own, seen, *rest))

        if self.share:
            asked = None if vector is None else jnp.repeat(vector, count, axis=0)
            flat = (x.reshape(images * count, *x.shape[2:]) for x in (pixels, seen, charges))
            where = places.reshape(-1)
            density = log_prob(params[CAUSAL], *flat, where, asked).reshape(images, count)
        else:
            own = jax.tree.map(lambda leaf: leaf[places[0]], params[CAUSAL])
            each = jax.vmap(log_prob, in_axes=(0, 1, 1, 1, 1, None), out_axes=1)
            density = each(own, pixels, seen, charges, places, vector)
        return jnp.where(lit, density + nats, 0.0)

    def log_prob(self, params: Params, drawn: Drawn, vector: Array | None) -> Array:
        """Return lower bounds of the log-probabilities of whole images ``[B]``."""
        every = jnp.arange(self.layers.count)[None]
        places = jnp.broadcast_to(every, (len(drawn.levels), self.layers.count))
        causal = self.layer_nats(params, drawn, places, vector).sum(axis=1)
        return self.energy_nats(params, drawn, vector) + causal

    # -------------------------------------------------------------------------------- drawing

    def draw_charges(self, params: Params, noise: Array, vector: Array | None) -> Array:
        """Return whole charges of all layers ``[B, L]`` from normal noise ``[B, L]``."""
        numbers = self.energy.from_noise(params[ENERGY], noise, vector)
        charges = quantise(self.charge_scale.from_network(numbers), self.first)
        return jnp.minimum(charges, float(BRIGHTEST * self.layers.size))

    def draw_layer(
        self,
        params: Params,
        place: Array,
        noise: Array,
        levels: Array,
        charges: Array,
        vector: Array | None,
    ) -> Array:
        """Return the whole levels of a layer ``[B, D]``.

        Args:
            params: of all flows.
            place: the number of the layer.
            noise: normal ``[B, D]``.
            levels: of all layers ``[B, L, D]``; those from this one on do not matter.
            charges: of all layers ``[B, L]``, whole.
            vector: what images are asked to show ``[B, E]``.
        """
        images = len(levels)
        own = params[CAUSAL]
        if not self.share:
            own = jax.tree.map(lambda leaf: leaf[place], own)
        seen = self.layers.earlier(self.look(levels), jnp.full((images, 1), place))[:, 0]
        charge = jax.lax.dynamic_index_in_dim(charges, place, 1, keepdims=False)
        # The middle of the noise that such a charge has in training.
        number, _ = self.charge_scale.to_network(charge + 0.5)
        context = self._context(own, seen, number, jnp.full((images,), place), vector)
        drawn = self.pixel_scale.from_network(self.causal.from_noise(own[FLOW], noise, context))
        # Of lit pixels the level. What others have is noise: that of those which are nearly lit
        # counts, and all of it together must not be the charge of a row.
        nearly = self.first * (drawn / self.first) ** DARK_POWER
        pixels = jnp.where(drawn < self.first, nearly, jnp.floor(drawn))
        kept = whole(self.postprocess(pixels, charge, float(self.first)))
        return jnp.minimum(kept, float(BRIGHTEST))

    def _context(
        self, own: Params, seen: Array, charge: Array, places: Array, vector: Array | None
    ) -> Array:
        """Return what a causal flow is told ``[B, C]``."""
        told = [self.embedding.apply({"params": own[EMBEDDING]}, seen), charge[:, None]]
        if self.share:
            told.append(jnp.asarray(self.layers.places)[places])
        if vector is not None:
            told.append(vector)
        return jnp.concatenate(told, axis=-1)
