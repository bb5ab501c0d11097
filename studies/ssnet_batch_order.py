"""How much SSNet's labels and features of an image depend on the images it is batched with.

With batch statistics, as published, an image is normalised together with 15 others. Here the same
images are scored in several orders.
"""

import itertools
from typing import NamedTuple

import numpy as np

from evaluation.metrics.fid import frechet_distance
from evaluation.ssnet.rules import LIT_ABOVE
from evaluation.ssnet.scores import PUBLISHED_BATCH, ScoreFn, score_function
from evaluation.ssnet.weights import Weights
from sgm_jax.data import Images
from studies.ssnet_tally import RULES, scored, votes_of


class Outcome(NamedTuple):
    """What the network says of ``n`` images, in the order of the set, whatever that of scoring."""

    called_track: np.ndarray  # [rules, n]
    pixel_label: np.ndarray  # [n, H, W]
    features: np.ndarray  # [n, F]


class Orders(NamedTuple):
    """The numbers of one network."""

    name: str
    normalisation: str
    images: int
    lit_pixels: int
    changed_images: dict[str, list[float]]  # by rule: share of other labels, for each two orders
    changed_in_any: dict[str, float]  # share of images whose label is not the same in all orders
    track_share: dict[str, list[float]]  # by rule, for each order
    changed_pixels: list[float]  # share of lit pixels of other label than in the first order
    fid_orders: list[float]  # of the same images in the first and in another order
    fid_floor: list[float]  # of two sets of images, the first in each order
    grouped: dict[str, float]  # batches of one kind only beside the first order


def split(images: Images, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw two sets of whole batches without a common image, each ``[count, H, W]``.

    Raises:
        ValueError: if there are not enough images for two sets of at least one batch.
    """
    count = min(count, len(images) // 2) // PUBLISHED_BATCH * PUBLISHED_BATCH
    if not count:
        raise ValueError(
            f"{images.source}: {len(images)} images do not fill two batches of {PUBLISHED_BATCH}"
        )
    rows = np.random.default_rng(seed).permutation(len(images))
    first, second = (images[rows[k * count : (k + 1) * count]][..., 0] for k in (0, 1))
    return first, second


def modes(weights: Weights) -> list[Weights]:
    """Return weights with batch statistics, and with running ones if they hold any."""
    together = weights.net.clone(normalisation="batch_statistics")
    batch = weights._replace(net=together)
    return [batch, weights] if weights.net.normalisation == "running_statistics" else [batch]


def in_order(images: np.ndarray, order: np.ndarray, score: ScoreFn) -> Outcome:
    """Score images ``[n, H, W]`` in batches of 16 along ``order``; return them in their own."""
    lit, parts = images > LIT_ABOVE, []
    for rows, found in scored(images[order], score, batch_size=PUBLISHED_BATCH):
        votes = votes_of(found.scores, lit[order[rows]])
        features = found.features.reshape(len(found.features), -1)
        labels = found.scores.argmax(axis=-1).astype(np.uint8)
        parts.append((votes[..., 0] > votes[..., 1], labels, features))
    back = np.argsort(order)
    track, labels, features = (np.concatenate(part)[back] for part in zip(*parts, strict=True))
    return Outcome(track.T, labels, features)


def measure(
    name: str,
    images: np.ndarray,
    others: np.ndarray,
    weights: Weights,
    *,
    shuffles: int,
    seed: int,
) -> Orders:
    """Score the images in several random orders and in batches of one kind.

    Args:
        name: of the network.
        images: ``[n, H, W]``, whole batches.
        others: as many other images of the same source, for the floor.
        weights: the network.
        shuffles: orders, at least two.
        seed: of the orders.
    """
    rng, lit = np.random.default_rng(seed), images > LIT_ABOVE
    score = score_function(weights.net, weights.variables)
    floor = in_order(others, np.arange(len(others)), score).features
    first = in_order(images, rng.permutation(len(images)), score)
    tracks, pixels, fid_orders = [first.called_track], [], []
    fid_floor = [frechet_distance(first.features, floor)]
    for _ in range(shuffles - 1):
        other = in_order(images, rng.permutation(len(images)), score)
        tracks.append(other.called_track)
        pixels.append(_changed_pixels(first, other, lit))
        fid_orders.append(frechet_distance(first.features, other.features))
        fid_floor.append(frechet_distance(other.features, floor))
    labels = np.stack(tracks)  # [orders, rules, n]
    return Orders(
        name=name,
        normalisation=weights.net.normalisation,
        images=len(images),
        lit_pixels=int(lit.sum()),
        changed_images=_by_rule(
            [(a != b).mean(axis=1) for a, b in itertools.combinations(labels, 2)]
        ),
        changed_in_any=dict(
            zip(RULES, (labels != labels[0]).any(axis=0).mean(axis=1).tolist(), strict=True)
        ),
        track_share=_by_rule(list(labels.mean(axis=2))),
        changed_pixels=pixels,
        fid_orders=fid_orders,
        fid_floor=fid_floor,
        grouped=_grouped(images, first, score, lit=lit, rng=rng),
    )


def _by_rule(shares: list[np.ndarray]) -> dict[str, list[float]]:
    return dict(zip(RULES, np.stack(shares, axis=1).tolist(), strict=True))


def _changed_pixels(first: Outcome, other: Outcome, lit: np.ndarray) -> float:
    return float((first.pixel_label != other.pixel_label)[lit].mean())


def _grouped(
    images: np.ndarray,
    first: Outcome,
    score: ScoreFn,
    *,
    lit: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Compare with the first order one in which tracks, by its own labels, come before showers."""
    order = rng.permutation(len(images))
    order = order[np.argsort(~first.called_track[0][order], kind="stable")]
    sorted_ = in_order(images, order, score)
    numbers = {
        "changed_pixels": _changed_pixels(first, sorted_, lit),
        "fid": frechet_distance(first.features, sorted_.features),
    }
    for rule, one, other in zip(RULES, first.called_track, sorted_.called_track, strict=True):
        numbers[f"changed_images, {rule}"] = float((one != other).mean())
        numbers[f"track_share, {rule}"] = float(other.mean())
    return numbers
