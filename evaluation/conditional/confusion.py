"""For which particle is an image taken? By classifiers that are trained on simulated images only.

There are two classifiers of a sort, each trained on one half of the simulated events. Each looks at
the half that it has not seen, and both look at all generated images.
"""

from dataclasses import replace

import numpy as np

from evaluation.conditional.sets import ConditionedSet
from evaluation.metrics.classifier import KINDS as SORTS
from evaluation.metrics.classifier import seen_by
from sgm_jax.run.parts import Parts


def with_predictions(
    sets: list[ConditionedSet], kinds: list[str], sorts: list[str], *, seed: int, parts: Parts
) -> list[ConditionedSet]:
    """Return the sets, the real one first, with what each sort of classifier takes images for.

    Those are columns ``predicted/SORT/0`` and ``/1`` of their tables, places in ``kinds``; of a
    real image both are of the classifier that has not seen it.
    """
    for sort in sorts:
        part = f"confusion/{sort}.npz"
        if parts.missing([part]):
            parts.save(part, _predictions(sets, kinds, sort, seed=seed))
        predictions = parts.load(part)
        sets = [_with_columns(images, sort, predictions[images.name]) for images in sets]
    return sets


def _predictions(
    sets: list[ConditionedSet], kinds: list[str], sort: str, *, seed: int
) -> dict[str, np.ndarray]:
    """Return by the name of each set the predictions ``[2, n]``."""
    real, *generated = sets
    code = np.array([kinds.index(name) if name in kinds else -1 for name in real.particle])
    events, of = np.unique(real.event, return_inverse=True)
    half = np.random.default_rng([seed, 7]).permutation(len(events)) % 2
    is_second = (half == 1)[of]
    seen = seen_by(sort, real.images)
    predictions = {images.name: [] for images in sets}
    held_out = np.zeros(len(real), np.int64)
    for k, trained in enumerate((~is_second, is_second)):
        rows = trained & (code >= 0)
        predict = SORTS[sort].fit(seen[rows], code[rows], seed=seed + k)
        held_out[~trained] = predict(seen[~trained]).argmax(axis=1)
        for images in generated:
            predictions[images.name].append(predict(seen_by(sort, images.images)).argmax(axis=1))
    predictions[real.name] = [held_out, held_out]
    return {name: np.array(rows) for name, rows in predictions.items()}


def _with_columns(images: ConditionedSet, sort: str, predicted: np.ndarray) -> ConditionedSet:
    columns = {f"predicted/{sort}/{k}": row for k, row in enumerate(predicted)}
    return replace(images, images=replace(images.images, table=images.images.table | columns))
