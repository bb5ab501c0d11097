"""What changes while a network is trained, and the update that most families make.

Everything that changes lives in a :class:`TrainState`: parameters, their moving averages, the
optimiser's state, and whatever else a family keeps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax
import optax.contrib

from sgm_jax.run import parallel

Array = jax.Array
Params = Any
Metrics = dict[str, Array]
LossFn = Callable[[Params, Array, Any], tuple[Array, Metrics]]


class Variables(NamedTuple):
    """What a trained network is used with: its parameters, and what else its family keeps."""

    params: Params
    extra: Any = ()


@flax.struct.dataclass
class TrainState:
    """State of a run after ``step`` optimiser updates.

    Attributes:
        step: updates made so far.
        params: network parameters.
        ema_params: their exponential moving average, which evaluation and sampling use; ``()``
            where none is kept.
        opt_state: the optimiser's own.
        extra: what else a family keeps: running statistics, the counts of a codebook, a frozen
            first stage.
    """

    step: Array
    params: Params
    ema_params: Params
    opt_state: optax.OptState
    extra: Any = ()

    @property
    def averaged(self) -> Variables:
        """What evaluation and sampling use."""
        params = self.params if self.ema_params == () else self.ema_params
        return Variables(params, self.extra)


def optimizer_from_config(
    config: ml_collections.ConfigDict, *, lr: float | None = None, updates: int | None = None
) -> optax.GradientTransformation:
    """Return the optimiser that ``config.optim`` and the averages of ``config.model`` describe.

    Args:
        config: of the run.
        lr: another rate than ``optim.lr``, as one of several optimisers may have.
        updates: that it makes; ``training.n_iters`` if it makes one in each step.
    """
    optim = config.optim
    return optimizer(
        name=optim.optimizer,
        lr=optim.lr if lr is None else lr,
        adam_lr=optim.adam_lr,
        beta1=optim.beta1,
        beta2=optim.beta2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        warmup=optim.warmup,
        grad_clip=optim.grad_clip,
        decay=decay(
            optim.schedule,
            config.training.n_iters if updates is None else updates,
            optim.decay_fraction,
            optim.decay_start,
        ),
        ema_rates=tuple(config.model.ema_rates),
    )


# Kernels with fewer channels than this in or out are vectors more than matrices: Adam takes them.
_MUON_CHANNELS = 8


def optimizer(
    *,
    name: str = "Adam",
    lr: float,
    adam_lr: float = 1e-3,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    warmup: int,
    grad_clip: float,
    decay: optax.Schedule | None = None,
    ema_rates: tuple[float, ...] = (),
) -> optax.GradientTransformation:
    """Return the original's Adam, or Muon: clip by global norm, L2 in the gradient, linear warm-up.

    Muon (Jordan et al. 2024; arXiv:2502.16982) makes the update of a matrix orthogonal. A
    convolution's kernel ``[height, width, in, out]`` is the matrix ``[height * width * in, out]``.
    All other parameters are moved by Adam with Nesterov's momentum.

    Args:
        name: "Adam" or "Muon".
        lr: learning rate after the warm-up.
        adam_lr: that of the parameters which Muon leaves to Adam.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the root of the second moment.
        weight_decay: times the parameters, added to the clipped gradient (not decoupled).
        warmup: updates over which the rate grows from 0, which the first update has; 0 for none.
        grad_clip: largest global norm; negative for none.
        decay: factor on the rate after so many updates, see :func:`decay`; None keeps it.
        ema_rates: of averages that are kept beside ``TrainState.ema_params``.
    """

    def rate(peak: float) -> optax.Schedule:
        def schedule(count: Array) -> Array:
            risen = jnp.minimum(count / max(warmup, 1), 1.0) if warmup > 0 else 1.0
            return jnp.asarray(peak * risen) * (1.0 if decay is None else decay(count))

        return schedule

    if name == "Adam":
        core = [
            optax.scale_by_adam(b1=beta1, b2=beta2, eps=eps),
            optax.scale_by_learning_rate(rate(lr)),
        ]
    else:
        core = [
            optax.contrib.muon(
                rate(lr),
                adam_learning_rate=rate(adam_lr),
                adam_b1=beta1,
                adam_b2=beta2,
                eps=eps,
                muon_weight_dimension_numbers=_matrices,
            )
        ]
    return optax.chain(
        optax.clip_by_global_norm(grad_clip) if grad_clip >= 0 else optax.identity(),
        optax.add_decayed_weights(weight_decay, mask=_learnt) if weight_decay else optax.identity(),
        *core,
        *([keep_averages(ema_rates)] if ema_rates else []),
    )


def decay(schedule: str, steps: int, fraction: float, start: int) -> optax.Schedule | None:
    """Return the factor on the learning rate by the number of updates made.

    Args:
        schedule: "constant", "cosine" (over all steps), "linear" over the last of them, or
            "inverse_sqrt": sqrt(start / updates) after the first ``start`` (arXiv:2312.02696,
            eq. 67), which needs no end to be known.
        steps: updates after which the rate is 0, for "cosine" and "linear".
        fraction: the part of them over which it falls, for "linear".
        start: updates with the full rate, for "inverse_sqrt".
    """
    if schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, steps)
    if schedule == "linear":
        falling = max(round(fraction * steps), 1)
        return optax.linear_schedule(1.0, 0.0, falling, transition_begin=steps - falling)
    if schedule == "inverse_sqrt":
        return lambda count: jnp.sqrt(start / jnp.maximum(count, start))
    return None


def _matrices(params: Params) -> Params:
    """Say which parameters are matrices to Muon, and which of their axes are summed over."""

    def axes(leaf: Array) -> optax.contrib.MuonDimensionNumbers | None:
        if leaf.ndim < 2 or min(leaf.shape[-2:]) < _MUON_CHANNELS:
            return None
        inputs = tuple(range(leaf.ndim - 1))
        return optax.contrib.MuonDimensionNumbers(reduction_axis=inputs, output_axis=leaf.ndim - 1)

    return jax.tree.map(axes, params)


def _learnt(params: Params) -> Params:
    """Mark what is learnt: all but the random frequencies of the Fourier embedding, ``W``."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not path or getattr(path[-1], "key", None) != "W", params
    )


