"""The metrics ``classifier/``: can a classifier tell real and generated images apart?

Two samples: Lopez-Paz and Oquab, arXiv:1610.06545. AUC against the number of training images, and
which of several generators: L2LFlows, arXiv:2302.11594. Training on generated images and testing on
real ones: SARM, arXiv:2009.14017.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import threadpoolctl

from evaluation.images.segments import MISSING
from evaluation.images.sets import ImageSet, Pair
from evaluation.metrics.auc import Auc, of_folds
from evaluation.metrics.budget import Budget
from evaluation.metrics.metric import Metric, Result, skipped, with_origin
from evaluation.metrics.observables import OBSERVABLES
from evaluation.metrics.small_cnn import fit_cnn

Predict = Callable[[np.ndarray], np.ndarray]  # inputs [n, ...] -> log-probabilities [n, classes]
Fit = Callable[..., Predict]  # of inputs, labels [n] from 0 on, and the seed

_TREES = {"learning_rate": 0.05, "max_iter": 100, "max_leaf_nodes": 8, "early_stopping": False}
_LEAST = 1e-300  # probability, so that its logarithm is a number
_FEWEST = 50
_FEWEST_OF_CLASS = 20


@dataclass(frozen=True)
class Kind:
    """A kind of classifier."""

    fit: Fit
    sees: str  # what it is and what it looks at
    folds: int
    sizes: tuple[int, ...]  # training images of either set
    tested: int | None = None  # folds tested at these sizes; all if None


def fit_trees(inputs: np.ndarray, labels: np.ndarray, *, seed: int) -> Predict:
    """Train gradient-boosted trees on observables ``[n, d]``, where NaN is undefined."""
    # Slow to import, and not needed by those who only look at AUCs.
    from sklearn.ensemble import HistGradientBoostingClassifier

    # On a busy machine threads that wait for each other take a hundred times as long. They can be
    # limited only once their library is loaded.
    with threadpoolctl.threadpool_limits(1):
        model = HistGradientBoostingClassifier(random_state=seed, **_TREES).fit(inputs, labels)
    return lambda tested: np.log(np.maximum(model.predict_proba(tested), _LEAST))


# A network takes seconds or minutes to train and trees do not: it gets fewer folds, and its sizes
# begin above those of the small budget.
KINDS = {
    "trees": Kind(
        fit_trees,
        "gradient-boosted trees on the observables",
        folds=5,
        sizes=(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000),
    ),
    "cnn": Kind(fit_cnn, "small CNN on pixels", folds=2, sizes=(1_000, 5_000, 25_000), tested=1),
}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Scores of images that the classifier had not seen: larger looks more generated."""

    scores: np.ndarray  # [N]
    is_generated: np.ndarray  # [N] bool
    fold: np.ndarray  # [N]

    def auc(self) -> Auc:
        """Return how well the scores separate generated images from real ones."""
        return of_folds(self.scores, self.is_generated, self.fold)


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much images look like each of several generators, to a classifier."""

    real: np.ndarray  # [K], mean probability of each generator for real images
    stderr: np.ndarray  # [K], from the spread among images and that among classifiers
    held_out: np.ndarray  # [K, K], the same for generated images: row k of those of generator k


def held_out(
    kind: str, real: ImageSet, generated: ImageSet, *, seed: int, **options: int
) -> HeldOut:
    """Score images by a classifier that has not seen them; ``kind`` is ``trees`` or ``cnn``.

    Both sets have observables; ``options`` are those of :func:`held_out_scores`.

    Raises:
        TooFewImagesError: under 50 images of either set.
    """
    for image_set in (real, generated):
        image_set.require(_FEWEST)
    inputs = [seen_by(kind, image_set) for image_set in (real, generated)]
    return held_out_scores(KINDS[kind].fit, *inputs, folds=KINDS[kind].folds, seed=seed, **options)


def size_rows(kind: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return the AUC of a classifier, and that of smaller training sets, each with its floor.

    For smaller training sets the network tests one fold only: each takes seconds to minutes.
    """
    equal = pair.equal_sizes(seed=seed)
    folds, tested = KINDS[kind].folds, KINDS[kind].tested
    largest = len(equal.real) * (folds - 1) // folds
    rows = [_auc_row(f"classifier/{kind}", kind, equal, seed)]
    for size in KINDS[kind].sizes:
        if size < largest:
            metric = f"classifier/{kind}@{size}"
            rows.append(_auc_row(metric, kind, equal, seed, size=size, tested=tested))
    return rows


