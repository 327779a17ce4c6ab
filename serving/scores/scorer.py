"""From customers' ids to explained scores: the transport-free core of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from features.errors import UnknownCustomer
from features.schema import Column
from models.arrays import FloatArray
from models.inference.calibration import expit
from models.inference.interval import Interval
from models.scorecard import Band
from models.value.customer_value import CustomerValue
from models.value.segmentation import CustomerSegment
from serving.releases.explanation import Explained
from serving.releases.figures import COVERAGE, HIGH, LOW, within
from serving.releases.reasons import shortest
from serving.releases.release import Release
from serving.scores.customer_features import CustomerFeatures

STALE_FEATURES = "stale_features"
MISSING_FEATURES = "missing_features"
INSUFFICIENT_DATA = "insufficient_data"
DEGRADED_CODES: Mapping[str, str] = {
    STALE_FEATURES: "Features are older than KEEPWELL_STALE_AFTER_DAYS; `freshness` says which.",
    MISSING_FEATURES: "A pillar has no features of this customer; the model saw them as not known.",
    INSUFFICIENT_DATA: "Too little of what is typically known is known of this customer for a health band that is a colour.",
}

TOP_REASONS = 5

# ONNX Runtime adds the leaves up in float32.
_SAME_RISK_FLOAT32 = 1e-6


class Explain(StrEnum):
    """How much of the explanation is wanted."""

    TOP = "top"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Reason:
    """One feature's part in the health score, in points."""

    feature: str
    value: float | str | None
    typical: float | str | None
    pillar: str
    points: float
    text: str


@dataclass(frozen=True, slots=True)
class PillarPoints:
    """The points of one pillar's features together."""

    pillar: str
    points: float


@dataclass(frozen=True, slots=True)
class Change:
    """How health moved since an earlier snapshot, both scored by the same model."""

    since: datetime
    points: float
    clamped: float
    pillars: tuple[PillarPoints, ...]


@dataclass(frozen=True, slots=True)
class Horizon:
    """The probability of churn within some days."""

    days: int
    probability: float


@dataclass(frozen=True, slots=True)
class Freshness:
    """The moment that a pillar's features describe; None where the store has none of this customer."""

    pillar: str
    feature_timestamp: datetime | None
    age_days: float | None


@dataclass(frozen=True, slots=True)
class CustomerScore:
    """All that is known of one customer's risk and health at a moment, from one release.

    `pillars` and `reasons` are None where no explanation was asked for; `change` is None there, and where there is no
    earlier snapshot of this customer.
    """

    customer_id: str
    probability: float
    horizon_days: int
    percentile: float
    interval: Interval | None
    """Of the probability; None where the model does not tell."""
    horizons: tuple[Horizon, ...] | None
    """By rising days; None for a table, or where the model does not tell."""
    score: float
    band: Band
    base: float
    clamped: float
    figures: Mapping[str, float]
    """The release's figures by name, what `interval` and `horizons` hold among them; what it does not tell is absent."""
    pillars: tuple[PillarPoints, ...] | None
    change: Change | None
    reasons: tuple[Reason, ...] | None
    explain: Explain
    model_version: str
    scorecard_version: str
    feature_timestamp: datetime | None
    """Of the oldest pillar's features."""
    freshness: tuple[Freshness, ...]
    degraded: tuple[str, ...]
    scored_at: datetime
    value: CustomerValue | None
    segment: CustomerSegment | None
    features: CustomerFeatures
    """All raw features of the build, those that only decisions use among them."""


def _now() -> datetime:
    return datetime.now(UTC)


