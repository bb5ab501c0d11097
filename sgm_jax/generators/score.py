"""The score family: a network that learns the score of noised images (Song et al., 2011.13456).

The network predicts noise, velocity or, with EDM's preconditioning, the denoised image;
:mod:`sgm_jax.score` turns each into a score function, and samplers see only that.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax import losses
from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale
from sgm_jax.generator import Batch, Given, LogProb
from sgm_jax.generators.score_config import (
    check,
    check_new,
    doubts,
    free_fields,
    ncsnpp_from_config,
    sampler_from_config,
)
from sgm_jax.guidance import (
    amplified,
    autoguided,
    classifier_free,
    classifier_guided,
    known_pixels,
    observable_guidance,
    tiled,
)
from sgm_jax.models.condition import Condition, drop, of_images
from sgm_jax.models.ncsnpp import NCSNpp
from sgm_jax.samplers.base import Sampler
from sgm_jax.samplers.repeated import repeated
from sgm_jax.score import (
    NetworkFn,
    chain_score,
    denoiser_score,
    edm_denoiser,
    noise_score,
    velocity_score,
)
from sgm_jax.sde import SDE, Array, ScoreFn, sde_from_config
from sgm_jax.step import (
    LossFn,
    Params,
    TrainState,
    Variables,
    gradient_step,
    initial_state,
    optimizer_from_config,
)

# Of the key of a step's dropout, that of which conditions are forgotten.
_FORGOTTEN = 2**31 - 1

__all__ = ["ScoreDrawing", "ScoreGenerator", "build", "check", "check_new", "doubts", "free_fields"]


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreGenerator:
    """A score network, its forward process and its sampler: a :class:`sgm_jax.generator.Generator`.

    Attributes:
        config: what it was built from.
        net: the network.
        sde: the forward process under which its score is given.
        train_loss: ``(params, key, batch) -> (loss, details)`` with dropout, also of conditions.
        test_loss: the same without.
        score: ``score(params) -> score_fn(x, t)``; ``score(params, condition)`` of images that
            show it.
        optimizer: moves the parameters.
    """

    config: ml_collections.ConfigDict
    net: NCSNpp
    sde: SDE
    train_loss: LossFn
    test_loss: LossFn
    score: Callable[..., ScoreFn]
    optimizer: optax.GradientTransformation

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return (self.net.image_size, self.net.image_size, self.net.num_channels)

    def initial_state(self, key: Array) -> TrainState:
        """Return the state of a fresh network."""
        params = self.net.init(key, jnp.zeros((1, *self.image_shape)), jnp.ones(1))["params"]
        return initial_state(params, self.optimizer)

    def train_step(
        self, state: TrainState, key: Array, batch: Batch
    ) -> tuple[TrainState, dict[str, Array]]:
        """Make one update."""
        update = gradient_step(self.train_loss, self.optimizer, self.config.model.ema_rate)
        return update(state, key, batch)

    def eval_loss(
        self, variables: Variables, key: Array, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        """Return the loss without dropout."""
        return self.test_loss(variables.params, key, batch)

    def drawing(self, conditions: Conditions) -> "ScoreDrawing":
        """Return how the sampler of ``config.sampling`` draws under conditions.

        Raises:
            ValueError: for what only a conditional network could fulfil.
        """
        missing = [n for n in conditions.condition or () if n not in self.net.condition]
        if missing and conditions.leading is None:
            sees = ", ".join(self.net.condition)
            trained = f"with the conditions {sees}" if sees else "without conditions"
            raise ValueError(
                f"this network was trained {trained}, and has no {', '.join(missing)}: train one "
                "with --config.model.condition and --config.data.condition, or take weights of one"
            )
        sampler = sampler_from_config(self.config, self.sde)
        if conditions.repeats > 1:
            sampler = repeated(sampler, repeats=conditions.repeats)
        return ScoreDrawing(self, sampler, conditions)

    def log_prob(self, variables: Variables, keys: Array, images: Array, given: Given) -> LogProb:
        """Return a bound through the probability flow; see :mod:`sgm_jax.samplers.density`."""
        # Its solver takes half a second to import.
        from sgm_jax.samplers.density import log_probability

        evaluate, sampling = self.config.eval, self.config.sampling
        result = log_probability(
            self.sde,
            self.score(variables.params, *_known(given)),
            images,
            keys=keys,
            scale=PixelScale.from_config(self.config.data),
            num_probes=evaluate.num_probes,
            probe=evaluate.probe,
            rtol=sampling.ode_rtol,
            atol=sampling.ode_atol,
        )
        return LogProb(result.nats, result.stderr, result.nfe, kind="bound")


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreDrawing:
    """A sampler on the score of images under conditions: a :class:`sgm_jax.generator.Drawing`.

    Where a classifier or a weaker network leads, ``extra`` of the variables has their parameters,
    by the names ``classifier`` and ``weaker``.
    """

    generator: ScoreGenerator
    sampler: Sampler
    conditions: Conditions

    @property
    def num_steps(self) -> int:
        """Steps of the sampler's grid."""
        return self.sampler.num_steps

    @property
    def nfe(self) -> int | None:
        """Network evaluations an image takes; each tile of a canvas takes its own.

        Guidance takes two of them where the sampler takes one, and so does a weaker network.
        """
        asked = self.conditions.condition is not None and self.conditions.leading is None
        guided = asked and self.guidance["weight"] not in (0, 1)
        networks = (2 if guided else 1) * (1 if self.conditions.weaker is None else 2)
        return self.sampler.nfe and self.sampler.nfe * self.conditions.tiles * networks

    @property
    def guidance(self) -> dict[str, Any]:
        """How strongly images are led to their condition, and at which noise levels."""
        sampling = self.generator.config.sampling
        interval = tuple(sampling.guidance_interval) or None
        return {"weight": sampling.guidance, "interval": interval}

    @property
    def one_step_a_call(self) -> bool:
        """Tell whether a network is differentiated, which loops on CPU make far slower."""
        return self.conditions.observable is not None or self.conditions.leading is not None

    @property
    def at_once(self) -> int | None:
        """Return how many images have to be solved together, where steps are adaptive."""
        adaptive = self.sampler.nfe is None
        return self.generator.config.sampling.ode_batch if adaptive else None

    def start(self, keys: Array, shape: tuple[int, ...], given: Given) -> Any:
        """Return the sampler's first state."""
        del given
        return self.sampler.start(keys, shape)

    def step(self, variables: Variables, i: Array, state: Any, keys: Array, given: Given) -> Any:
        """Return the sampler's state after step ``i``."""
        return self.sampler.step(i, state, keys, self.score(variables, given))

    def finish(self, variables: Variables, state: Any, given: Given) -> Array:
        """Return the images, the known pixels exactly."""
        del variables
        images = self.sampler.finish(state)
        if self.conditions.known is None:
            return images
        return jnp.where(given["mask"], given["known"], images)

    def score(self, variables: Variables, given: Given) -> ScoreFn:
        """Return the score of images under the conditions from the network's."""
        conditions, sde = self.conditions, self.generator.sde
        score_fn = self._network_score(variables, given)
        sampling = self.generator.config.sampling
        if sampling.get("gain", 1.0) != 1:
            interval = tuple(sampling.gain_interval)
            score_fn = amplified(score_fn, sde, gain=sampling.gain, interval=interval)
        if conditions.tile is not None:
            score_fn = tiled(score_fn, tile=conditions.tile, stride=conditions.stride)
        if conditions.known is not None:
            score_fn = known_pixels(score_fn, sde, known=given["known"], mask=given["mask"])
        if conditions.observable is not None:
            score_fn = observable_guidance(
                score_fn,
                sde,
                conditions.measure,
                target=conditions.target,
                spread=conditions.spread,
            )
        return score_fn

    def _network_score(self, variables: Variables, given: Given) -> ScoreFn:
        """Return the score of images of the network's size; each tile of a canvas shows all."""
        leading = self.conditions.leading
        if "condition" not in given:
            return self._both(variables)
        tiles = self.conditions.tiles
        rows = jax.tree.map(lambda row: jnp.repeat(row, tiles, axis=0), given["condition"])
        if leading is not None:
            log_posterior = functools.partial(leading.log_posterior, variables.extra["classifier"])
            return classifier_guided(
                self._both(variables), log_posterior, condition=rows, weight=leading.weight
            )

        def conditional(x: Array, t: Array, condition: Condition) -> Array:
            return self._both(variables, condition)(x, t)

        return classifier_free(conditional, self.generator.sde, condition=rows, **self.guidance)

    def _both(self, variables: Variables, *condition: Condition) -> ScoreFn:
        """Return the network's score, led away from a weaker one if there is one."""
        weaker = self.conditions.weaker
        score_fn = self.generator.score(variables.params, *condition)
        if weaker is None:
            return score_fn
        weaker_fn = weaker.score(variables.extra["weaker"], *condition)
        return autoguided(score_fn, weaker_fn, weight=weaker.weight)