def transfer_rows(kind: str, pair: Pair, budget: Budget, seed: int) -> list[Result]:
    """Return how well a track/shower classifier trained on generated images does on real ones."""
    metric = f"classifier/tstr/{kind}"
    if any(image_set.is_track is None for image_set in (pair.real, pair.generated, *pair.floor)):
        return [skipped(metric, MISSING)]
    equal = pair.equal_sizes(seed=seed)
    for image_set in (equal.real, equal.generated, equal.floor[1]):
        for chosen in (image_set.is_track, ~image_set.is_track):
            image_set.take(np.flatnonzero(chosen)).require(_FEWEST_OF_CLASS)
    shares = []
    for trained in (equal.generated, equal.floor[1]):
        sets = (
            (seen_by(kind, image_set), image_set.is_track) for image_set in (trained, equal.real)
        )
        shares.append(float(transferred(KINDS[kind].fit, *sets, seed=seed).mean()))
    commoner = max(equal.real.is_track.mean(), 1.0 - equal.real.is_track.mean())
    value, floor = shares
    note = f"floor: trained on {pair.floor_from}; the commoner class alone gives {commoner:.3f}"
    count = len(equal.real)
    stderr = float(np.sqrt(value * (1.0 - value) / count))
    return [Result(metric, value, stderr, floor=floor, n=count, note=note)]


def attribution_rows(pairs: list[Pair], budget: Budget, seed: int) -> dict[str, list[Result]]:
    """Return how much real images look like each generator, by its name."""
    if len(pairs) < 2:
        row = skipped("classifier/multi/trees", "it needs two generated sets: give --generated_2")
        return {pairs[0].generated.name: [row]}
    generated = [pair.generated for pair in pairs]
    kinds = [multi_rows(kind, pairs[0].real, generated, seed=seed) for kind in KINDS]
    return {images.name: [rows[images.name] for rows in kinds] for images in generated}


def multi_rows(
    kind: str, real: ImageSet, generated: list[ImageSet], *, seed: int
) -> dict[str, Result]:
    """Return, by name, how much real images look like each of several generators.

    The real images are not trained on. All sets have observables.

    Raises:
        TooFewImagesError: under 50 images of a set.
        ValueError: with fewer than two generators.
    """
    for image_set in (real, *generated):
        image_set.require(_FEWEST)
    inputs = [seen_by(kind, image_set) for image_set in generated]
    shares = attribute(
        KINDS[kind].fit, seen_by(kind, real), inputs, folds=KINDS[kind].folds, seed=seed
    )
    count = min(len(image_set) for image_set in (real, *generated))
    return {
        image_set.name: Result(
            f"classifier/multi/{kind}",
            float(shares.real[place]),
            float(shares.stderr[place]),
            floor=1.0 / len(generated),
            n=count,
            note=f"its own held-out images: {shares.held_out[place, place]:.3f}",
        )
        for place, image_set in enumerate(generated)
    }


