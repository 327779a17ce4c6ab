"""The event log that features are read from: canonical events and customers in DuckDB, and what they hold."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ibis

from features.config.business import Business, EventsData
from features.config.data import SURVEYS
from features.config.suggestions import near_matches
from features.errors import ConfigError, IngestError
from features.generation import event_files, evidence_files
from features.ingestion.cells.casts import literal
from features.pillars import adoption, commercial, engagement, other, relationship, sentiment, support
from features.pillars.data_profile import FED_BY, PROPERTIES, SUBSCRIPTION, Cap, DataProfile
from features.pillars.exact_sum import HUGE
from features.schema import DType, Feature, FeatureSchema, Pillar

HELD_ROWS = 300_000
"""A log of at most so many events is held in memory."""
MEMORY = "3GB"
"""What DuckDB may take; beyond it, aggregates spill to disk."""
SPILL = ".spill"

_OF_A_TYPE: Final = re.compile(r"[0-9a-z_]+_((days_)?\d+d|recency_days|trend|gap_ratio)|customer .+|other_age_days")
"""Features of event types that no pillar knows, and of attributes that are named as others are."""

CUSTOMER_COLUMNS = ("customer_id", "created_at", "name", "owner", "plan", "mrr")


@dataclass(frozen=True, slots=True)
class EventLog:
    """Canonical events and customers in DuckDB, and what they hold.

    `events` has one row per event: customer_id, type, value, `occurred` and `received` in microseconds since 1970,
    `new_day`, and one column for each of `PROPERTIES`; see `event_files`.
    """

    connection: Any
    events: Any
    customers: Any | None
    evidence: DataProfile
    rows: int
    people: int
    """How many customers there are, nearly."""
    huge: bool
    """Whether some value is too large to be added as others are; see `exact_sum`."""
    path: Path

    @classmethod
    def open(cls, business: Business, path: Path) -> EventLog:
        """The log of the generation directory `path`; a long one stays on disk and is read as it is needed.

        Raises:
            IngestError: no event was accepted.
        """
        connection = ibis.duckdb.connect()
        connection.raw_sql(f"SET memory_limit = '{MEMORY}'")
        connection.raw_sql(f"SET temp_directory = {literal(str(path / SPILL))}")
        events = connection.read_parquet(event_files(path), table_name="event_files")
        customers = None
        if (path / "customers.parquet").exists():
            table = connection.read_parquet(path / "customers.parquet")
            created = _microseconds(table.created_at) if "created_at" in table.columns else ibis.null("int64")
            customers = connection.create_table("customers", table.mutate(created=created))
        said = connection.read_parquet(evidence_files(path), table_name="evidence")
        evidence, rows = _observe(business, said, customers)
        if not rows:
            raise IngestError(
                f"{business.path}: no row of the sources could be used; the reasons are in the quarantine."
            )
        if rows <= HELD_ROWS:
            events = connection.create_table("events", events)
        known = events.customer_id.approx_nunique() if customers is None else customers.count()
        largest = events.value.abs().max().execute()
        huge = largest is not None and largest >= HUGE
        return cls(connection, events, customers, evidence, rows, int(known.execute()), huge, path)

    def close(self) -> None:
        """Let go of DuckDB, its memory and what it spilled."""
        self.connection.disconnect()
        shutil.rmtree(self.path / SPILL, ignore_errors=True)


def declared_schema(log: EventLog, drop: Collection[str] = ()) -> FeatureSchema:
    """All features that the log's evidence allows, with their expressions; no model learns from those of `drop`."""
    features = (replace(one, predictive=False) if one.name in drop else one for one in _features(log.evidence))
    return FeatureSchema(tuple(features))