def _known(given: Given) -> list[Condition]:
    """Return what is known of images as the last argument of a score, if it is."""
    return [given["condition"]] if "condition" in given else []


def build(config: ml_collections.ConfigDict) -> ScoreGenerator:
    """Return the generator of a checked configuration; ``data.std`` must be known for EDM."""
    sde = sde_from_config(config)
    net = ncsnpp_from_config(config)
    if config.training.objective == "edm":
        # The preconditioned input is centred already, whatever range the images have.
        net = net.clone(centered=True)
        score_of, loss_of = _edm(config, sde)
    elif config.training.continuous:
        score_of, loss_of = _noise_prediction(config, sde)
    else:
        score_of, loss_of = _chain(config, sde)

    def dropping(
        params: Params, key: Array, index: Array, condition: Condition | None = None
    ) -> NetworkFn:
        if condition is not None:
            forget = jax.random.fold_in(key, _FORGOTTEN)
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(forget, index)
            condition = drop(
                keys,
                seen(condition),
                whole=config.training.drop_condition,
                field=config.training.drop_field,
            )
        return lambda x, labels: net.apply(
            {"params": params}, x, labels, True, index, condition, rngs={"dropout": key}
        )

    def predicting(
        params: Params,
        key: Array | None = None,
        index: Array | None = None,
        condition: Condition | None = None,
    ) -> NetworkFn:
        del key, index
        known = {} if condition is None else {"condition": seen(condition)}
        return lambda x, labels: net.apply({"params": params}, x, labels, **known)

    def seen(condition: Condition) -> Condition:
        """Return what the network looks at, with nothing in place of what is not there."""
        count = len(next(iter(condition.values())))
        return of_images(net.condition, count) | {
            name: values for name, values in condition.items() if name in net.condition
        }

    def score(params: Params, condition: Condition | None = None) -> ScoreFn:
        return score_of(predicting(params, condition=condition))

    return ScoreGenerator(
        config,
        net,
        sde,
        loss_of(dropping),
        loss_of(predicting),
        score,
        optimizer_from_config(config),
    )


