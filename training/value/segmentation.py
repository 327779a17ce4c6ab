"""Finding segments: from a few figures that tell customers apart, as many groups as come out again on other samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from features.schema import DType, Feature, FeatureSchema
from models.arrays import FloatArray, Rows
from models.value.segmentation import RFM_FIGURES, Figure, RfmCuts, Segment, Segmenter, Segments
from training.dataset.training_set import TrainingSet

FIRST = (*RFM_FIGURES, "tenure_days")
"""What people ask first of who buys: it is taken wherever it is known, whatever the sample says."""
MOST_FIGURES = 6
MOST_OF_A_PILLAR = 2
ALIKE = 0.7
"""Two figures whose ranks correlate more than this say the same: the second is left out."""
FEWEST_KNOWN = 0.5
MOST_WORDS = 6
FEWEST_ROWS = 200
MOST_ROWS = 6_000
SIZES = (5, 4, 3)
"""The numbers of segments that people can keep in mind, the best one first: fewer only where it does not hold."""
SMALLEST = 0.04
"""No segment may be a smaller share of the customers: nobody works with a handful."""
STABLE = 0.6
"""The adjusted Rand index, over samples, from which a number of segments counts as one that comes out again."""
KEPT = 1.3
"""The champion's segments stay until new ones would lie so many times closer to the customers."""

_SAMPLES = 5
_DECIMALS = 6
_RELEVANCE_STEP = 0.04
_SEED = 7
_LEVELS = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True, slots=True)
class FoundSegments:
    """Segments, and how surely: the adjusted Rand index over samples; None where the champion's were kept."""

    segments: Segments
    stability: float | None

    @property
    def kept(self) -> bool:
        """Whether they are the champion's."""
        return self.stability is None


def find_segments(data: TrainingSet, rows: Rows, previous: Segments | None = None) -> FoundSegments | None:
    """Segments of the customers in some rows, each customer once; None where there are too few customers or figures.

    Args:
        data: raw features; its outcomes only say which figures matter.
        previous: the champion's segments. They are kept as they are while they fit, since a name that people work with must
            not change with every training; where they no longer do, new ones take over the ids of those they mostly hold.
    """
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, MOST_ROWS, replace=False))
    if len(rows) < FEWEST_ROWS:
        return None
    rfm = _rfm_cuts(data, rows)
    figures = _scales(data, rows, _telling_figures(data, rows))
    if not figures:
        return None
    if previous is not None and _fits(previous, data, rows):
        return FoundSegments(previous, None)
    scaled = scaled_rows(Segments(figures, (), (), None), data, rows)
    # Its threads wait for each other by spinning, and sums would depend on their number.
    with threadpool_limits(1):
        centroids, stability = _centroids(scaled)
    told = _described(figures, centroids, scaled, data.schema)
    order = _by_outcome(centroids, scaled, data.y[rows])
    found = Segments(
        figures,
        tuple(Segment(str(place + 1), told[old]) for place, old in enumerate(order)),
        tuple(tuple(np.round(centroids[old], _DECIMALS).tolist()) for old in order),
        rfm,
    )
    if previous is not None and _readable(previous, data.schema):
        found = _with_former_ids(found, previous, data, rows)
    return FoundSegments(found, stability)


def matrix_of(segments: Segments, data: TrainingSet, rows: Rows) -> npt.NDArray[np.float32]:
    """The rows as a `Segmenter` over `segments.features` reads them."""
    return data.schema.select(segments.features).to_matrix(data.take(rows), segments.words)


def assigned(segments: Segments, data: TrainingSet, rows: Rows) -> npt.NDArray[np.intp]:
    """The place of each row's segment, (n,)."""
    return Segmenter(segments, segments.features).assign(matrix_of(segments, data, rows))


def scaled_rows(segments: Segments, data: TrainingSet, rows: Rows) -> FloatArray:
    """The figures of rows on their scales, (n, figures)."""
    return Segmenter(segments, segments.features).scaled(matrix_of(segments, data, rows))