def refuse_unknown(business: Business, drop: Collection[str], columns: Collection[str]) -> None:
    """Refuse features in [data] drop that no log has; of types that are not known, events only tell when they are read.

    Args:
        columns: of the customers' file, each of which may be an attribute.

    Raises:
        ConfigError: there is one.
    """
    kinds = {kind for kinds in FED_BY.values() for kind in kinds}
    everything = replace(
        _wishes(business),
        types=frozenset(kinds),
        valued=frozenset(kinds),
        properties=frozenset((kind, name) for name, kinds in PROPERTIES.items() for kind in kinds),
        surveys=frozenset(SURVEYS),
        attributes={name: DType.FLOAT for name in columns if name not in CUSTOMER_COLUMNS},
        has_plan=True,
        has_mrr=True,
    )
    known = [feature.name for feature in _features(everything)]
    for name in drop:
        if name not in known and not _OF_A_TYPE.fullmatch(name):
            raise ConfigError(f"{business.path}: [data] drop: there is no feature {name!r}{near_matches(name, known)}.")


def _features(evidence: DataProfile) -> Iterator[Feature]:
    pillars: list[Pillar | None] = [
        module.pillar(evidence) for module in (adoption, engagement, sentiment, support, commercial, relationship)
    ]
    taken = [feature.name for pillar in pillars if pillar for feature in pillar.features]
    pillars.append(other.pillar(evidence, taken))
    return (feature for pillar in pillars if pillar for feature in pillar.features)


def _wishes(business: Business) -> DataProfile:
    """What a business asks for, whatever its data hold."""
    return DataProfile(
        types=frozenset(),
        activity=frozenset(business.churn.activity) if business.churn else frozenset(),
        currency=business.currency,
        scopes=consent_scopes(business),
        caps=tuple(Cap(action.name, action.cap.days) for action in business.actions if action.cap),
        units=business.data.units if isinstance(business.data, EventsData) else {},
        overall_days=None if business.policy.cap is None else business.policy.cap.days,
    )


def _observe(business: Business, said: Any, customers: Any | None) -> tuple[DataProfile, int]:
    """What the log and the customers hold; `said` is what the event files say of themselves."""
    counts = ("rows", "valued", *(f"has_{name}" for name in PROPERTIES))
    found = said.group_by("type").aggregate(**{name: said[name].sum() for name in counts}).to_pyarrow().to_pylist()
    surveys = said.select(survey=said.surveys.unnest())
    attributes: dict[str, DType] = {}
    filled: set[str] = set()
    if customers is not None:
        own = [name for name in customers.columns if name not in (*CUSTOMER_COLUMNS, "created")]
        candidates = [*own, *(name for name in ("plan", "mrr") if name in customers.columns)]
        if candidates:
            counted = customers.aggregate(**{f"n{i}": customers[c].count() for i, c in enumerate(candidates)})
            row = counted.to_pyarrow().to_pylist()[0]
            filled = {name for position, name in enumerate(candidates) if row[f"n{position}"]}
        attributes = {
            name: DType.STRING if customers[name].type().is_string() else DType.FLOAT for name in own if name in filled
        }
    says = frozenset((row["type"], name) for row in found for name in PROPERTIES if row[f"has_{name}"])
    evidence = replace(
        _wishes(business),
        types=frozenset(row["type"] for row in found),
        valued=frozenset(row["type"] for row in found if row["valued"]),
        properties=says,
        surveys=frozenset(word for word in surveys.distinct().to_pyarrow().column(0).to_pylist() if word),
        attributes=attributes,
        has_plan="plan" in filled or any((kind, "plan") in says for kind in SUBSCRIPTION),
        has_mrr="mrr" in filled or any((kind, "mrr") in says for kind in SUBSCRIPTION),
    )
    return evidence, sum(row["rows"] for row in found)


def consent_scopes(business: Business) -> tuple[str, ...]:
    """The scopes of consent that the business's actions and recommendations ask for, in alphabetical order."""
    asked = {business.recommendations.consent, *(action.consent for action in business.actions)}
    asked.update(scope for action in business.actions for scope in action.channels.values())
    return tuple(sorted(scope for scope in asked if scope))


def _microseconds(moment: Any) -> Any:
    # epoch_seconds alone would round what it cuts off on one backend and not on the other.
    whole = moment.truncate("s").epoch_seconds().cast("int64")
    return whole * 1_000_000 + moment.microsecond().cast("int64")