def held_out_scores(
    fit: Fit,
    real: np.ndarray,
    generated: np.ndarray,
    *,
    folds: int,
    seed: int,
    size: int | None = None,
    tested: int | None = None,
) -> HeldOut:
    """Score the images of every fold by a classifier trained on the others.

    Args:
        fit: trains it.
        real: inputs ``[n, ...]``.
        generated: inputs ``[m, ...]``.
        folds: parts of both sets, at least two.
        seed: of the folds and of the training.
        size: training images of either set; None takes all of the other folds.
        tested: folds to hold out in turn; None takes all of them.
    """
    placed = [(inputs, fold_of(len(inputs), folds, seed)) for inputs in (real, generated)]
    parts = []
    for k in range(folds if tested is None else tested):
        trained = [inputs[_some(place != k, size, [seed, k])] for inputs, place in placed]
        predict = fit(np.concatenate(trained), _labels(trained), seed=seed + k)
        held = [inputs[place == k] for inputs, place in placed]
        logs = predict(np.concatenate(held))
        is_generated = _labels(held).astype(bool)
        parts.append((logs[:, 1] - logs[:, 0], is_generated, np.full(len(logs), k)))
    return HeldOut(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def attribute(
    fit: Fit, real: np.ndarray, generated: list[np.ndarray], *, folds: int, seed: int
) -> Attribution:
    """Return which generator real images look like, to classifiers that tell the generators apart.

    No real image is trained on, so the answer is relative: one of the generators must win, even if
    none is good. The inputs are ``[n, ...]`` of the real images and of each of K generators, which
    are cut to the size of the smallest; every classifier leaves out one of their folds.

    Raises:
        ValueError: with fewer than two generators.
    """
    if len(generated) < 2:
        raise ValueError(f"{len(generated)} generated set; which of them needs at least 2")
    count = min(map(len, generated))
    sets = [inputs[_some(np.ones(len(inputs), bool), count, [seed, 0])] for inputs in generated]
    place = fold_of(count, folds, seed)
    of_real, own = [], []
    for k in range(folds):
        trained = [inputs[place != k] for inputs in sets]
        predict = fit(np.concatenate(trained), _labels(trained), seed=seed + k)
        of_real.append(np.exp(predict(real)))
        own.append([np.exp(predict(inputs[place == k])).mean(axis=0) for inputs in sets])
    of_real = np.stack(of_real)  # [folds, n, K]
    among_images = of_real.mean(axis=0).var(axis=0, ddof=1) / len(real)
    among_classifiers = of_real.mean(axis=1).var(axis=0, ddof=1) / folds
    stderr = np.sqrt(among_images + among_classifiers)
    return Attribution(of_real.mean(axis=(0, 1)), stderr, np.mean(own, axis=0))


def transferred(
    fit: Fit,
    trained: tuple[np.ndarray, np.ndarray],
    tested: tuple[np.ndarray, np.ndarray],
    *,
    seed: int,
) -> np.ndarray:
    """Train on inputs ``[n, ...]`` and labels ``[n]``; return which of ``tested [m]`` are right."""
    inputs, labels = trained
    predict = fit(inputs, labels.astype(np.int64), seed=seed)
    return predict(tested[0]).argmax(axis=1) == tested[1]


def fold_of(count: int, folds: int, seed: int) -> np.ndarray:
    """Return a random fold for each of ``count`` images, in equal shares.

    Two sets of one length get the same folds, so that a set against itself has an AUC of exactly
    0.5: if an image were held out while its copy is trained on with the other label, its score
    would be wrong.
    """
    return np.random.default_rng(seed).permutation(count) % folds


def _auc_row(metric: str, kind: str, equal: Pair, seed: int, **options: int) -> Result:
    """Return the AUC of a pair and that of its floor."""
    auc = held_out(kind, equal.real, equal.generated, seed=seed, **options).auc()
    floor = held_out(kind, *equal.floor, seed=seed, **options).auc()
    spread = "" if auc.fold_stderr is None else f", {auc.fold_stderr:.2g} from the folds"
    note = with_origin(f"error by DeLong{spread}", equal)
    n = len(equal.real)
    return Result(metric, auc.value, auc.stderr, floor=floor.value, p=auc.p, n=n, note=note)


def seen_by(kind: str, image_set: ImageSet) -> np.ndarray:
    """Return what a classifier sees: observables ``[n, d]`` or images ``[n, H, W]``."""
    if kind == "cnn":
        return image_set.images
    return np.stack([image_set.table[name] for name in OBSERVABLES], axis=1)


def _labels(sets: list[np.ndarray]) -> np.ndarray:
    """Return the number of the set of each row."""
    return np.repeat(np.arange(len(sets)), [len(inputs) for inputs in sets])


def _some(kept: np.ndarray, size: int | None, seed: list[int]) -> np.ndarray:
    """Return the places of at most ``size`` of the marked rows, at random and in order."""
    places = np.flatnonzero(kept)
    if size is None or size >= len(places):
        return places
    return np.sort(np.random.default_rng(seed).permutation(places)[:size])


def _definitions(kind: str) -> dict[str, str]:
    """Return the definitions of `size_rows`."""
    folds, name = KINDS[kind].folds, f"classifier/{kind}"
    whole = (
        f"AUC of real against generated images by {KINDS[kind].sees}, {folds} folds of which one "
        "is tested and the others are trained on; 0.5 for equal sets; p from the normal theory of "
        "ranks within folds, its variance doubled for what folds share"
    )
    first_fold = ", on the first fold" * (KINDS[kind].tested == 1)
    return {name: whole} | {
        f"{name}@{size}": f"{name} with {size} training images of either set{first_fold}"
        for size in KINDS[kind].sizes
    }


METRICS = (
    *(
        Metric(f"classifier/{name}", functools.partial(size_rows, name), _definitions(name))
        for name in KINDS
    ),
    *(
        Metric(
            f"classifier/tstr/{name}",
            functools.partial(transfer_rows, name),
            f"share of SSNet's track or shower labels of real images that {kind.sees} find, "
            "trained on generated images and theirs; floor: trained on other real images",
            needs="labels",
        )
        for name, kind in KINDS.items()
    ),
    Metric(
        "classifier/multi",
        attribution_rows,
        {
            f"classifier/multi/{name}": "mean probability of this generator for real images by "
            f"{kind.sees}, trained to tell the generators apart, {kind.folds} folds; floor: one "
            "over their number"
            for name, kind in KINDS.items()
        },
        joint=True,
    ),
)
