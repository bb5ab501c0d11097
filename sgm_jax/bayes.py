"""A classifier that leads a generator to what is asked: read, and checked to fit it.

By Bayes, the score of images of a condition is that of all images plus the gradient of the
condition's log-probability, which :mod:`sgm_jax.generators.classifier` learns.
"""

import math

import ml_collections

from sgm_jax.conditions import Leading, Request
from sgm_jax.data.simulated import units
from sgm_jax.run.log import LOGGER
from sgm_jax.run.workdir import flatten
from sgm_jax.sde import SDES, VESDE
from sgm_jax.simulation.config import simulated_units
from sgm_jax.trained import from_either

# What images and their noise are to both; constants of the SDE come on top.
_COMMON = (
    "data.image_size",
    "data.num_channels",
    "data.planes",
    "data.scaling",
    "data.transform",
    "data.saturation",
    "data.centered",
    "training.sde",
)
_FAMILY, LED = "classifier", "score"
_TRAIN = "train one with --config=configs/classifier64.py"


def read_classifier(request: Request, config: ml_collections.ConfigDict) -> Leading | None:
    """Return the classifier of a request; None if it names none.

    Args:
        request: of images.
        config: of the network that draws them.

    Raises:
        FileNotFoundError: if there is no such run, or no checkpoint yet.
        ValueError: if it is no classifier or one of other images, or the network was trained with
            conditions itself.
    """
    if request.classifier is None:
        if request.classifier_weight is not None:
            raise ValueError("--classifier_weight says nothing without --classifier")
        return None
    weight = 1.0 if request.classifier_weight is None else request.classifier_weight
    if not 0 <= weight < math.inf:
        raise ValueError(
            f"--classifier_weight is {weight}; it must be a number: 1 is Bayes, more follows the "
            "condition more strictly, 0 ignores it"
        )
    if config.generator != LED:
        raise ValueError(
            f"--classifier leads generators of the family {LED!r}, and this one is of "
            f"{config.generator!r}"
        )
    if config.model.condition:
        raise ValueError(
            "--classifier leads networks that were trained without conditions, and this one knows "
            f"{', '.join(config.model.condition)} itself; leave it out, and ask with --guidance"
        )
    if config.sampling.guidance != 1:
        raise ValueError(
            f"--guidance={config.sampling.guidance:g} is for networks trained with conditions; how "
            "strongly a classifier leads is --classifier_weight"
        )
    classifier = from_either(request.classifier, family=_FAMILY, flag="--classifier", fix=_TRAIN)
    flag = f"--classifier={request.classifier}"
    check_noise(flag, classifier.config, config, fix="Train one with the fields of the generator")
    return Leading(
        classifier.config,
        classifier.generator.log_posterior,
        lambda: classifier.load().params,
        float(weight),
        classifier.origin,
    )


def check_noise(
    flag: str, other: ml_collections.ConfigDict, config: ml_collections.ConfigDict, *, fix: str
) -> None:
    """Refuse a network that would see other numbers than it has learnt from.

    Units are compared where both sets of images have the recipe of their simulation. Where they do
    not, as with weights from elsewhere, units that the configurations differ in are only warned of:
    the images may be others than those that these simulate.

    Args:
        flag: that names it.
        other: what it was trained with.
        config: of the network that draws.
        fix: what to do, as a sentence without its full stop.

    Raises:
        ValueError: with the fields that differ.
    """
    theirs, ours = flatten(other), flatten(config)
    exploding = SDES[other.training.sde] is VESDE
    constants = ("sigma_min", "sigma_max") if exploding else ("beta_min", "beta_max")
    changes = [
        f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} in what draws"
        for name in (*_COMMON, *(f"model.{constant}" for constant in constants))
        if ours.get(name) != theirs.get(name)
    ]
    if changes:
        raise ValueError(
            f"{flag} was trained on other images or other noise: {'; '.join(changes)}. {fix}"
        )
    _check_units(flag, other, config, fix=fix)


def _check_units(
    flag: str, other: ml_collections.ConfigDict, config: ml_collections.ConfigDict, *, fix: str
) -> None:
    recorded = [units(of.data.train_path) for of in (other, config)]
    simulated = [simulated_units(of.simulation) for of in (other, config) if of.get("simulation")]
    both = recorded if all(recorded) else simulated
    if len(both) < 2 or both[0] == both[1]:
        return
    named = ["; ".join(f"{name} {value:g}" for name, value in of.items()) for of in both]
    if all(recorded):
        raise ValueError(
            f"{flag} was trained on images of other units: {named[0]} there, {named[1]} in what "
            f"draws. {fix}"
        )
    LOGGER.warning(
        "%s: as configured its images are of other units (%s) than those that are drawn (%s); if "
        "that is so, they do not fit",
        flag,
        *named,
    )