def _noise_prediction(config: ml_collections.ConfigDict, sde: SDE) -> tuple[Callable, Callable]:
    """Return how a network of noise or velocity becomes a score function, and a loss."""
    conversion = velocity_score if config.training.objective == "velocity" else noise_score

    def score_of(network: NetworkFn) -> ScoreFn:
        return conversion(network, sde)

    def loss_of(network: losses.NetworkApply) -> losses.LossFn:
        return losses.noise_prediction(
            network,
            score_of,
            sde,
            reduce_mean=config.training.reduce_mean,
            likelihood_weighting=config.training.likelihood_weighting,
            weighting=config.training.weighting,
            time_sampling=config.training.time_sampling,
            low_discrepancy=config.training.low_discrepancy,
        )

    return score_of, loss_of


def _chain(config: ml_collections.ConfigDict, sde: SDE) -> tuple[Callable, Callable]:
    """Return how DDPM or SMLD turns a network into a score function, and into a loss."""

    def score_of(network: NetworkFn) -> ScoreFn:
        return chain_score(network, sde)

    def loss_of(network: losses.NetworkApply) -> losses.LossFn:
        return losses.chain_prediction(network, sde, reduce_mean=config.training.reduce_mean)

    return score_of, loss_of


def _edm(config: ml_collections.ConfigDict, sde: SDE) -> tuple[Callable, Callable]:
    """Return how EDM turns a network into a score function, and into a loss."""
    std = config.data.std
    denoiser_of = functools.partial(
        edm_denoiser, sigma_data=std, fourier=config.model.embedding_type == "fourier"
    )

    def score_of(network: NetworkFn) -> ScoreFn:
        return denoiser_score(denoiser_of(network), sde)

    def loss_of(network: losses.NetworkApply) -> losses.LossFn:
        training = config.training
        return losses.edm(
            network,
            denoiser_of,
            sigma_data=std,
            p_mean=training.p_mean,
            p_std=training.p_std,
            balanced=training.weighting == "balanced",
            low_discrepancy=training.low_discrepancy,
        )

    return score_of, loss_of
