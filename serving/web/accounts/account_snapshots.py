"""Editions: all that the pages show and sort of everybody, written once per release so that no page waits for a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, false, func, insert, select, update

from features.config.business import Business
from features.generation import Generation
from features.schema import DType
from models.arrays import FloatArray
from models.inference.calibration import expit
from models.scorecard import Band
from models.value.segmentation import CustomerSegment
from serving.current_scores.database_table import current_scores
from serving.decisions.playbook import Playbook
from serving.platform.database import Database
from serving.platform.tables import accounts, editions
from serving.releases.reasons import shortest
from serving.releases.release import Release
from serving.scores.customer_features import CustomerFeatures
from serving.web.accounts.feature_history import Snapshot, population_at, trend_moments
from serving.web.accounts.outcomes import last_quarter, survey_months, who_left
from serving.web.formatting import sentence

FORMAT = "v3"
"""Of rows and figures; another one makes editions of the old outdated, as if they were of another release."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_CHUNK = 2000
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Edition:
    """Which edition stands: its number, its release, and the figures that belong to all of its accounts.

    `figures` are plain JSON: `business`, `currency` and whether accounts are `valued`, `subjects` what each feature is
    about, `trend` the moments of each account's `trend` (RFC 3339), `compared_with` the one of its
    `band_before`, `quantiles` of the numeric features at `QUANTILES`, and `team` what the team page adds up by owner.
    """

    number: int
    release: str
    as_of: datetime
    completed_at: datetime
    figures: Mapping[str, Any]

    @property
    def generation(self) -> str:
        """The id of its build, which sorts by time."""
        return self.release.partition("/")[0]


@dataclass(frozen=True, slots=True)
class _Person:
    name: str | None
    owner: str | None
    segment: str | None


