"""The contract between the commands and the families of generators.

Training, sampling and likelihoods know what is written here and nothing else of a generator. A
family is a module of :mod:`sgm_jax.generators` with four functions: ``check(config)`` refuses a
configuration that cannot work, ``check_new(config)`` what a run should not begin with,
``free_fields(config)`` names the fields that may change between two starts of a run, and
``build(config)`` returns a :class:`Generator`. It may have more: ``doubts(config)`` says what can
be drawn with, but badly; ``measure(config, images)`` returns the fields of the configuration that
are measured on the training images when a run begins; ``purpose(config)`` says what weights are for
that draw nothing, as those of a classifier; and ``first_stage(config)`` returns the configuration
of what has to be trained before. Its name in :data:`GENERATORS` is what ``config.generator`` says.

Keys are those of images: noise is drawn per example, from the step's key and the example's number,
so that it depends neither on the batch size nor on the devices. Images are those of network space,
see :class:`sgm_jax.data.PixelScale`.
"""

import dataclasses
import enum
import importlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections

from sgm_jax.conditions import Conditions
from sgm_jax.data import Images
from sgm_jax.step import TrainState, Variables

Array = jax.Array
# ``image [B, H, W, C]`` in network space and ``index [B]``, the place in the global batch; where a
# run is conditional also ``condition``, a dict of arrays [B, ...]; for SSNet ``label [B, H, W]``;
# and where ``data.drawn_path`` names images of another generator, as many of them as ``drawn``.
Batch = dict[str, Any]
# What is known of each image that is drawn: ``condition`` as in a batch, ``known`` and ``mask``.
Given = dict[str, Any]


class Purpose(enum.IntEnum):
    """What is random in a run; each purpose has a key folded from the seed and its number."""

    TRAINING = 0
    SAMPLING = 1
    INITIALISATION = 2
    EVALUATION = 3


def run_key(seed: int, purpose: Purpose) -> Array:
    """Return the key of one purpose."""
    return jax.random.fold_in(jax.random.key(seed), purpose)


# The module of each family, or its name: then it is imported when a configuration asks for it.
GENERATORS: dict[str, Any] = {
    "score": "sgm_jax.generators.score",
    "classifier": "sgm_jax.generators.classifier",
    "discriminator": "sgm_jax.generators.discriminator",
    "sarm": "sgm_jax.generators.autoregressive",
    "gan": "sgm_jax.generators.gan",
    "bibae": "sgm_jax.generators.bibae",
    "vqvae": "sgm_jax.generators.vqvae",
    "l2lflows": "sgm_jax.generators.flows",
}


