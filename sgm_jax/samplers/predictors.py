"""Predictors: one step of the reverse-time process (Song et al., arXiv:2011.13456, section 3.3).

A predictor maps ``(reverse, x, t, *, z, num_steps)`` to x ``[B, H, W, C]`` one step nearer to the
data and its mean, which leaves out the noise ``z`` that the step adds.
"""

from collections.abc import Callable

import jax.numpy as jnp

from sgm_jax.sde import SDE, VESDE, VPSDE, Array, ReverseSDE, per_image

Predictor = Callable[..., tuple[Array, Array]]


def euler_maruyama(
    reverse: ReverseSDE, x: Array, t: Array, *, z: Array, num_steps: int
) -> tuple[Array, Array]:
    """Solve the SDE by Euler-Maruyama.

    The step is ``1 / num_steps`` whatever the grid's end, as in the original.
    """
    drift, diffusion = reverse.sde(x, t)
    x_mean = x - drift / num_steps
    return x_mean + per_image(diffusion, x) * num_steps**-0.5 * z, x_mean


def reverse_diffusion(
    reverse: ReverseSDE, x: Array, t: Array, *, z: Array, num_steps: int
) -> tuple[Array, Array]:
    """Reverse the discretised forward process: the step is the SDE's own (appendix E)."""
    del num_steps
    f, g = reverse.discretize(x, t)
    x_mean = x - f
    return x_mean + per_image(g, x) * z, x_mean


def ancestral_sampling(
    reverse: ReverseSDE, x: Array, t: Array, *, z: Array, num_steps: int
) -> tuple[Array, Array]:
    """Sample the Markov chain that DDPM (VP) or SMLD (VE) was trained on (appendix F).

    Raises:
        ValueError: under another SDE or for the ODE; :func:`check_predictor` says so at the door.
    """
    del num_steps
    check_predictor(ancestral_sampling, type(reverse.forward), reverse.probability_flow)
    score = reverse.score_fn(x, t)
    if isinstance(reverse.forward, VPSDE):
        beta = reverse.forward.grid_beta(t)
        x_mean = (x + per_image(beta, x) * score) / per_image(jnp.sqrt(1 - beta), x)
        return x_mean + per_image(jnp.sqrt(beta), x) * z, x_mean
    sigma, below = reverse.forward.grid_sigmas(t)
    step = sigma**2 - below**2
    x_mean = x + per_image(step, x) * score
    return x_mean + per_image(below / sigma * jnp.sqrt(step), x) * z, x_mean


def no_prediction(
    reverse: ReverseSDE, x: Array, t: Array, *, z: Array, num_steps: int
) -> tuple[Array, Array]:
    """Leave x as it is: only a corrector moves it."""
    del reverse, t, z, num_steps
    return x, x


PREDICTORS: dict[str, Predictor] = {
    "euler_maruyama": euler_maruyama,
    "reverse_diffusion": reverse_diffusion,
    "ancestral_sampling": ancestral_sampling,
    "none": no_prediction,
}


def check_predictor(predictor: Predictor, sde: type[SDE], probability_flow: bool) -> None:
    """Refuse a predictor where it is not defined.

    Raises:
        ValueError: for ancestral sampling under sub-VP, or along the ODE.
    """
    if predictor is not ancestral_sampling:
        return
    if not issubclass(sde, VPSDE | VESDE):
        raise ValueError(
            f"ancestral sampling is defined for the VP and VE SDEs, not for {sde.__name__};"
            " take the predictor 'reverse_diffusion'"
        )
    if probability_flow:
        raise ValueError(
            "ancestral sampling adds noise and cannot follow the probability flow;"
            " take the predictor 'reverse_diffusion'"
        )