class Scorer:
    """Scores customers by one release; it may be called from several threads."""

    def __init__(self, release: Release, clock: Callable[[], datetime] = _now) -> None:
        self.release = release
        self._clock = clock

    def score(
        self, customer_ids: Sequence[str], explain: Explain = Explain.TOP
    ) -> list[CustomerScore | UnknownCustomer]:
        """One score per id, in order; whom the store does not know comes as `UnknownCustomer`.

        Raises:
            StoreUnavailable: the feature store does not answer; nobody is scored then.
        """
        release = self.release
        wanted = list(dict.fromkeys(customer_ids))
        categories = release.bundle.categories
        rows = release.store.read(wanted)
        unknown = set(rows.unknown)
        matrix = rows.matrix(release.schema, categories)
        before: NDArray[np.float32] | None = None
        known_before: list[bool] = []
        if explain is not Explain.NONE and release.generation.before is not None:
            rows_before = release.store.read(wanted, "before")
            before = rows_before.matrix(release.schema, categories)
            unknown_before = set(rows_before.unknown)
            known_before = [customer_id not in unknown_before for customer_id in wanted]
        timestamps = {name: rows.feature_timestamps[name] for name in release.pillars}
        scores = self._score(wanted, rows.columns, matrix, timestamps, explain, before, known_before)
        by_id: dict[str, CustomerScore | UnknownCustomer] = {
            score.customer_id: UnknownCustomer((score.customer_id,)) if score.customer_id in unknown else score
            for score in scores
        }
        return [by_id[customer_id] for customer_id in customer_ids]

    def score_rows(
        self,
        customer_ids: Sequence[str],
        columns: Mapping[str, Column],
        explain: Explain = Explain.TOP,
        feature_timestamp: datetime | None = None,
    ) -> list[CustomerScore]:
        """Scores of rows that the caller brought, with raw values as `columns`; there is no earlier snapshot of them.

        Raises:
            SchemaMismatch: a column that the model reads is missing, or holds a word where a number belongs.
        """
        moments = [feature_timestamp or self._clock()] * len(customer_ids)
        matrix = self.release.schema.to_matrix(columns, self.release.bundle.categories)
        timestamps = dict.fromkeys(self.release.pillars, moments)
        return self._score(list(customer_ids), columns, matrix, timestamps, explain, None, [])

    def _score(
        self,
        customer_ids: list[str],
        columns: Mapping[str, Column],
        matrix: NDArray[np.float32],
        timestamps: Mapping[str, Sequence[datetime | None]],
        explain: Explain,
        before: NDArray[np.float32] | None,
        known_before: Sequence[bool],
    ) -> list[CustomerScore]:
        release = self.release
        if not customer_ids:
            return []
        now = self._clock()
        n = len(customer_ids)
        parts: Explained | None = None
        earlier: Explained | None = None
        order: NDArray[np.intp] | None = None
        if explain is Explain.NONE:
            log_odds = release.bundle.calibration.log_odds(release.predictor.margins(matrix))
            probability = expit(log_odds)
            unclamped = release.scorecard.unclamped(log_odds)
            score = np.clip(unclamped, 0.0, 100.0)
            clamped = score - unclamped
        else:
            if before is None:
                parts = release.explain(matrix)
            else:
                # One call for both moments: most of a call's cost does not depend on its rows.
                both = release.explain(np.concatenate([matrix, before]))
                parts, earlier = both.rows(slice(0, n)), both.rows(slice(n, None))
            log_odds, probability, score, clamped = parts.log_odds, parts.probability, parts.score, parts.clamped
            order = release.reasons.largest(
                parts.points, TOP_REASONS if explain is Explain.TOP else len(release.schema)
            )
        percentile = self._percentile(probability, explain)
        told = release.figures.of(probability, log_odds, matrix)
        by_row = zip(*(column.tolist() for column in told.values()), strict=True) if told else repeat((), n)
        values = release.values.of(
            release.values.figures(columns, n), matrix, probability, lambda row: CustomerFeatures(columns, row)
        )
        results: list[CustomerScore] = []
        for row, (customer_id, of_row) in enumerate(zip(customer_ids, by_row, strict=True)):
            freshness = self._freshness(timestamps, row, now)
            figures = dict(zip(told, of_row, strict=True))
            band = release.band(float(score[row]), figures.get(COVERAGE))
            change = None
            if parts is not None and earlier is not None and known_before[row]:
                change = self._change(parts, earlier, row)
            results.append(
                CustomerScore(
                    customer_id=customer_id,
                    probability=float(probability[row]),
                    horizon_days=release.bundle.horizon_days,
                    percentile=float(percentile[row]),
                    interval=_interval(figures),
                    horizons=_horizons(figures, release.figures.uncertainty.days),
                    score=float(score[row]),
                    band=band,
                    base=release.base,
                    clamped=float(clamped[row]),
                    figures=figures,
                    pillars=None if parts is None else ranked_pillars(release.pillars, parts.pillars[row]),
                    change=change,
                    reasons=None
                    if parts is None or order is None
                    else self._reasons(columns, row, parts.points[row], order[row]),
                    explain=explain,
                    model_version=release.model_version,
                    scorecard_version=release.scorecard.version,
                    feature_timestamp=_oldest(freshness),
                    freshness=freshness,
                    degraded=self._degraded(freshness, now, band),
                    scored_at=now,
                    value=values.value(row),
                    segment=values.segments[row],
                    features=CustomerFeatures(columns, row),
                )
            )
        return results

    def _percentile(self, probability: FloatArray, explain: Explain) -> FloatArray:
        """The share of the current population with a lower risk."""
        population = self.release.population
        tolerance = _SAME_RISK_FLOAT32 if explain is Explain.NONE else 0.0
        lower = population.searchsorted(probability - tolerance, side="left")
        return np.asarray(lower / max(1, population.size), dtype=np.float64)

    def _reasons(
        self, columns: Mapping[str, Column], row: int, points: FloatArray, order: NDArray[np.intp]
    ) -> tuple[Reason, ...]:
        features, sentences = self.release.schema.features, self.release.reasons
        reasons: list[Reason] = []
        for column, of_feature in zip(order.tolist(), points.take(order).tolist(), strict=True):
            feature = features[column]
            value = shortest(columns[feature.name][row])
            reasons.append(
                Reason(
                    feature=feature.name,
                    value=value,
                    typical=sentences.typical[column],
                    pillar=feature.pillar,
                    points=of_feature,
                    text=sentences.sentence(column, value),
                )
            )
        return tuple(reasons)

    def _change(self, now: Explained, before: Explained, row: int) -> Change:
        since = self.release.generation.before
        assert since is not None
        moved = ranked_pillars(self.release.pillars, now.pillars[row] - before.pillars[row])
        return Change(
            since=since,
            points=float(now.score[row] - before.score[row]),
            clamped=float(now.clamped[row] - before.clamped[row]),
            pillars=tuple(pillar for pillar in moved if pillar.points != 0.0),
        )

    def _freshness(
        self, timestamps: Mapping[str, Sequence[datetime | None]], row: int, now: datetime
    ) -> tuple[Freshness, ...]:
        ages: dict[datetime | None, float | None] = {None: None}
        freshness = []
        for pillar in self.release.pillars:
            moment = timestamps[pillar][row]
            if moment is not None and moment not in ages:
                ages[moment] = max(0.0, (now - moment).total_seconds() / 86_400)
            freshness.append(Freshness(pillar, moment, ages[moment]))
        return tuple(freshness)

    def _degraded(self, freshness: tuple[Freshness, ...], now: datetime, band: Band) -> tuple[str, ...]:
        moments = {item.feature_timestamp for item in freshness}
        codes = []
        if any(moment is not None and now - moment > self.release.stale_after for moment in moments):
            codes.append(STALE_FEATURES)
        if None in moments:
            codes.append(MISSING_FEATURES)
        if band is Band.INSUFFICIENT_DATA:
            codes.append(INSUFFICIENT_DATA)
        return tuple(codes)


