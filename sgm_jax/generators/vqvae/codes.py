"""Codes as a network of the prior sees and gives them: vectors in, a softmax over numbers out."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from sgm_jax.generators.autoregressive.heads import Categorical
from sgm_jax.generators.autoregressive.orders import Order, Size
from sgm_jax.generators.autoregressive.stages import Trunk

Array = jax.Array
# Under this name lie the vectors of a codebook that a network sees, in place of learnt ones.
VECTORS = "vectors"


@dataclasses.dataclass(frozen=True)
class Codes(Categorical):
    """A softmax over codes; drawn ones may be more typical than learnt, or less.

    Attributes:
        classes: how many there are.
        temperature: what features are divided by when a code is drawn, not in its probability.
    """

    temperature: float = 1.0

    def draw(self, key: Array, features: Array, lit: Array | bool = False) -> Array:
        """Draw a code."""
        return super().draw(key, features / self.temperature, lit)


class Embedded(nn.Module):
    """A trunk that sees a vector of each code, and not one number for each that there could be.

    Attributes:
        trunk: a :class:`sgm_jax.generators.autoregressive.stages.Trunk`.
        channels: numbers of a vector.
        frozen: they are those of the codebook, put under :data:`VECTORS`, and not learnt.
    """

    trunk: Trunk
    channels: int
    frozen: bool = False

    @property
    def order(self) -> Order:
        """Of the pixels."""
        return self.trunk.order

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.trunk.size

    def __call__(
        self,
        inputs: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> Array:
        """Return the features of all pixels, of codes as unit vectors ``[B, H, W, K]``."""
        return self.trunk(self._seen(inputs), vector, context, live)

    def empty(self, channels: int) -> Any:
        """Return what is kept of one image before its first pixel."""
        del channels
        return self.trunk.empty(self.channels)

    def look(
        self,
        kept: Any,
        pixel: Array,
        vector: Array | None = None,
        context: Array | None = None,
        live: Array | None = None,
    ) -> tuple[Array, Any]:
        """Return the features of the next pixel of one image, and what is kept."""
        return self.trunk.look(kept, pixel, vector, context, live)

    def skip(self, kept: Any, pixel: Array, vector: Array | None = None) -> Any:
        """Return what is kept of a pixel whose features nobody wants."""
        return self.trunk.skip(kept, pixel, vector)

    def absorb(self, kept: Any, pixel: Array, inputs: Array) -> Any:
        """Return what is kept when the code of the pixel that was looked at last is known."""
        return self.trunk.absorb(kept, pixel, self._seen(inputs))

    @nn.compact
    def _seen(self, inputs: Array) -> Array:
        shape = (inputs.shape[-1], self.channels)
        table = self.param(VECTORS, nn.initializers.normal(1.0), shape)
        return inputs @ (jax.lax.stop_gradient(table) if self.frozen else table)


def with_vectors(params: dict[str, Any], vectors: dict[str, Array]) -> dict[str, Any]:
    """Return the parameters of stages with the vectors of codebooks in those that see them."""
    return params | {name: params[name] | {VECTORS: book} for name, book in vectors.items()}


def without_vectors(params: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters of stages that are learnt, without the vectors of these."""
    return params | {
        name: {k: v for k, v in params[name].items() if k != VECTORS} for name in names
    }
