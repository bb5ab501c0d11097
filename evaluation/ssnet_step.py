"""One update of SSNet: state, optimiser, loss and augmentation in a pure function."""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from evaluation.ssnet import Array, SSNet, Variables
from evaluation.ssnet_data import augment
from evaluation.ssnet_metrics import segmentation_loss
from sgm_jax import parallel

Batch = dict[str, Array]


@flax.struct.dataclass
class SSNetState:
    """State of a run after ``step`` updates."""

    step: Array
    params: Variables
    batch_stats: Variables
    opt_state: optax.OptState

    @property
    def variables(self) -> Variables:
        """Parameters and running statistics, as the network takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def network(config: ml_collections.ConfigDict, normalisation: str) -> SSNet:
    """Return the network of a configuration; batch statistics are those of all devices."""
    shared = parallel.AXIS if normalisation == "batch_statistics" else None
    model = config.model
    return SSNet(
        normalisation, filters=model.filters, num_strides=model.num_strides, axis_name=shared
    )


def optimizer(config: ml_collections.ConfigDict, num_steps: int) -> optax.GradientTransformation:
    """Return Adam with the decay in the gradient, on a rate that rises and falls once."""
    warmup = round(config.optim.warmup_fraction * num_steps)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.optim.lr, warmup, max(num_steps, 1))
    return optax.chain(optax.add_decayed_weights(config.optim.weight_decay), optax.adam(rate))


def initial_state(
    config: ml_collections.ConfigDict, transform: optax.GradientTransformation
) -> SSNetState:
    """Return the state before the first update."""
    side = config.data.image_size
    image = jnp.zeros((1, side, side, 1))
    init = jax.jit(network(config, "batch_statistics").init)
    variables = init(jax.random.key(config.seed), image)
    params, batch_stats = variables["params"], variables["batch_stats"]
    return SSNetState(jnp.zeros((), jnp.int32), params, batch_stats, transform.init(params))


def loss_function(
    config: ml_collections.ConfigDict, normalisation: str = "batch_statistics"
) -> Callable:
    """Return ``loss_fn(params, batch_stats, batch) -> (loss, new batch_stats)``.

    With running statistics these are constants, and come back as they are.
    """
    net = network(config, normalisation)

    def loss_fn(params: Variables, batch_stats: Variables, batch: Batch):
        variables = {"params": params, "batch_stats": batch_stats}
        output, kept = net.apply(variables, batch["image"], mutable=["batch_stats"])
        losses = segmentation_loss(
            output.logits,
            batch["image"],
            batch["label"],
            empty_pixels=config.training.empty_pixels,
            axis_name=parallel.AXIS,
        )
        return losses.mean(), kept["batch_stats"]

    return loss_fn


def train_step(
    config: ml_collections.ConfigDict,
    transform: optax.GradientTransformation,
    normalisation: str = "batch_statistics",
) -> Callable[[SSNetState, Array, Batch], tuple[SSNetState, Batch]]:
    """Return ``step(state, key, batch) -> (state, metrics)`` for one device's share."""
    gradient = jax.value_and_grad(loss_function(config, normalisation), has_aux=True)

    def step(state: SSNetState, key: Array, batch: Batch) -> tuple[SSNetState, Batch]:
        key = jax.random.fold_in(key, state.step)

        def augmented(index: Array, image: Array, label: Array) -> tuple[Array, Array]:
            own = jax.random.fold_in(key, index)
            return augment(own, image, label, brightness=config.data.brightness)

        image, label = jax.vmap(augmented)(batch["index"], batch["image"], batch["label"])
        (loss, batch_stats), grads = gradient(
            state.params, state.batch_stats, {"image": image, "label": label}
        )
        loss, grads = parallel.mean((loss, grads))
        if normalisation == "running_statistics":
            batch_stats = state.batch_stats  # the mean of equal numbers may be rounded
        else:
            batch_stats = parallel.mean(batch_stats)
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(grads)}
        return SSNetState(state.step + 1, params, batch_stats, opt_state), metrics

    return step