def _telling_figures(data: TrainingSet, rows: Rows) -> list[Feature]:
    """A few features that go with the outcome, none of which says what another says, from as many pillars as there are.

    How well a feature tells is taken in coarse steps, so that another sample of the same customers chooses the same.
    """
    y = data.y[rows].astype(np.bool_)
    ranks: dict[str, FloatArray] = {}
    steps: dict[str, int] = {}
    categories = data.categories(rows)
    for feature in data.schema:
        column = _numbers(data, feature, rows, categories.get(feature.name, ()))
        if column is None:
            continue
        ranks[feature.name] = rankdata(column)
        steps[feature.name] = round(abs(_auc(ranks[feature.name], y) - 0.5) / _RELEVANCE_STEP)
    pillars = len({feature.pillar for feature in data.schema})
    limited = pillars > 2 or any(name in ranks for name in FIRST)
    chosen: list[Feature] = []
    order = {name: place for place, name in enumerate(FIRST)}
    by_relevance = sorted(
        (f for f in data.schema if f.name in ranks), key=lambda f: (order.get(f.name, len(order)), -steps[f.name])
    )
    for feature in by_relevance:
        full = sum(other.pillar == feature.pillar for other in chosen) >= MOST_OF_A_PILLAR
        if limited and full and feature.name not in order:
            continue
        if all(abs(np.corrcoef(ranks[feature.name], ranks[o.name])[0, 1]) < ALIKE for o in chosen):
            chosen.append(feature)
        if len(chosen) == MOST_FIGURES:
            break
    return sorted(chosen, key=lambda feature: data.schema.names.index(feature.name))


def _numbers(data: TrainingSet, feature: Feature, rows: Rows, words: Sequence[str]) -> FloatArray | None:
    """A feature as numbers, words by their churn rate; None where it is mostly unknown, or nearly constant."""
    column = data.columns[feature.name][rows]
    if feature.dtype is DType.STRING:
        if not 2 <= len(words) <= MOST_WORDS:
            return None
        code = {word: float(place) for place, word in enumerate(words)}
        column = np.array([code.get(word, np.nan) for word in column.tolist()])
    known = column[~np.isnan(column)]
    if len(known) < FEWEST_KNOWN * len(column) or _scale(known) == 0.0:
        return None
    return np.where(np.isnan(column), np.median(known), column)


def _auc(ranks: FloatArray, y: npt.NDArray[np.bool_]) -> float:
    churned = int(y.sum())
    if churned in (0, len(y)):
        return 0.5
    return float((ranks[y].sum() - churned * (churned + 1) / 2) / (churned * (len(y) - churned)))


def _scales(data: TrainingSet, rows: Rows, features: Sequence[Feature]) -> tuple[Figure, ...]:
    """The figures of features, each word of a string feature being one."""
    figures: list[Figure] = []
    categories = data.categories(rows)
    for feature in features:
        column = data.columns[feature.name][rows]
        if feature.dtype is DType.STRING:
            words = categories[feature.name]
            share = {word: sum(other == word for other in column.tolist()) / len(column) for word in words}
            figures += [Figure(feature.name, word, False, round(share[word], _DECIMALS), 1.0) for word in sorted(words)]
            continue
        known = column[~np.isnan(column)]
        # A long tail is drawn in, or else a few who spend most would be all that segments are about.
        is_log = bool(_skewed(known))
        known = np.sign(known) * np.log1p(np.abs(known)) if is_log else known
        centre, scale = float(np.median(known)), _scale(known)
        figures.append(Figure(feature.name, None, is_log, round(centre, _DECIMALS), round(1.0 / scale, _DECIMALS)))
    return tuple(figures)


def _scale(known: FloatArray) -> float:
    """The spread of the middle: a third of the range between the 5th and the 95th percentile, about one deviation."""
    low, high = np.quantile(known, [0.05, 0.95])
    return float(high - low) / 3.0


def _skewed(known: FloatArray) -> bool:
    low, middle, high = np.quantile(known, [0.05, 0.5, 0.95])
    return bool(high - middle > 3.0 * (middle - low))


def _rfm_cuts(data: TrainingSet, rows: Rows) -> RfmCuts | None:
    """Where fifths of those who bought begin; None where purchases and what they brought are not known."""
    if not all(name in data.schema for name in RFM_FIGURES):
        return None
    columns = [data.columns[name][rows] for name in RFM_FIGURES]
    bought = ~np.isnan(columns[0])
    if bought.sum() < FEWEST_ROWS:
        return None
    cuts = [tuple(np.quantile(column[bought], _LEVELS).tolist()) for column in columns]
    return RfmCuts(*cuts)


def _centroids(scaled: FloatArray) -> tuple[FloatArray, float]:
    """As many centroids as come out again on other samples; if no number surely does, the one that does best.

    The number is not searched for freely: it would hop between trainings, and every segment with it.
    """
    rng = np.random.default_rng(_SEED)
    samples = [rng.integers(0, len(scaled), len(scaled)) for _ in range(_SAMPLES)]
    tried: list[tuple[float, FloatArray]] = []
    for size in SIZES:
        whole = _clustered(scaled, size)
        again = [_clustered(scaled[sample], size).predict(scaled) for sample in samples]
        stability = float(np.mean([adjusted_rand_score(whole.labels_, other) for other in again]))
        if np.bincount(whole.labels_, minlength=size).min() >= SMALLEST * len(scaled):
            if stability >= STABLE:
                return whole.cluster_centers_, stability
            tried.append((stability, whole.cluster_centers_))
    if not tried:
        return _clustered(scaled, SIZES[-1]).cluster_centers_, 0.0
    stability, centroids = max(tried, key=lambda one: one[0])
    return centroids, stability


