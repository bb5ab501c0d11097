"""The probability-flow ODE with adaptive steps (Song et al., arXiv:2011.13456, eq. 13).

It joins every image to one latent, in both directions and without any randomness. Steps are
Dormand and Prince's of fifth order, as in the original, which solves on the host for a whole batch.
Here the device solves, and every image has its own steps, so that it does not depend on its
neighbours. All images are evaluated together until the slowest one has arrived.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from sgm_jax.samplers.base import START, Sampler, Samples, State, StepNoise, step_noise
from sgm_jax.score import score_denoiser
from sgm_jax.sde import SDE, Array, ScoreFn

Tree = Any
# No image that a network was trained on has needed a tenth of this.
MAX_STEPS = 10_000
# The longest step, as a share of the whole way. Where noise hides the image nothing moves, errors
# are estimated as zero, and steps grow tenfold: without a limit 2 to 4 of 100 images jumped over
# what comes then, with errors of a hundred times the tolerance.
_LONGEST = 0.1


def flow(
    sde: SDE,
    score_fn: ScoreFn,
    x: Array,
    *,
    first: float,
    last: float,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> tuple[Array, Array]:
    """Return where the ODE takes images ``[B, H, W, C]``, and each one's evaluations ``[B]``.

    Args:
        sde: the forward process.
        score_fn: its score.
        x: in model space, at the first time: latents at 1, or images near 0.
        first: time to start from, above 0.
        last: time to arrive at, before or after.
        rtol: tolerance of a step, relative to the image.
        atol: the same, in units of model space.
    """
    reverse = sde.reverse(score_fn, probability_flow=True)

    def field(x: Array, t: Array) -> Array:
        return reverse.sde(x, t)[0]

    return solve(field, x, first=first, last=last, rtol=rtol, atol=atol)


def solve(
    field: Callable[[Tree, Array], Tree],
    y: Tree,
    *,
    first: float,
    last: float,
    rtol: float,
    atol: float,
) -> tuple[Tree, Array]:
    """Solve ``dy / dt = field(y, t)``, each image with its own steps.

    Args:
        field: of a tree of arrays ``[B, ...]`` and times ``[B]``, row by row.
        y: the tree at the first time.
        first: time to start from, above 0.
        last: time to arrive at, before or after.
        rtol: relative tolerance of a step, of the root mean square over an image's entries.
        atol: absolute tolerance.

    Returns:
        The tree at the last time, NaN where :data:`MAX_STEPS` were not enough, and the number of
        evaluations of each image ``[B]``.
    """

    rate = _rate_of_one(field, y)
    # Towards the data nothing is steep at first; from the data, the score changes on a scale of t.
    start = max(last - first, -0.01) if last < first else min(last - first, first)

    def path(y: Tree) -> tuple[Tree, Array]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: rate(y, t)),
            diffrax.Dopri5(),
            first,
            last,
            start,
            y,
            stepsize_controller=diffrax.PIDController(
                rtol=rtol, atol=atol, dtmax=_LONGEST * abs(last - first)
            ),
            adjoint=diffrax.ForwardMode(),
            max_steps=MAX_STEPS,
            throw=False,
        )
        arrived = solution.result == diffrax.RESULTS.successful
        end = jax.tree.map(lambda leaf: jnp.where(arrived, leaf[0], jnp.nan), solution.ys)
        # Six stages a step: the seventh is the first of the next one.
        return end, 6 * solution.stats["num_steps"] + 1

    return jax.vmap(path)(y)


def _rate_of_one(field: Callable[[Tree, Array], Tree], like: Tree) -> Callable[[Tree, Array], Tree]:
    """Return the field of one image, which under ``jax.vmap`` is ``field`` of all images.

    The solver is written for one image, but the field must get all images at once: it may hold
    something for each of them, such as known pixels.
    """
    size = jax.tree.leaves(like)[0].shape[0]
    # The arrays in the field become arguments: a custom rule may not close over traced ones.
    converted = equinox.filter_closure_convert(field, like, jnp.zeros(size))
    held, static = equinox.partition(converted, equinox.is_array)

    @custom_vmap
    def one(held: Tree, y: Tree, t: Array) -> Tree:
        rate = equinox.combine(held, static)(jax.tree.map(repeat, y), repeat(t))
        return jax.tree.map(lambda leaf: leaf[0], rate)

    @one.def_vmap
    def every(_: int, batched: Any, held: Tree, y: Tree, t: Array) -> tuple[Tree, Any]:
        of_y, of_t = batched[1:]
        y = jax.tree.map(lambda leaf, has: leaf if has else repeat(leaf), y, of_y)
        rate = equinox.combine(held, static)(y, t if of_t else repeat(t))
        return rate, jax.tree.map(lambda _: True, rate)

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf[None], (size, *leaf.shape))

    return functools.partial(one, held)


@dataclasses.dataclass(frozen=True)
class ProbabilityFlow(Sampler):
    """The ODE from noise to data, as one step of a sampler.

    Attributes:
        num_steps: 1; the solver chooses its own within.
        eps: the last time.
        rtol: tolerance of a solver's step, relative to the image.
        atol: the same, in units of model space.
        noise_removal: return the denoised image of the last time.
        noise: draws the latent; tests put their own here.
    """

    num_steps: int = 1
    eps: float = 1e-3
    rtol: float = 1e-5
    atol: float = 1e-5
    noise_removal: bool = True
    noise: StepNoise = step_noise

    @property
    def nfe(self) -> None:
        """Not known before; :meth:`__call__` says how many each image took."""
        return None

    def start(self, keys: Array, shape: tuple[int, ...]) -> State:
        """Return latents at time 1, and no evaluations."""
        x = self.sde.prior_std * self.noise(keys, START, shape)
        return x, jnp.zeros(shape[:1], jnp.int32)

    def step(
        self, i: Array, state: State, keys: Array, score_fn: ScoreFn, *, fresh: Array | bool = False
    ) -> State:
        """Return the images, and the evaluations each of them took."""
        del i, keys, fresh
        x, nfe = state
        options = {"first": 1.0, "last": self.eps, "rtol": self.rtol, "atol": self.atol}
        x, more = flow(self.sde, score_fn, x, **options)
        nfe = nfe + more
        if not self.noise_removal:
            return x, nfe
        t = jnp.full(x.shape[:1], self.eps)
        scale = self.sde.mean_coeff(t).reshape(-1, 1, 1, 1)
        return score_denoiser(score_fn, self.sde)(x / scale, self.sde.noise_level(t)), nfe + 1

    def marginal(self, i: Array) -> tuple[Array, Array]:
        """Return those of the noise at time 1, the only state that there is."""
        del i
        return self.sde.mean_coeff(jnp.ones(())), self.sde.std(jnp.ones(()))

    def finish(self, state: State) -> Array:
        """Return the images."""
        return state[0]

    def __call__(self, keys: Array, score_fn: ScoreFn, shape: tuple[int, ...]) -> Samples:
        """Draw ``shape = [B, H, W, C]`` images; ``nfe`` is that of each, ``[B]``."""
        images, nfe = self.step(0, self.start(keys, shape), keys, score_fn)
        return Samples(images, nfe)
