"""One customer's explained score as JSON, with all that does not depend on the customer written beforehand."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import orjson
from cachetools import LRUCache
from numpy.typing import NDArray

from features.errors import UnknownCustomer
from features.schema import Value
from features.store.codec import times_of, to_moment
from features.store.matrix_plan import PackedRow
from features.store.row_encoder import CustomerRow
from models.scorecard import Band
from models.value.segmentation import CustomerSegment
from serving.api.responses import dump
from serving.releases.figures import COVERAGE, HIGH, LOW, within
from serving.releases.reasons import shortest
from serving.releases.release import Release
from serving.scores.schemas import CHURN_FIGURES, SCORE_FIGURES
from serving.scores.scorer import (
    INSUFFICIENT_DATA,
    MISSING_FEATURES,
    STALE_FEATURES,
    TOP_REASONS,
    PillarPoints,
    ranked_pillars,
)

_DAY = 86_400_000_000
_MOST_MOMENTS = 1_000
_OBJECT = 64
"""Bytes that Python takes for an object of bytes beside its content, and for its place in a tuple."""
_DEGRADED = {
    found: (codes, orjson.dumps(codes))
    for found in itertools.product((False, True), repeat=3)
    for codes in (tuple(itertools.compress((STALE_FEATURES, MISSING_FEATURES, INSUFFICIENT_DATA), found)),)
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """One customer's answer up to `degraded`, as it stays until his rows change."""

    stored: PackedRow
    """The rows that it was made of."""
    texts: tuple[bytes, ...]
    """Between each and the next goes an age in days."""
    gaps: tuple[int, ...]
    """The moments of these ages."""
    lacks: bool
    """Whether a pillar has no features."""
    is_insufficient: bool
    """Whether too little is known for a colour."""

    @property
    def size(self) -> int:
        """Bytes of memory."""
        held = [*self.texts, *(row for row in self.stored if row is not None)]
        return sum(map(len, held)) + _OBJECT * (len(held) + 8)


