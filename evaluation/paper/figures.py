"""Figures that only a run and its network can give: diffusion, losses, SSNet's pixels."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from evaluation.figures.figure import Drawn
from evaluation.images.sets import ImageSet
from evaluation.ssnet.network import SHOWER, TRACK
from evaluation.ssnet.scores import batch_size, blocks, lit, score_function
from evaluation.ssnet.weights import Weights
from sgm_jax.conditions import Conditions
from sgm_jax.data import PixelScale, from_array
from sgm_jax.drawer import device_functions
from sgm_jax.trained import Trained

_COLUMNS = 8  # noise levels, or images
_COLOURS = {"track": (TRACK, "#d9602b"), "shower": (SHOWER, "#1f6fb4")}


def draw_diffusion(trained: Trained, real: np.ndarray, *, seed: int) -> Drawn:
    """Draw real images ``[n, H, W]`` as noise is added, and n drawn ones as it is taken away.

    Columns are states of the sampler, noise at the left. Images and noise are scaled to a common
    variance and clipped to the range of network space; then the charge transform is undone. Of a
    generator whose drawing has no noise levels only the second half is drawn.
    """
    scale = PixelScale.from_config(trained.config.data)
    drawing, states = _states(trained, len(real))
    sampler = getattr(drawing, "sampler", None)
    steps = list(states)
    signal, noise = np.ones(len(steps)), np.zeros(len(steps))
    if sampler is not None:
        levels = [sampler.marginal(jnp.int32(i)) for i in steps[:-1]]
        signal[:-1], noise[:-1] = np.array(levels, np.float64).T
    size = np.hypot(signal, noise)
    rows = {}
    if sampler is not None:
        clean = np.broadcast_to(real[..., None], states[steps[0]].shape)
        clean = np.asarray(scale.to_model(clean))
        added = np.random.default_rng([seed, 6]).standard_normal(clean.shape)
        rows["forward"] = [a * clean + b * added for a, b in zip(signal, noise, strict=True)]
    rows["reverse"] = list(states.values())
    low = -1.0 if scale.centered else 0.0
    figure = Figure(figsize=(1.35 * len(steps), 1.5 * len(real) * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows) * len(real), len(steps), squeeze=False)
    for place, (direction, images) in enumerate(rows.items()):
        for column, image in enumerate(images):
            grey = np.clip(image / size[column], low, 1.0).astype(np.float32)
            grey = scale.from_model(grey).mean(axis=-1)
            for row, one in enumerate(grey):
                axes = panels[place * len(real) + row, column]
                axes.imshow(np.sqrt(one / max(one.max(), 1.0)), cmap="Greys", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
        for axes in panels[place * len(real) : (place + 1) * len(real), 0]:
            axes.set_ylabel({"forward": "← noise added", "reverse": "noise removed →"}[direction])
    for axes, step, a, b in zip(panels[0], steps, signal, noise, strict=True):
        level = "" if sampler is None else f"\nnoise / signal {b / a:.2g}"
        axes.set_title(f"step {step} of {steps[-1]}{level}", fontsize=8)
    return figure, {"steps": steps, "signal": signal.tolist(), "noise": noise.tolist()}


def _states(trained: Trained, count: int) -> tuple:
    """Return a drawing, and its images ``[count, H, W, C]`` in network space after some steps."""
    generator, variables = trained.generator, trained.load()
    conditions = Conditions(generator.image_shape[:2])
    drawing = generator.drawing(conditions)
    functions = device_functions(drawing, generator.image_shape, seed=trained.config.seed)
    start, advance, finish = map(jax.jit, functions)
    index = jnp.arange(count, dtype=jnp.int32)
    given = conditions.given(np.arange(count))
    state = start(index, given)
    states = {0: np.asarray(finish(variables, state, given))}
    shown = np.unique(np.linspace(0, drawing.num_steps, _COLUMNS).round().astype(int)).tolist()
    for first, stop in itertools.pairwise(shown):
        for i in range(first, stop):
            state = advance(variables, state, index, given, jnp.int32(i), jnp.int32(i + 1))
        states[stop] = np.asarray(finish(variables, state, given))
    return drawing, states


def draw_losses(run: Path) -> Drawn:
    """Draw the losses that a run has written to its metrics.jsonl, against the step.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no loss.
    """
    lines = (Path(run) / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line.endswith("}")]  # the last may be unfinished
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes, numbers = figure.subplots(), {}
    styles = {"loss": ("training images", "-"), "eval_loss": ("test images", "o-")}
    for name, (label, style) in styles.items():
        # A run that was continued may have written a step twice: the last one counts.
        points = sorted({row["step"]: row[name] for row in rows if name in row}.items())
        if points:
            axes.plot(*zip(*points, strict=True), style, ms=3, lw=1, label=label)
            numbers[name] = points
    if not numbers:
        raise ValueError(f"{run}/metrics.jsonl holds no loss")
    axes.set(xlabel="training step", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    return figure, numbers


def draw_pixel_labels(sets: list[ImageSet], weights: Weights) -> Drawn:
    """Draw images of labelled sets, tracks first, and below each SSNet's classes of its pixels."""
    score = score_function(weights.net, weights.variables)
    figure = Figure(figsize=(1.35 * _COLUMNS, 2.9 * len(sets) + 0.3), layout="constrained")
    panels = figure.subplots(2 * len(sets), _COLUMNS)
    numbers = {}
    for place, images in enumerate(sets):
        tracks, showers = (np.flatnonzero(images.is_track == kind) for kind in (True, False))
        tracks = tracks[: max(_COLUMNS // 2, _COLUMNS - len(showers))]
        chosen = np.concatenate([tracks, showers[: _COLUMNS - len(tracks)]])
        stack = images.images[chosen][..., None]
        opened = from_array(stack, num_channels=1, image_size=None, source=images.name)
        size = batch_size(weights.net)
        winner = np.concatenate(
            [block.scores.argmax(axis=-1) for _, block in blocks(opened, score, batch_size=size)]
        )
        for axes in panels[2 * place : 2 * place + 2].ravel():
            axes.set(xticks=[], yticks=[])
        for column, (image, classes) in enumerate(zip(stack[..., 0], winner, strict=True)):
            grey = np.sqrt(image / max(float(image.max()), 1.0))
            coloured = np.ones((*image.shape, 3))
            for number, colour in _COLOURS.values():
                coloured[classes == number] = to_rgb(colour)
            strength = np.where(lit(image[None, ..., None])[0], 0.35 + 0.65 * grey, 0.0)[..., None]
            above, below = panels[2 * place : 2 * place + 2, column]
            above.imshow(grey, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
            shown = 1.0 - strength * (1.0 - coloured)
            below.imshow(shown, interpolation="nearest")
            above.set_title("track" if images.is_track[chosen[column]] else "shower", fontsize=8)
        panels[2 * place, 0].set_ylabel(images.name)
        panels[2 * place + 1, 0].set_ylabel("SSNet")
        numbers[images.name] = chosen.tolist()
    keys = [Patch(color=colour, label=name) for name, (_, colour) in _COLOURS.items()]
    figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure, numbers