def ranked_pillars(names: Sequence[str], points: FloatArray) -> tuple[PillarPoints, ...]:
    """The pillars by falling |points|, ties by name."""
    named = [PillarPoints(name, value) for name, value in zip(names, points.tolist(), strict=True)]
    return tuple(sorted(named, key=lambda pillar: (-abs(pillar.points), pillar.pillar)))


def _interval(figures: Mapping[str, float]) -> Interval | None:
    return Interval(figures[LOW], figures[HIGH]) if LOW in figures else None


def _horizons(figures: Mapping[str, float], days: Sequence[int]) -> tuple[Horizon, ...] | None:
    return tuple(Horizon(at, figures[within(at)]) for at in days) or None


def _oldest(freshness: Sequence[Freshness]) -> datetime | None:
    return min((item.feature_timestamp for item in freshness if item.feature_timestamp is not None), default=None)


def score_as_of_now(scorer: Scorer, customer_ids: Sequence[str]) -> list[CustomerScore | UnknownCustomer]:
    """Explained scores of these customers, in order, without the change since last month, which rows do not show.

    Raises:
        StoreUnavailable: the feature store does not answer; nobody is scored then.
    """
    wanted = list(dict.fromkeys(customer_ids))
    read = scorer.release.store.read(wanted)
    unknown = set(read.unknown)
    pillars = [read.feature_timestamps[name] for name in scorer.release.pillars]
    results: dict[str, CustomerScore | UnknownCustomer] = {}
    for position, score in enumerate(scorer.score_rows(wanted, read.columns, Explain.TOP)):
        if score.customer_id in unknown:
            results[score.customer_id] = UnknownCustomer((score.customer_id,))
            continue
        moments = [moment for moment in (pillar[position] for pillar in pillars) if moment is not None]
        results[score.customer_id] = replace(score, feature_timestamp=min(moments, default=None))
    return [results[customer_id] for customer_id in customer_ids]