def ema_decay(updates: Array, ema_rate: float) -> Array:
    """Return the decay of update number ``updates`` (the first is 1): slow averages start fast."""
    return jnp.minimum(ema_rate, (1.0 + updates) / (10.0 + updates))


def ema_update(average: Params, params: Params, updates: Array, ema_rate: float) -> Params:
    """Return the moving average after update number ``updates``."""
    decay = ema_decay(updates, ema_rate)
    return jax.tree.map(lambda a, p: a - (1.0 - decay) * (a - p), average, params)


class Averages(NamedTuple):
    """Moving averages of the parameters, one for each rate, after ``count`` updates."""

    count: Array
    averages: tuple[Params, ...]


def keep_averages(ema_rates: tuple[float, ...]) -> optax.GradientTransformation:
    """Return a last link of a chain that averages the parameters and leaves the updates alone.

    As part of the optimiser's state, averages are saved and restored with it, and a run that keeps
    none has the state that it always had.
    """

    def init(params: Params) -> Averages:
        # Copies, for each is updated in place of its own buffer.
        copies = tuple(jax.tree.map(jnp.copy, params) for _ in ema_rates)
        return Averages(jnp.zeros((), jnp.int32), copies)

    def update(updates: Params, state: Averages, params: Params) -> tuple[Params, Averages]:
        moved, count = optax.apply_updates(params, updates), state.count + 1
        averages = tuple(
            ema_update(average, moved, count.astype(jnp.float32), rate)
            for average, rate in zip(state.averages, ema_rates, strict=True)
        )
        return updates, Averages(count, averages)

    return optax.GradientTransformation(init, update)