class Editions:
    """The editions of one database; `write` is called by one process of a home at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest: Edition | None = None

    def is_current(self, release_key: str) -> bool:
        """Whether the newest complete edition is of this release."""
        with self._database.read() as connection:
            newest = self.newest(connection)
        return newest is not None and newest.release == _key(release_key)

    def newest(self, connection: Connection) -> Edition | None:
        """The newest complete edition, as the caller's transaction sees it; None before the first."""
        number = connection.scalar(
            select(func.max(editions.c.edition)).where(
                editions.c.completed_at.is_not(None), editions.c.release.endswith(_key(""), autoescape=True)
            )
        )
        if number is None:
            return None
        known = self._newest
        if known is None or known.number != number:
            row = connection.execute(select(editions).where(editions.c.edition == number)).one()
            known = self._newest = Edition(row.edition, row.release, row.as_of, row.completed_at, row.figures)
        return known

    def write(self, release: Release) -> int:
        """Write the edition of a release, some accounts at a time so that no writer waits for long; then it stands.

        Earlier editions go after it stands; one that was never completed, by a kill, goes with them.

        Returns:
            how many accounts it has.
        """
        generation = release.generation
        moments = trend_moments(generation)
        past = [_scores_at(release, population_at(release, moment)) for moment in moments]
        before = _week_before(generation.as_of, moments)
        people = _people(generation)
        business = Business.of(generation)
        figures = {
            "business": business.name,
            "currency": None if business.value is None else business.currency,
            "valued": business.value is not None,
            "subjects": {feature.name: feature.subject for feature in release.schema},
            "trend": [moment.isoformat() for moment in moments],
            "compared_with": None if before is None else moments[before].isoformat(),
            "quantiles": _quantiles(release, population_at(release, generation.as_of)),
            "team": _team(release, people),
        }
        with self._database.begin() as connection:
            self._database.lock(connection, "editions")
            number = (connection.scalar(select(func.max(editions.c.edition))) or 0) + 1
            connection.execute(
                insert(editions).values(
                    edition=number,
                    release=_key(release.key),
                    begun_at=datetime.now(UTC),
                    as_of=generation.as_of,
                    figures=figures,
                )
            )
        written = 0
        for rows in self._rows(release, people, past, before):
            with self._database.begin() as connection:
                connection.execute(insert(accounts), [{"edition": number, **row} for row in rows])
            written += len(rows)
        with self._database.begin() as connection:
            connection.execute(
                update(editions).where(editions.c.edition == number).values(completed_at=datetime.now(UTC))
            )
        for table in (accounts, editions):
            with self._database.begin() as connection:
                connection.execute(delete(table).where(table.c.edition < number))
        return written

    def _rows(
        self, release: Release, people: Mapping[str, _Person], past: Sequence[Mapping[str, float]], before: int | None
    ) -> Iterator[list[dict[str, Any]]]:
        """The accounts of everybody who has a current score, some at a time, as rows without their edition."""
        at_stake = Playbook.of_release(release).at_stake
        nobody = _Person(None, None, None)
        # The business's own segments, plans, are what its people speak of; found ones stand in where there are none.
        has_own = any(person.segment for person in people.values())
        with self._database.read() as connection:
            found = connection.execute(
                select(current_scores.c.customer_id, current_scores.c.action)
                .where(current_scores.c.deleted == false())
                .order_by(current_scores.c.customer_id)
            ).all()
        for start in range(0, len(found), _CHUNK):
            chunk = found[start : start + _CHUNK]
            read = release.store.read([row.customer_id for row in chunk])
            unknown = set(read.unknown)
            matrix = read.matrix(release.schema, release.bundle.categories)
            points, probability = _explained(release, matrix)
            coverage = release.figures.coverage(matrix)
            values = release.values
            segments = values.segments(values.figures(read.columns, len(chunk)))
            score = np.clip(release.base + points.sum(axis=1), 0.0, 100.0)
            rows = []
            for position, (customer_id, action) in enumerate(chunk):
                if customer_id in unknown:
                    # The scores have gone on to the next build, which gets an edition of its own.
                    continue
                band = release.band(float(score[position]), None if coverage is None else float(coverage[position]))
                column = top_reason(points[position], band)
                feature = release.schema.features[column]
                person = people.get(customer_id, nobody)
                value = None
                if at_stake is not None:
                    value = at_stake.evaluate(CustomerFeatures(read.columns, position))
                risk = float(probability[position])
                earlier = None if before is None else past[before].get(customer_id)
                rows.append(
                    {
                        "customer_id": customer_id,
                        "name": person.name or customer_id,
                        "owner": person.owner,
                        "segment": person.segment if has_own else _name_of(segments[position]),
                        "probability": risk,
                        "score": float(score[position]),
                        "band": band.value,
                        "band_before": None if earlier is None else release.scorecard.band(earlier).value,
                        "change": None if earlier is None else float(score[position]) - earlier,
                        "trend": [_rounded(scores.get(customer_id)) for scores in past],
                        "value_at_stake": value,
                        # Without a value, what is at stake is the customer.
                        "value_at_risk": risk if at_stake is None else risk * max(0.0, value or 0.0),
                        "reason": sentence(
                            release.reasons.sentence(column, shortest(read.columns[feature.name][position])),
                            feature.name,
                        ),
                        "reason_feature": feature.name,
                        "action": action,
                        "searched": f"{person.name or ''} {customer_id}".casefold(),
                    }
                )
            yield rows


def _name_of(segment: CustomerSegment | None) -> str | None:
    return None if segment is None else segment.name


def _key(release_key: str) -> str:
    return f"{release_key} {FORMAT}"


def top_reason(points: FloatArray, band: Band) -> int:
    """The column that a person asks about first: what holds a green score up, or pulls another down most.

    Args:
        points: (d,) of one customer.
    """
    return int(np.argmax(points) if band is Band.GREEN else np.argmin(points))


