"""What is measured of conditional images: numbers in bins of momentum, and rows made of them."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from evaluation.conditional import estimators
from evaluation.conditional.alike import FEWEST, Compared, bin_of
from evaluation.conditional.sets import ConditionedSet
from evaluation.metrics.metric import Result
from sgm_jax.data.condition import DOWN, RIGHT

SHOWERS = ("electron", "photon")  # all other kinds leave tracks
STOPPING = ("muon", "proton")
# Of the momentum, at least this share lies in the plane of images whose direction is measured:
# then it points at most 60 degrees out of it. A length is divided by the share, so it is larger.
DIRECTION_SHARE = 0.5
RANGE_SHARE = 0.7
# A bin whose ratio to the simulation is within this is near it.
NEAR_MEAN, NEAR_WIDTH = 0.03, 0.1

Edges = dict[str, np.ndarray]
Numbers = dict[str, np.ndarray]  # by the id of a row: [R], the value and those of drawing again
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of values [n], weights [R, n]: [R]

_CENTRAL = f"the central {100 * estimators.CENTRAL:.0f} % of the images"
DEFINITIONS = {
    "response/KIND/deviation": "root mean square over the bins of momentum of generated over "
    f"simulated mean deposited charge minus one; means of {_CENTRAL}",
    "response/KIND/bias": "mean of the same, with its sign",
    "response/KIND/width": "generated over simulated standard deviation of the deposited charge, "
    f"of {_CENTRAL}, geometric mean over the bins; below 1 images are too alike",
    "response/KIND/width_deviation": "root mean square over the bins of that ratio minus one",
    "response/KIND/near": f"share of the bins whose mean is within {100 * NEAR_MEAN:g} % of the "
    "simulation's",
    "response/KIND/width_near": f"share of the bins whose width is within {100 * NEAR_WIDTH:g} % "
    "of the simulation's",
    "direction/KIND/median_ratio": "median angle between the asked direction and that of the "
    "charge about the start, in the plane of the image, over the same of simulated images; of "
    f"images with at least {DIRECTION_SHARE:g} of the momentum in the plane",
    "direction/KIND/median_deg": "that angle in degrees; floor: of simulated images",
    "direction/KIND/backward": "share of images that point more than 90 degrees away, minus the "
    "same of simulated images",
    "range/KIND/deviation": "root mean square over bins of generated over simulated median range "
    "minus one; of images without charge at the border and with at least "
    f"{RANGE_SHARE:g} of the momentum in the plane",
    "range/KIND/bias": "mean of the same, with its sign",
    "range/KIND/stopping": "mean over the bins of momentum of the share of images without charge "
    "at the border, minus the same of simulated images",
    "confusion/NAME/KIND": "share of images taken for what was asked by a classifier that was "
    "trained on simulated images only, minus the same of simulated images that it has not seen",
    "confusion/NAME/tracks_and_showers": "the same of two classes, tracks and showers, mean over "
    "the kinds",
    "observables/all/ks": "Kolmogorov-Smirnov distance, mean over observables, kinds and bins",
}


@dataclass(frozen=True, eq=False)
class Series:
    """A number of one kind of particle in bins of momentum, of both sets.

    Attributes:
        edges: of the bins, ``[K + 1]``, in MeV/c.
        real: ``[R, K]``, the value first and then those of images drawn again; NaN where there are
            too few images.
        generated: the same.
        counts: images of both sets ``[2, K]``.
    """

    edges: np.ndarray
    real: np.ndarray
    generated: np.ndarray
    counts: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        """Return the middle of each bin."""
        return (self.edges[:-1] + self.edges[1:]) / 2.0

    @property
    def ratio(self) -> np.ndarray:
        """Return generated over real ``[R, K]``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.generated / self.real

    def to_dict(self) -> dict[str, list]:
        """Return the numbers for JSON, with their errors."""
        table = {"edges": self.edges.tolist(), "images": self.counts.tolist()}
        for name in ("real", "generated", "ratio"):
            values = getattr(self, name)
            table[name] = [_plain(v) for v in values[0]]
            table[f"{name}_stderr"] = [_plain(v) for v in spread(values)]
        return table


def with_measurements(images: ConditionedSet) -> ConditionedSet:
    """Return a set with what is measured of each image from the particle's start.

    Those are columns of its table: ``deposited`` charge, ``off_deg``, the angle between the asked
    and the measured direction, ``range`` of what stays in the image, and whether it ``stays``.
    Angle and range are NaN where too little of the momentum lies in the plane.
    """
    pixels = images.images.images
    shares, asked = images.in_plane, images.momentum[:, [DOWN, RIGHT]].astype(np.float64)
    measured = estimators.direction(pixels)
    stays = ~estimators.leaves(pixels)
    off = np.full(len(images), np.nan)
    seen = shares >= DIRECTION_SHARE
    off[seen] = estimators.angle_deg(measured[seen], asked[seen])
    ranges = np.full(len(images), np.nan)
    chosen = np.isin(images.particle, STOPPING) & stays & (shares >= RANGE_SHARE)
    chosen &= np.isfinite(measured).all(axis=1)
    reach = estimators.reach_px(pixels[chosen], measured[chosen])
    ranges[chosen] = reach * images.pixel / shares[chosen]
    columns = {
        "deposited": images.images.table["charge"] * images.level,
        "off_deg": off,
        "range": ranges,
        "stays": stays.astype(np.float64),
    }
    return replace(images, images=replace(images.images, table=images.images.table | columns))