def _clustered(scaled: FloatArray, size: int) -> KMeans:
    return KMeans(size, n_init=10, random_state=_SEED).fit(scaled)


def _nearest(scaled: FloatArray, centroids: FloatArray) -> npt.NDArray[np.intp]:
    return np.asarray(((scaled[:, None, :] - centroids) ** 2).sum(axis=2).argmin(axis=1))


def _by_outcome(centroids: FloatArray, scaled: FloatArray, y: npt.NDArray[np.int8]) -> list[int]:
    """The segments, those who leave most first."""
    label = _nearest(scaled, centroids)
    rate = [float(y[label == place].mean()) if (label == place).any() else 0.0 for place in range(len(centroids))]
    return sorted(range(len(centroids)), key=lambda place: -rate[place])


def _described(
    figures: Sequence[Figure], centroids: FloatArray, scaled: FloatArray, schema: FeatureSchema
) -> list[str]:
    """Per centroid a name of the two figures that set it apart most; of more where two names would be the same."""
    label = _nearest(scaled, centroids)
    means = np.array([scaled[label == place].mean(axis=0) for place in range(len(centroids))])
    spread = np.maximum(scaled.std(axis=0), 1e-9)
    apart = (means - scaled.mean(axis=0)) / spread
    texts: list[list[str]] = []
    for row in apart:
        said: dict[str, str] = {}
        for place in np.argsort(-np.abs(row), kind="stable").tolist():
            figure = figures[place]
            # That a word is rare among them says less than which word is frequent.
            if figure.feature not in said and (figure.word is None or row[place] > 0.0):
                said[figure.feature] = _words(schema[figure.feature], figure, row[place] > 0.0)
        texts.append(list(said.values()))
    names = [", ".join(words[:2]) for words in texts]
    for length in range(3, len(figures) + 1):
        names = [
            ", ".join(words[:length]) if names.count(name) > 1 else name
            for name, words in zip(names, texts, strict=True)
        ]
    return [name if names.count(name) == 1 else f"{name} ({place + 1})" for place, name in enumerate(names)]


def _words(feature: Feature, figure: Figure, is_more: bool) -> str:
    """A figure that is above or below the usual, in the feature's own words: "few days since the last purchase"."""
    if figure.word is not None:
        return feature.say(figure.word)
    subject = feature.subject
    if "…" in subject:
        subject = feature.name.replace("_", " ")
    if feature.unit in ("count", "days") and feature.sentence.startswith("{value}"):
        return f"{'many' if is_more else 'few'} {subject}"
    if feature.sentence.startswith("{value}") and feature.unit not in ("", "share", "ratio"):
        return f"{'much' if is_more else 'little'} {subject}"
    return f"{'high' if is_more else 'low'} {subject}"


def _readable(segments: Segments, schema: FeatureSchema) -> bool:
    words = segments.words
    return all(name in schema and (schema[name].dtype is DType.STRING) == (name in words) for name in segments.features)


def _fits(previous: Segments, data: TrainingSet, rows: Rows) -> bool:
    """Whether the champion's segments still lie about as close to the customers as new ones would."""
    if not _readable(previous, data.schema):
        return False
    segmenter = Segmenter(previous, previous.features)
    matrix = matrix_of(previous, data, rows)
    theirs = float(segmenter.distances(matrix).min(axis=1).mean())
    fresh = _clustered(segmenter.scaled(matrix), len(previous.segments)).inertia_ / len(rows)
    return bool(theirs <= KEPT * fresh + 1e-9)


def _with_former_ids(found: Segments, previous: Segments, data: TrainingSet, rows: Rows) -> Segments:
    """The same segments, each that mostly holds the customers of a former one under that one's id."""
    new, old = assigned(found, data, rows), assigned(previous, data, rows)
    shared = np.zeros((len(found.segments), len(previous.segments)))
    np.add.at(shared, (new, old), 1.0)
    ids: dict[int, str] = {}
    for mine, former in zip(*linear_sum_assignment(-shared), strict=True):
        if shared[mine, former] > 0.5 * shared[mine].sum():
            ids[int(mine)] = previous.segments[former].id
    free = iter(range(1, 10_000))
    taken = {segment.id for segment in previous.segments}
    segments = []
    for place, segment in enumerate(found.segments):
        name = ids.get(place) or next(str(number) for number in free if str(number) not in taken)
        segments.append(Segment(name, segment.name))
    return Segments(found.figures, tuple(segments), found.centroids, found.rfm)