class Trainable(Protocol):
    """What :func:`sgm_jax.train.fit` trains: a generator, or SSNet."""

    def initial_state(self, key: Array) -> TrainState:
        """Return the state before the first update."""

    def train_step(
        self, state: TrainState, key: Array, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """Make one update from one device's share of a batch.

        Gradients, metrics and statistics are averaged with :func:`sgm_jax.run.parallel.mean`. The
        key is the run's; what is random in a step comes from it and ``state.step``, so that a run
        that goes on draws what the uninterrupted one would have drawn.

        Returns:
            The new state, and scalars by name with ``loss`` among them.
        """

    def eval_loss(
        self, variables: Variables, key: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the mean loss of one device's share of a batch, without dropout, and details."""


class Drawing(Protocol):
    """How images are drawn, in steps that are made in a few compiled calls.

    Attributes:
        num_steps: noise levels, pixels of an order, or rows of a flow.
        nfe: network evaluations that an image takes; None where every image chooses its own.
        one_step_a_call: never put steps into a compiled loop, where they would be slower.
        at_once: how many images a device must draw at once; None where any number will do. Programs
            for different numbers round differently, and some drawings make much of that.
    """

    num_steps: int
    nfe: int | None
    one_step_a_call: bool
    at_once: int | None

    def start(self, keys: Array, shape: tuple[int, ...], given: Given) -> Any:
        """Return the state before the first step of images ``shape = [B, H, W, C]``."""

    def step(self, variables: Variables, i: Array, state: Any, keys: Array, given: Given) -> Any:
        """Return the state after step ``i``."""

    def finish(self, variables: Variables, state: Any, given: Given) -> Array:
        """Return the images ``[B, H, W, C]`` of the state after the last step."""


@dataclasses.dataclass(frozen=True, eq=False)
class AtOnce:
    """A :class:`Drawing` of one step, which makes whole images of random numbers.

    Attributes:
        images: ``(variables, keys, condition) -> images`` in network space.
        at_once: images that a device draws at once: another program rounds differently.
    """

    images: Callable[[Variables, Array, Any], Array]
    at_once: int | None
    num_steps = 1
    nfe = 1
    one_step_a_call = False

    def start(self, keys: Array, shape: tuple[int, ...], given: Given) -> Array:
        """Return what becomes images: nothing yet."""
        del keys, given
        return jnp.zeros(shape)

    def step(
        self, variables: Variables, i: Array, state: Array, keys: Array, given: Given
    ) -> Array:
        """Return the images."""
        del i, state
        return self.images(variables, keys, given.get("condition"))

    def finish(self, variables: Variables, state: Array, given: Given) -> Array:
        """Return the images in network space."""
        del variables, given
        return state


@flax.struct.dataclass
class LogProb:
    """Log-probabilities of images of 256 levels.

    Attributes:
        nats: of each image ``[B]``.
        stderr: their errors, where they are estimated with random numbers ``[B]``; NaN if unknown.
        nfe: network evaluations that each of them took ``[B]``.
        kind: "exact"; "bound", if the mean lies below the truth; "dequantised", if it is that of a
            density of images with noise between their levels, a bound of another kind; or
            "estimate". Numbers of different kinds do not compare.
    """

    nats: Array
    stderr: Array
    nfe: Array
    kind: str = flax.struct.field(pytree_node=False)


class Generator(Trainable, Protocol):
    """A generator of images.

    Attributes:
        image_shape: height, width and channels of the images it is trained on.
        log_prob: ``(variables, keys, images, given) -> LogProb`` of whole levels 0..255
            ``[B, H, W, C]``, with one key for each; None where there is none.
    """

    image_shape: tuple[int, int, int]
    log_prob: Callable[[Variables, Array, Array, Given], LogProb] | None

    def drawing(self, conditions: Conditions) -> Drawing:
        """Return how images are drawn under conditions.

        Raises:
            ValueError: for conditions that this generator cannot fulfil.
        """


@runtime_checkable
class Reconstructs(Protocol):
    """What makes images of images: an autoencoder, with a prior or alone."""

    def reconstructed(self, variables: Variables, images: Array) -> Array:
        """Return images ``[B, H, W, C]`` as they come back, in network space as they went in."""


def check(config: ml_collections.ConfigDict) -> None:
    """Refuse what cannot work in the part of a configuration that is the family's.

    Raises:
        ValueError: with the field, its value and what it can be.
    """
    _family(config).check(config)


def check_new(config: ml_collections.ConfigDict) -> None:
    """Refuse a checked configuration for a run that begins, though older runs may go on with it.

    Raises:
        ValueError: with the field, its value and the fix.
    """
    _family(config).check_new(config)


def build(config: ml_collections.ConfigDict) -> Generator:
    """Return the generator of a checked configuration, whose ``data.std`` is known."""
    return _family(config).build(config)


def free_fields(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """Return the fields that the family lets change between two starts of one run."""
    return _family(config).free_fields(config)


def doubts(config: ml_collections.ConfigDict) -> list[str]:
    """Return what is known to give bad images in a configuration, each with the fix as typed."""
    family = _family(config)
    return family.doubts(config) if hasattr(family, "doubts") else []


def purpose(config: ml_collections.ConfigDict) -> str | None:
    """Return what weights that draw nothing are for; None of those that draw images.

    It is said when their training ends, with ``{run}`` for their workdir.
    """
    family = _family(config)
    return family.purpose(config) if hasattr(family, "purpose") else None


def first_stage(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict | None:
    """Return the configuration of the stage that has to be trained before; None without one.

    It is of the same family. Its ``Variables`` become the ``extra`` of the state that this
    configuration begins with, and ``config.model`` has fields for where it lies (``first_stage``,
    a workdir or a file of weights) and for its hash (``first_stage_hash``).
    """
    family = _family(config)
    return family.first_stage(config) if hasattr(family, "first_stage") else None


def measure(config: ml_collections.ConfigDict, images: Images) -> dict[str, Any]:
    """Return the fields, by ``section.field``, that the family measures on the training images."""
    family = _family(config)
    return family.measure(config, images) if hasattr(family, "measure") else {}


def _family(config: ml_collections.ConfigDict) -> Any:
    if config.generator not in GENERATORS:
        known = ", ".join(map(repr, GENERATORS))
        raise ValueError(f"--config.generator is {config.generator!r}; it can be: {known}")
    family = GENERATORS[config.generator]
    return importlib.import_module(family) if isinstance(family, str) else family