def response(pair: Compared, edges: Edges) -> dict[str, Series]:
    """Return mean and width of the charge, by ``KIND/mean`` and ``KIND/width``."""
    binned = {}
    for kind in edges:
        for place, name in enumerate(("mean", "width")):
            binned[f"{kind}/{name}"] = series(
                pair, edges, kind, "deposited", lambda v, w, k=place: estimators.central(v, w)[k]
            )
    return binned


def directions(pair: Compared, edges: Edges) -> dict[str, Series]:
    """Return the median angle, by ``KIND/median_deg``."""
    return {
        f"{kind}/median_deg": series(pair, edges, kind, "off_deg", estimators.median)
        for kind in edges
    }


def stopping(pair: Compared, edges: Edges) -> dict[str, Series]:
    """Return median range and share that stays, by ``KIND/range`` and ``KIND/stays``."""
    binned = {}
    for kind in (kind for kind in STOPPING if kind in edges):
        binned[f"{kind}/range"] = series(pair, edges, kind, "range", estimators.median)
        binned[f"{kind}/stays"] = series(pair, edges, kind, "stays", estimators.mean)
    return binned


def series(pair: Compared, edges: Edges, kind: str, column: str, statistic: Statistic) -> Series:
    """Return a statistic of a column in the bins of a kind; images where it is NaN are left out."""
    bins = len(edges[kind]) - 1
    values, counts = [], np.zeros((2, bins), np.int64)
    for which, (images, weights) in enumerate(
        ((pair.real, pair.real_weights), (pair.generated, pair.generated_weights))
    ):
        place = np.where(images.particle == kind, bin_of(images, {kind: edges[kind]}), -1)
        numbers = images.images.table[column]
        place = np.where(np.isnan(numbers), -1, place)
        statistics = np.full((len(weights), bins), np.nan)
        for k in range(bins):
            rows = np.flatnonzero(place == k)
            counts[which, k] = len(rows)
            if len(rows) >= FEWEST:
                statistics[:, k] = statistic(numbers[rows], weights[:, rows])
        values.append(statistics)
    return Series(edges[kind], *values, counts)


def numbers(pair: Compared, edges: Edges, range_edges: Edges, range_pair: Compared) -> Numbers:
    """Return the numbers of all rows but those of the observables."""
    values: Numbers = {}
    charge = response(pair, edges)
    for kind in edges:
        mean, width = charge[f"{kind}/mean"].ratio, charge[f"{kind}/width"].ratio
        values[f"response/{kind}/deviation"] = _rms(mean - 1.0)
        values[f"response/{kind}/bias"] = _mean(mean - 1.0)
        with np.errstate(divide="ignore"):
            values[f"response/{kind}/width"] = np.exp(_mean(np.log(width)))
        values[f"response/{kind}/width_deviation"] = _rms(width - 1.0)
        values[f"response/{kind}/near"] = _near(mean, NEAR_MEAN)
        values[f"response/{kind}/width_near"] = _near(width, NEAR_WIDTH)
        off = series(pair, {kind: edges[kind][[0, -1]]}, kind, "off_deg", estimators.median)
        values[f"direction/{kind}/median_ratio"] = off.ratio[:, 0]
        values[f"direction/{kind}/median_deg"] = off.generated[:, 0]
        back = series(pair, {kind: edges[kind][[0, -1]]}, kind, "off_deg", _backward)
        values[f"direction/{kind}/backward"] = (back.generated - back.real)[:, 0]
    for name, binned in stopping(range_pair, range_edges).items():
        kind, _, what = name.partition("/")
        if what == "range":
            values[f"range/{kind}/deviation"] = _rms(binned.ratio - 1.0)
            values[f"range/{kind}/bias"] = _mean(binned.ratio - 1.0)
        else:
            values[f"range/{kind}/stopping"] = _mean(binned.generated - binned.real)
    values |= _confusions(pair, list(edges))
    return values | _over_kinds(values, list(edges))


