"""A weaker network that leads a better one by what both disagree on (arXiv:2406.02507).

A network that was not trained for long draws too little: too few pixels, too little charge, images
that are too alike. One that was trained for even less has the same faults, and more of them. What
lies beyond the better one, seen from the weaker one, has fewer. Both are score models of the same
images; an early checkpoint of the same training is the simplest weaker one.
"""

import ml_collections

from sgm_jax.bayes import LED, check_noise
from sgm_jax.conditions import Weaker
from sgm_jax.trained import from_either, packaged

_FIELD = "--config.sampling.weaker"
_NONE = f'draw without one: {_FIELD}=""'


def read_weaker(config: ml_collections.ConfigDict) -> Weaker | None:
    """Return the weaker network of ``config.sampling``; None if it names none, or does not count.

    Args:
        config: of the network that draws, checked.

    Raises:
        FileNotFoundError: if there are no such weights, or there is no checkpoint yet.
        ValueError: if it is no score model, or one of other images or conditions.
    """
    source, weight = config.sampling.get("weaker", ""), config.sampling.get("autoguidance", 1.0)
    if not source or weight == 1:
        return None
    names = ", ".join(packaged())
    fix = f"give the file or workdir of one, or a name of the package ({names}), or {_NONE}"
    trained = from_either(source, family=LED, flag=_FIELD, fix=fix)
    flag = f"{_FIELD}={source}"
    check_noise(flag, trained.config, config, fix=f"Take a network of these, or {_NONE}")
    theirs, ours = (tuple(of.model.condition) for of in (trained.config, config))
    kinds = tuple(trained.config.data.particles), tuple(config.data.particles)
    if theirs and (theirs != ours or kinds[0] != kinds[1]):
        drawing = f"with {', '.join(ours)} of {', '.join(kinds[1])}" if ours else "without any"
        raise ValueError(
            f"{flag} was trained with the conditions {', '.join(theirs)} of {', '.join(kinds[0])}, "
            f"and what draws {drawing}; take one with the same, one without, or {_NONE}"
        )
    return Weaker(
        trained.generator.score, lambda: trained.load().params, float(weight), trained.origin
    )
