"""Keys of what is drawn in a step, for each purpose and image."""

import dataclasses

import jax

Array = jax.Array

# What is random in a step of networks that learn from each other; each has a key of its own.
_PURPOSES = (
    *("forgotten", "levels", "discriminator", "generator", "real", "generated", "seen"),
    *("share", "directions", "noise", "prior"),
)


@dataclasses.dataclass(frozen=True)
class Draws:
    """Keys of one step.

    Attributes:
        root: of the step.
        index: places of the images in the global batch ``[B]``.
    """

    root: Array
    index: Array

    def key(self, purpose: str) -> Array:
        """Return one key for all images."""
        return jax.random.fold_in(self.root, _PURPOSES.index(purpose))

    def keys(self, purpose: str) -> Array:
        """Return a key for each image ``[B]``."""
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(self.key(purpose), self.index)
