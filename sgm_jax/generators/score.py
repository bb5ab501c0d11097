"""What a configuration trains: a network, its SDE, its losses and its score function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sgm_jax import losses, step
from sgm_jax.models.ncsnpp import OPTIONS, NCSNpp
from sgm_jax.samplers.base import Sampler
from sgm_jax.samplers.correctors import CORRECTORS
from sgm_jax.samplers.grids import GRIDS
from sgm_jax.samplers.predictor_corrector import PredictorCorrector
from sgm_jax.samplers.predictors import PREDICTORS
from sgm_jax.samplers.solvers import SOLVERS, NoiseLevelSampler
from sgm_jax.score import (
    NetworkFn,
    chain_score,
    denoiser_score,
    edm_denoiser,
    noise_score,
    velocity_score,
)
from sgm_jax.sde import SDE, SDES, VESDE, Array, ScoreFn

Params = Any

# What is random in a run has a key folded from the seed and one of these numbers.
TRAINING, SAMPLING, INITIALISATION, EVALUATION = range(4)


@dataclasses.dataclass(frozen=True)
class Objective:
    """A network and what its output means.

    Attributes:
        net: the network.
        sde: the forward process under which its score is given.
        train_loss: ``(params, key, batch) -> (loss, aux)`` with dropout.
        eval_loss: the same without.
        score: ``score(params) -> score_fn(x, t)``.
    """

    net: NCSNpp
    sde: SDE
    train_loss: losses.LossFn
    eval_loss: losses.LossFn
    score: Callable[[Params], ScoreFn]

    def init(self, key: Array) -> Params:
        """Return fresh network parameters."""
        size, channels = self.net.image_size, self.net.num_channels
        image, label = jnp.zeros((1, size, size, channels)), jnp.ones(1)
        return self.net.init(key, image, label)["params"]


def build(config: ml_collections.ConfigDict) -> Objective:
    """Return the objective of a checked configuration; ``data.std`` must be known for EDM."""
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

    def dropping(params: Params, key: Array, index: Array) -> NetworkFn:
        return lambda x, labels: net.apply(
            {"params": params}, x, labels, True, index, rngs={"dropout": key}
        )

    def predicting(
        params: Params, key: Array | None = None, index: Array | None = None
    ) -> NetworkFn:
        del key, index
        return lambda x, labels: net.apply({"params": params}, x, labels)

    def score(params: Params) -> ScoreFn:
        return score_of(predicting(params))

    return Objective(net, sde, loss_of(dropping), loss_of(predicting), score)


def sde_from_config(config: ml_collections.ConfigDict) -> SDE:
    """Return the SDE that ``config.training.sde`` names, with its constants in ``config.model``."""
    model, kind = config.model, SDES[config.training.sde]
    if kind is VESDE:
        return VESDE(model.num_scales, sigma_min=model.sigma_min, sigma_max=model.sigma_max)
    return kind(model.num_scales, beta_min=model.beta_min, beta_max=model.beta_max)


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
            low_discrepancy=training.low_discrepancy,
        )

    return score_of, loss_of


def optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Return the optimiser that ``config.optim`` describes."""
    optim = config.optim
    return step.optimizer(
        name=optim.optimizer,
        lr=optim.lr,
        adam_lr=optim.adam_lr,
        beta1=optim.beta1,
        beta2=optim.beta2,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        warmup=optim.warmup,
        grad_clip=optim.grad_clip,
        decay=step.decay(optim.schedule, config.training.n_iters, optim.decay_fraction),
        ema_rates=tuple(config.model.ema_rates),
    )


def initial_state(config: ml_collections.ConfigDict, goal: Objective) -> step.TrainState:
    """Return the state before the first update; weights depend on the seed only."""

    @jax.jit
    def start(key: Array) -> step.TrainState:
        return step.initial_state(goal.init(key), optimizer(config))

    return start(jax.random.fold_in(jax.random.key(config.seed), INITIALISATION))


def sampler(config: ml_collections.ConfigDict, sde: SDE) -> Sampler:
    """Return the sampler that ``config.sampling`` names."""
    sampling = config.sampling
    if sampling.method == "ode":
        # Its solver takes half a second to import, which the other methods do without.
        from sgm_jax.samplers.ode import ProbabilityFlow

        return ProbabilityFlow(
            sde,
            rtol=sampling.ode_rtol,
            atol=sampling.ode_atol,
            noise_removal=sampling.noise_removal,
        )
    if sampling.method != "pc":
        return NoiseLevelSampler(
            sde,
            sampling.num_steps,
            solver=SOLVERS[sampling.method],
            grid=GRIDS[sampling.grid],
            eta=sampling.eta,
            sigma_min=sampling.sigma_min,
            sigma_max=sampling.sigma_max,
            rho=sampling.rho,
        )
    return PredictorCorrector(
        sde,
        config.model.num_scales,
        predictor=PREDICTORS[sampling.predictor],
        corrector=CORRECTORS.get(sampling.corrector),
        corrector_steps=sampling.n_steps_each,
        snr=sampling.snr,
        # The original's last times: below them the scores of VP and sub-VP diverge.
        eps=1e-5 if isinstance(sde, VESDE) else 1e-3,
        noise_removal=sampling.noise_removal,
        probability_flow=sampling.probability_flow,
    )


# From a configuration to a network, or a refusal.

# Options of the original that NCSN++ accepts and never reads, with the one value that is true.
_FIXED = {"name": "ncsnpp", "normalization": "groupnorm", "attention_type": "ddpm", "conv_size": 3}
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def ncsnpp_from_config(config: Any) -> NCSNpp:
    """Build the network that ``config.model``, ``data`` and ``training.dtype`` describe.

    Raises:
        ValueError: if an option is unknown, the sizes do not fit or the channels do not divide into
            groups, naming the fix; nothing is compiled.
    """
    model, data = config.model, config.data
    for field, value in _FIXED.items():
        given = model.get(field, value)
        if (given.lower() if isinstance(given, str) else given) != value:
            raise ValueError(f"model.{field}={given!r} is unknown; known: {value}")
    dtype = config.get("training", {}).get("dtype", "float32")
    if dtype not in DTYPES:
        raise ValueError(f"training.dtype={dtype!r} is unknown; known: {', '.join(DTYPES)}")
    return NCSNpp(
        image_size=data.image_size,
        num_channels=data.num_channels,
        centered=data.centered,
        nf=model.nf,
        ch_mult=tuple(model.ch_mult),
        num_res_blocks=model.num_res_blocks,
        attn_resolutions=tuple(model.attn_resolutions),
        dropout=model.dropout,
        fir=model.fir,
        fir_kernel=tuple(model.fir_kernel),
        resamp_with_conv=model.resamp_with_conv,
        skip_rescale=model.skip_rescale,
        fourier_scale=model.fourier_scale,
        conditional=model.conditional,
        init_scale=model.init_scale,
        scale_by_sigma=model.scale_by_sigma,
        sigma_min=model.sigma_min,
        sigma_max=model.sigma_max,
        num_scales=model.num_scales,
        space_to_depth=model.get("space_to_depth", 1),
        dtype=DTYPES[dtype],
        **{field: getattr(model, field).lower() for field in OPTIONS},
    )