def initial_state(params: Params, transform: optax.GradientTransformation) -> TrainState:
    """Return the state before the first update; the average starts at the parameters."""
    copy = jax.tree.map(jnp.copy, params)
    return TrainState(jnp.zeros((), jnp.int32), params, copy, transform.init(params))


def improved(
    state: TrainState, name: str, transform: optax.GradientTransformation, grads: Params
) -> TrainState:
    """Return a state with one part of its parameters moved by an optimiser of its own.

    For families whose ``params`` and ``opt_state`` are dicts of parts that are moved in turn.
    """
    updates, opt_state = transform.update(grads, state.opt_state[name], state.params[name])
    params = optax.apply_updates(state.params[name], updates)
    return state.replace(
        params=state.params | {name: params}, opt_state=state.opt_state | {name: opt_state}
    )


def with_variables(state: TrainState, variables: Variables) -> TrainState:
    """Return a first state with other variables in place of the random ones, averages too.

    Parts of the network that these variables do not have stay random.
    """
    begun = variables.params
    if isinstance(begun, dict):
        begun = state.params | begun

    def replaced(state: Averages) -> Averages:
        averages = tuple(jax.tree.map(jnp.array, begun) for _ in state.averages)
        return state._replace(averages=averages)

    def is_averages(node: Any) -> bool:
        return isinstance(node, Averages)

    opt_state = jax.tree.map(
        lambda node: replaced(node) if is_averages(node) else node,
        state.opt_state,
        is_leaf=is_averages,
    )
    params, average = (jax.tree.map(jnp.array, begun) for _ in range(2))
    return state.replace(
        params=params,
        ema_params=state.ema_params if state.ema_params == () else average,
        opt_state=opt_state,
        extra=variables.extra,
    )


def check_ema_rate(config: ml_collections.ConfigDict, ema_rate: float | None) -> float:
    """Return the rate of the average to take, ``model.ema_rate`` if not given.

    Raises:
        ValueError: with the rates of the averages that the run keeps.
    """
    kept = (config.model.ema_rate, *config.model.ema_rates)
    if ema_rate is not None and ema_rate not in kept:
        raise ValueError(
            f"--ema is {ema_rate}; this run keeps the averages: {', '.join(map(str, kept))} "
            "(--config.model.ema_rate and ema_rates)"
        )
    return config.model.ema_rate if ema_rate is None else ema_rate


def averaged_variables(
    state: TrainState, config: ml_collections.ConfigDict, ema_rate: float | None = None
) -> Variables:
    """Return what a run is used with: the average of ``model.ema_rate`` if not given.

    Raises:
        ValueError: if the run keeps no such average.
    """
    rate = check_ema_rate(config, ema_rate)
    if rate == config.model.ema_rate:
        return state.averaged
    averages = optax.tree_utils.tree_get(state.opt_state, "averages")
    return Variables(averages[tuple(config.model.ema_rates).index(rate)], state.extra)


def gradient_step(
    loss_fn: LossFn, transform: optax.GradientTransformation, ema_rate: float
) -> Callable[[TrainState, Array, Any], tuple[TrainState, Metrics]]:
    """Return the update of a network with one loss, optimiser and average, for one device's share.

    It is the ``train_step`` of :class:`sgm_jax.generator.Trainable`. The step's key is folded from
    the run's key and the step number, so a resumed run draws what the uninterrupted one would have
    drawn.
    """

    def step(state: TrainState, key: Array, batch: Any) -> tuple[TrainState, Metrics]:
        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, aux), grads = gradient(state.params, jax.random.fold_in(key, state.step), batch)
        loss, aux, grads = parallel.mean((loss, aux, grads))
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        count = state.step + 1
        ema_params = ema_update(state.ema_params, params, count.astype(jnp.float32), ema_rate)
        metrics = {
            "loss": loss,
            "gradient_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
            **aux,
        }
        return state.replace(
            step=count, params=params, ema_params=ema_params, opt_state=opt_state
        ), metrics

    return step