def rows(
    values: Numbers, floors: Iterable[Numbers], pair: Compared, definitions: Mapping[str, str]
) -> list[Result]:
    """Return numbers as rows of a report, with the mean of ``floors`` as their floor."""
    floors = list(floors)
    results = []
    for name, value in values.items():
        chance = [floor[name][0] for floor in floors if name in floor]
        chance = [number for number in chance if np.isfinite(number)]
        if np.isnan(value[0]):
            note, status = f"fewer than {FEWEST} images in each bin", "too few images"
        else:
            note, status = "", "ok"
        results.append(
            Result(
                name,
                float(value[0]),
                _plain(spread(value[:, None])[0]),
                float(np.mean(chance)) if chance else None,
                n=min(len(pair.real), len(pair.generated)),
                note=note,
                status=status,
                set=pair.generated.name,
                definition=definitions.get(_general(name), ""),
            )
        )
    return results


def matrix(pair: Compared, classifier: str, kinds: list[str]) -> dict[str, np.ndarray]:
    """Return for both sets how images of each kind (row) are taken for each (column), shares."""
    shares_of = {}
    for name, images, weights in (
        ("real", pair.real, pair.real_weights),
        ("generated", pair.generated, pair.generated_weights),
    ):
        shares = np.full((len(kinds), len(kinds)), np.nan)
        for row, kind in enumerate(kinds):
            own = images.particle == kind
            weight = weights[0, own]
            if weight.sum() > 0:
                predicted = _predicted(images, classifier)[:, own]
                shares[row] = [
                    ((predicted == column) * weight).sum() / (len(predicted) * weight.sum())
                    for column in range(len(kinds))
                ]
        shares_of[name] = shares
    return shares_of


def spread(values: np.ndarray) -> np.ndarray:
    """Return the standard errors ``[K]`` of numbers ``[R, K]``, from images drawn again."""
    if len(values) < 3:
        return np.full(values.shape[1], np.nan)
    again = np.where(np.isfinite(values[1:]), values[1:], np.nan)
    known = np.isfinite(values[0]) & (np.isfinite(again).sum(axis=0) > 1)
    errors = np.full(values.shape[1], np.nan)
    errors[known] = np.nanstd(again[:, known], axis=0, ddof=1)
    return errors


def classifiers_of(images: ConditionedSet) -> list[str]:
    """Return the names of the classifiers that have looked at a set."""
    columns = images.images.table
    return sorted({name.split("/")[1] for name in columns if name.startswith("predicted/")})


def _confusions(pair: Compared, kinds: list[str]) -> Numbers:
    differences: Numbers = {}
    showers = np.isin(kinds, SHOWERS)
    for name in classifiers_of(pair.real):
        two = []
        for place, kind in enumerate(kinds):
            shares, classes = [], []
            for images, weights in (
                (pair.real, pair.real_weights),
                (pair.generated, pair.generated_weights),
            ):
                own = images.particle == kind
                predicted = _predicted(images, name)[:, own]
                right = (predicted == place).mean(axis=0)
                same = (showers[predicted] == showers[place]).mean(axis=0)
                shares.append(estimators.mean(right, weights[:, own]))
                classes.append(estimators.mean(same, weights[:, own]))
            differences[f"confusion/{name}/{kind}"] = shares[1] - shares[0]
            two.append(classes[1] - classes[0])
        if 0 < showers.sum() < len(kinds):
            differences[f"confusion/{name}/tracks_and_showers"] = _mean(np.array(two).T)
    return differences


def _predicted(images: ConditionedSet, classifier: str) -> np.ndarray:
    """Return what each classifier of a kind takes images for, ``[classifiers, n]``."""
    table = images.images.table
    return np.stack([table[f"predicted/{classifier}/{k}"] for k in range(2)])


def _over_kinds(values: Numbers, kinds: list[str]) -> Numbers:
    """Return the means over the kinds, of numbers that all of them have."""
    together = {}
    for chapter, names in (
        ("response", ("near", "width_near", "deviation", "bias", "width", "width_deviation")),
        ("direction", ("median_ratio", "backward")),
        ("range", ("deviation", "bias", "stopping")),
    ):
        for name in names:
            own = [values[key] for kind in kinds if (key := f"{chapter}/{kind}/{name}") in values]
            if own:
                together[f"{chapter}/all/{name}"] = _mean(np.array(own).T)
    return together


def _general(name: str) -> str:
    """Return the id under which :data:`DEFINITIONS` has a row."""
    chapter, _, last = name.split("/")
    if chapter == "confusion":
        return f"confusion/NAME/{last}" if last == "tracks_and_showers" else "confusion/NAME/KIND"
    return name if chapter == "observables" else f"{chapter}/KIND/{last}"


def _backward(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return estimators.mean((values > 90.0).astype(np.float64), weights)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean ``[R]`` of ``[R, K]``, of those that are known."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _near(ratio: np.ndarray, most: float) -> np.ndarray:
    return _mean(np.where(np.isfinite(ratio), np.abs(ratio - 1.0) <= most, np.nan))


def _rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean(values**2))


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