def _explained(release: Release, matrix: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Points (n, d) and probabilities (n,) of the served model, from one margin."""
    contributions = release.explainer.contributions(matrix)
    calibration = release.bundle.calibration
    points = release.scorecard.points(contributions[:, :-1], calibration)
    return points, expit(calibration.log_odds(contributions.sum(axis=1)))


def _scores_at(release: Release, snapshot: Snapshot) -> dict[str, float]:
    """Everybody's health at a past moment, by the model of today: a trend without a step where models changed."""
    if not snapshot.customer_ids:
        return {}
    log_odds = release.bundle.calibration.log_odds(release.predictor.margins(snapshot.matrix))
    scores = np.clip(release.scorecard.unclamped(log_odds), 0.0, 100.0)
    return dict(zip(snapshot.customer_ids, scores.tolist(), strict=True))


def _week_before(as_of: datetime, moments: Sequence[datetime]) -> int | None:
    """The newest moment that is at least a week old."""
    return max((place for place, moment in enumerate(moments) if as_of - moment >= _WEEK), default=None)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 1)


def _people(generation: Generation) -> dict[str, _Person]:
    """Names, owners and segments, as far as the business tells them; its own segments are its plans."""
    names = pq.read_schema(generation.customers_file).names if generation.customers_file.exists() else []
    told = [name for name in ("name", "owner", "plan") if name in names]
    if not told or generation.kind != "events":
        return {}
    table = pq.read_table(generation.customers_file, columns=["customer_id", *told])
    columns = {name: table.column(name).to_pylist() for name in told}
    nothing: list[str | None] = [None] * table.num_rows
    rows = zip(
        table.column("customer_id").to_pylist(),
        columns.get("name", nothing),
        columns.get("owner", nothing),
        columns.get("plan", nothing),
        strict=True,
    )
    return {customer_id: _Person(name or None, owner or None, plan or None) for customer_id, name, owner, plan in rows}


def _quantiles(release: Release, snapshot: Snapshot) -> dict[str, list[float]]:
    """Of each numeric feature, the figures at `QUANTILES` among those who have one."""
    found: dict[str, list[float]] = {}
    for column, feature in enumerate(release.schema):
        values = snapshot.matrix[:, column]
        values = values[~np.isnan(values)]
        if feature.dtype is DType.FLOAT and values.size:
            found[feature.name] = [float(value) for value in np.quantile(values.astype(np.float64), QUANTILES)]
    return found


def _team(release: Release, people: Mapping[str, _Person]) -> dict[str, Any]:
    """What the team page adds up by owner: survey answers, and what became of those who were called red."""
    generation = release.generation
    if generation.kind != "events" or not generation.event_parts:
        return {"surveys": [], "looked_back": None}
    surveys = [asdict(month) for month in survey_months(generation)]
    cutoff = last_quarter(generation)
    snapshot = None if cutoff is None else population_at(release, cutoff)
    if cutoff is None or snapshot is None or not snapshot.customer_ids:
        return {"surveys": surveys, "looked_back": None}
    points, _ = _explained(release, snapshot.matrix)
    scores = np.clip(release.base + points.sum(axis=1), 0.0, 100.0)
    left = who_left(generation, cutoff, snapshot.customer_ids)
    called: Counter[tuple[str | None, str, bool]] = Counter()
    reasons: Counter[tuple[str | None, str]] = Counter()
    for position, customer_id in enumerate(snapshot.customer_ids):
        person = people.get(customer_id)
        owner = None if person is None else person.owner
        called[owner, release.scorecard.band(float(scores[position])).value, customer_id in left] += 1
        if customer_id in left:
            reasons[owner, release.schema.features[int(np.argmin(points[position]))].name] += 1
    return {
        "surveys": surveys,
        "looked_back": {
            "cutoff": cutoff.isoformat(),
            "until": (cutoff + timedelta(days=generation.horizon_days)).isoformat(),
            "called": [
                {"owner": owner, "band": band, "left": gone, "n": n} for (owner, band, gone), n in called.items()
            ],
            "reasons": [{"owner": owner, "feature": feature, "n": n} for (owner, feature), n in reasons.items()],
        },
    }