class _Figures(Mapping[str, Value]):
    """The raw figures that one customer's value is made of, by name."""

    def __init__(
        self, row: CustomerRow, rows: PackedRow, filled: NDArray[np.float32], places: Mapping[str, int]
    ) -> None:
        self._row, self._rows, self._filled, self._places = row, rows, filled, places

    def __getitem__(self, name: str) -> Value:
        return self._row.value(self._rows, self._filled, self._places[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class ScoreTemplate:
    """What a release answers about one customer, to the byte as `score_json` writes the `Scorer`'s score with `top`.

    It may be used by one thread at a time.

    Args:
        remembers: bytes of answers that are kept for those who are asked for again.
        count: told of each answer whether it was remembered.
        note: told of each answer that was made: customer, probability, score, versions of model and scorecard.
    """

    def __init__(
        self,
        release: Release,
        remembers: int = 0,
        count: Callable[[bool], None] = lambda _: None,
        note: Callable[[str, float, float, str, str], None] = lambda *_: None,
    ) -> None:
        self.release = release
        self._remembered: LRUCache[str, _Answer] = LRUCache(remembers, getsizeof=attrgetter("size"))
        self._count = count
        self._note = note
        schema, built = release.schema, release.generation.schema
        self._row = release.store.customer_row(schema, release.bundle.categories)
        views = [pillar.name for pillar in built.pillars]
        self._views = tuple(views.index(name) for name in release.pillars)
        self._stale_after = round(release.stale_after.total_seconds() * 1e6)
        self._moments: dict[int, bytes] = {}
        before = release.generation.before
        self._since = None if before is None else dump(before)
        # Both moments go through the model in one call: most of a call's cost does not depend on its rows.
        self._matrix: NDArray[np.float32] = np.empty((1 if before is None else 2, len(schema)), dtype=np.float32)
        self._horizon = b',"horizon_days":%d,"percentile":' % release.bundle.horizon_days
        uncertainty = release.figures.uncertainty
        self._has_interval = uncertainty.has_interval
        self._within = tuple(b'{"days":%d,"probability":' % days for days in uncertainty.days)
        self._told = (
            *((LOW, HIGH) if uncertainty.has_interval else ()), *map(within, uncertainty.days),
            *CHURN_FIGURES,
        )  # fmt: skip
        self._in_churn = tuple(b',"%b":' % name.encode() for name in CHURN_FIGURES)
        self._in_score = tuple(b',"%b":' % name.encode() for name in SCORE_FIGURES)
        self._base = b',"base":' + dump(release.base) + b',"clamped":'
        self._pillars = {name: b'{"pillar":%b,"points":' % dump(name) for name in release.pillars}
        self._fresh = tuple(b'{"pillar":%b,"feature_timestamp":' % dump(name) for name in release.pillars)
        self._reasons = tuple(
            (b'{"feature":%b,"value":' % dump(feature.name),
             b',"typical":%b,"pillar":%b,"points":' % (dump(typical), dump(feature.pillar)))
            for feature, typical in zip(schema, release.reasons.typical, strict=True)
        )  # fmt: skip
        values = release.values
        self._value_row = release.store.customer_row(values.schema, values.categories)
        self._figures: NDArray[np.float32] = np.empty((1, len(values.schema)), dtype=np.float32)
        self._segments: dict[CustomerSegment | None, bytes] = {None: b"null"}
        self._version = b',"model_version":%b,"scorecard_version":%b,"feature_timestamp":' % (
            dump(release.model_version), dump(release.scorecard.version)
        )  # fmt: skip
        self._bands = {band: b',"band":"%b"' % band.value.encode() for band in Band}

    def answer(self, customer_id: str, request_id: str) -> tuple[bytes, tuple[str, ...]]:
        """The body, and the codes of what it had to do without.

        An answer that is remembered is given again only while the customer's stored rows are what it was made of, to the
        byte; nothing but the age of the features is another then.

        Raises:
            UnknownCustomer: the store has no row of this customer.
            StoreUnavailable: the store does not answer.
        """
        store = self.release.store
        stored = store.stored(customer_id)
        try:
            # `get` would look for the key first, which is as much work again.
            known = self._remembered[customer_id]
        except KeyError:
            known = None
        if known is None or known.stored != stored or store.expires:
            known = self._make(customer_id, stored)
            if known.size <= self._remembered.maxsize:
                self._remembered[customer_id] = known
            self._count(False)
        else:
            self._count(True)
        return self._dated(known, request_id)

    def _make(self, customer_id: str, stored: PackedRow) -> _Answer:
        release, matrix = self.release, self._matrix
        rows, before = release.store.checked(stored)
        if not any(rows):
            raise UnknownCustomer((customer_id,))
        self._row.fill(rows, matrix[0])
        if self._since is not None:
            self._row.fill(before, matrix[1])
        parts = release.explain(matrix)
        score, clamped = parts.score.tolist(), parts.clamped.tolist()
        percentile = int(release.population.searchsorted(parts.probability[0])) / max(1, release.population.size)
        self._note(customer_id, float(parts.probability[0]), score[0], release.model_version, release.scorecard.version)
        columns = release.reasons.largest(parts.points[:1], TOP_REASONS)[0].tolist()
        pillars = ranked_pillars(release.pillars, parts.pillars[0])
        probability = parts.probability.item(0)
        told = release.figures.of_one(probability, parts.log_odds.item(0), matrix[:1])
        band = release.band(score[0], told.get(COVERAGE))
        figures = [probability, percentile, *map(told.get, self._told), score[0], clamped[0]]
        figures += [pillar.points for pillar in pillars]
        figures += parts.points[0].take(columns).tolist()
        moved: tuple[PillarPoints, ...] = ()
        if any(before):
            differences = ranked_pillars(release.pillars, parts.pillars[0] - parts.pillars[1])
            moved = tuple(pillar for pillar in differences if pillar.points != 0.0)
            figures += [score[0] - score[1], clamped[0] - clamped[1], *(pillar.points for pillar in moved)]
        figures += map(told.get, SCORE_FIGURES)
        # One call writes all figures; no figure holds a comma.
        written = iter(orjson.dumps(figures)[1:-1].split(b","))
        body = [
            b'{"customer_id":', orjson.dumps(customer_id), b',"churn":{"probability":', next(written), self._horizon,
            next(written), *self._uncertainty(written), b'},"health":{"score":', next(written), self._bands[band],
            self._base, next(written), b',"pillars":', self._points(pillars, written), b',"change":',
        ]  # fmt: skip
        reasons = [self._reason(rows, column, next(written)) for column in columns]
        if any(before):
            assert self._since is not None
            body += [b'{"since":', self._since, b',"points":', next(written), b',"clamped":', next(written)]
            body += [b',"pillars":', self._points(moved, written), b"}"]
        else:
            body.append(b"null")
        body += [b'},"reasons":[', b",".join(reasons), b'],"value":', *self._value(rows, parts.probability.item(0))]
        body.append(self._version)
        at_the_end = b"".join([head + next(written) for head in self._in_score])
        return self._with_freshness(stored, b"".join(body), rows, at_the_end, band)

    def _uncertainty(self, written: Iterator[bytes]) -> list[bytes]:
        """How sure the probability is, and when they leave."""
        parts = [b',"interval":']
        if self._has_interval:
            parts += [b'{"low":', next(written), b',"high":', next(written), b"}"]
        else:
            parts.append(b"null")
        if not self._within:
            parts.append(b',"horizons":null')
        else:
            parts += [b',"horizons":[', b",".join([head + next(written) + b"}" for head in self._within]), b"]"]
        return parts + [head + next(written) for head in self._in_churn]

    def _points(self, pillars: Sequence[PillarPoints], written: Iterator[bytes]) -> bytes:
        return b"[%b]" % b",".join([self._pillars[pillar.pillar] + next(written) + b"}" for pillar in pillars])

    def _value(self, rows: PackedRow, probability: float) -> list[bytes]:
        """The value of the customer, and the segment."""
        values, figures, row = self.release.values, self._figures, self._value_row
        if len(values.schema):
            row.fill(rows, figures[0])
        value, segment = values.of_one(
            figures[0], self._matrix[:1], probability, lambda: _Figures(row, rows, figures[0], values.places)
        )
        written = self._segments.get(segment)
        if written is None:
            written = self._segments[segment] = dump(segment)
        if value is None:
            return [b'null,"segment":', written]
        money = b'{"next_12_months":%b,"at_risk":%b,"method":' % (
            orjson.dumps(value.next_12_months),
            orjson.dumps(value.at_risk),
        )
        return [money, dump(value.method), b'},"segment":', written]

    def _reason(self, rows: PackedRow, column: int, points: bytes) -> bytes:
        value = shortest(self._row.value(rows, self._matrix[0], column))
        text = self.release.reasons.sentence(column, value)
        head, middle = self._reasons[column]
        return b"".join([head, orjson.dumps(value), middle, points, b',"text":', orjson.dumps(text), b"}"])

    def _with_freshness(self, stored: PackedRow, body: bytes, rows: PackedRow, figures: bytes, band: Band) -> _Answer:
        """The body up to `degraded`, cut where an age goes: the oldest moment, and each pillar's with its age."""
        found = [rows[view] for view in self._views]
        moments = [None if row is None else times_of(row)[0] for row in found]
        gaps = tuple(moment for moment in moments if moment is not None)
        oldest = min(gaps, default=None)
        texts, text = [], body + (b"null" if oldest is None else self._moment(oldest)) + b',"freshness":['
        for position, (head, moment) in enumerate(zip(self._fresh, moments, strict=True)):
            text += (b"," if position else b"") + head
            if moment is None:
                text += b'null,"age_days":null}'
                continue
            texts.append(text + self._moment(moment) + b',"age_days":')
            text = b"}"
        texts.append(text + b"]" + figures + b',"degraded":')
        return _Answer(stored, tuple(texts), gaps, len(gaps) < len(moments), band is Band.INSUFFICIENT_DATA)

    def _dated(self, known: _Answer, request_id: str) -> tuple[bytes, tuple[str, ...]]:
        """The answer as of now."""
        now = time.time_ns() // 1000
        ages = {moment: orjson.dumps(max(0.0, (now - moment) / _DAY)) for moment in set(known.gaps)}
        stale = bool(ages) and now - min(ages) > self._stale_after
        codes, written = _DEGRADED[stale, known.lacks, known.is_insufficient]
        if len(ages) == 1:
            (age,) = ages.values()
            body = age.join(known.texts)
        else:
            filled = [text + ages[moment] for text, moment in zip(known.texts, known.gaps, strict=False)]
            body = b"".join([*filled, known.texts[-1]])
        return b'%b%b,"request_id":%b}' % (body, written, orjson.dumps(request_id)), codes

    def _moment(self, moment: int) -> bytes:
        written = self._moments.get(moment)
        if written is None:
            if len(self._moments) > _MOST_MOMENTS:
                self._moments.clear()
            written = self._moments[moment] = dump(to_moment(moment))
        return written
