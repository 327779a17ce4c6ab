"""Whether the champion still fits: what its features and scores look like now, and how it did on outcomes known since."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.config.business import Business, Watch
from features.errors import SchemaMismatch
from features.generation import Generation
from features.home import Home
from features.schema import DType, FeatureSchema
from features.store.offline import OfflineStore
from models.arrays import FloatArray
from models.inference.interval import Interval
from models.inference.onnx_predictor import ChurnPredictor
from models.registry.model_bundle import ModelBundle
from models.registry.registry import Registry
from training.dataset.labels import complete_cutoffs, entity_frame, label_at, label_table
from training.dataset.training_set import Labels
from training.errors import TrainingError
from training.evaluation.bootstrap import Ranked, figures_of, intervals, resampled
from training.evaluation.drift import Histogram, Snapshot, psi, psi_of_chance
from training.evaluation.metrics import ece_of_chance
from training.monitoring.served_scores import matured_scores
from training.reporting.document import Document, Section, Table, figure, interval
from training.tracking.runs import PREDICTIONS, REPORT, SNAPSHOT, Tracker, read_report

Columns = Mapping[str, npt.NDArray[Any]]

FEWEST_OF_A_KIND = 10


@dataclass(frozen=True, slots=True)
class Movement:
    """How far one column moved: its PSI beyond what chance shows, missing values then and now, and its importance."""

    name: str
    psi: float
    chance: float
    missing_then: float
    missing_now: float
    importance: float

    def moved(self, limits: Watch) -> bool:
        """Whether it moved further than the TOML allows, and than chance explains."""
        return (
            self.psi > limits.psi + self.chance
            or abs(self.missing_now - self.missing_then) > limits.missing + self.chance
        )


@dataclass(frozen=True, slots=True)
class Matured:
    """The champion on outcomes that became known after it was trained."""

    rows: int
    churn_rate: float
    predicted: float
    since: str
    auc: float
    auc_interval: Interval | None
    auc_then: float
    ece: float
    ece_interval: Interval | None
    ece_limit: float
    """What the TOML allows, or what perfect probabilities show on so few rows."""

    def to_json(self) -> dict[str, Any]:
        """By name, intervals as pairs."""
        return {
            **asdict(self),
            "auc_interval": None if self.auc_interval is None else self.auc_interval.to_json(),
            "ece_interval": None if self.ece_interval is None else self.ece_interval.to_json(),
        }


@dataclass(frozen=True, slots=True)
class WatchReport:
    """What was seen; `reasons` are why the model should be trained again, none where it is fine."""

    model: str
    version: str
    at: datetime
    customers: int
    score: Movement
    features: tuple[Movement, ...]
    """The most moved first."""
    matured: Matured | None
    limits: Watch
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def retrain(self) -> bool:
        """Whether the model should be trained again."""
        return bool(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "model": self.model,
            "version": self.version,
            "at": self.at.isoformat(),
            "retrain": self.retrain,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "customers": self.customers,
            "limits": self.limits.model_dump(),
            "score": asdict(self.score),
            "features": [{**asdict(one), "moved": one.moved(self.limits)} for one in self.features],
            "matured": None if self.matured is None else self.matured.to_json(),
        }

    def document(self) -> Document:
        """The page."""
        verdict = "It should be trained again." if self.retrain else "It is fine as it is."
        known = Section("Outcomes known since", texts=("No outcome has become known since it was trained.",))
        if self.matured is not None:
            one = self.matured
            rows = (
                ("AUC", figure(one.auc_then), figure(one.auc), interval(_pair(one.auc_interval))),
                ("ECE", f"limit {one.ece_limit:.4f}", figure(one.ece), interval(_pair(one.ece_interval))),
                ("churned; predicted", "", f"{one.churn_rate:.1%}; {one.predicted:.1%}", ""),
            )
            known = Section(
                "Outcomes known since",
                texts=(f"{one.rows:,} rows, {one.since}, none of which it was fitted on.",),
                tables=(Table(("figure", "when tested", "since", "95 %"), rows),),
            )
        return Document(
            f"{self.model}, version {self.version}, watched on {self.at:%Y-%m-%d}",
            (
                Section("Verdict", texts=(verdict,), points=(*self.reasons, *self.notes)),
                known,
                Section(
                    "What moved",
                    texts=(
                        f"{self.customers:,} customers of now, against those it was tested on. PSI counts what is missing as a part "
                        f"of its own; beyond {self.limits.psi:g} and what chance shows, a column has moved.",
                    ),
                    tables=(_movements((self.score, *self.features), self.limits),),
                ),
            ),
        )


def watch(home: Home, business: Business | None = None) -> WatchReport:
    """Hold the champion against the current features, and against the outcomes that became known since.

    Nothing is rebuilt: what is now is what the newest `features build` saw.

    Args:
        business: whose [watch] counts; by default as the features were built.

    Raises:
        TrainingError: there is no champion, or its run has no snapshot.
        FeaturesError, ModelsError: the home or the registry cannot be read.
    """
    generation = Generation.current(home)
    business = business or Business.load(generation.business_file)
    limits = business.watch
    registry = Registry(home.tracking_uri, generation.business)
    champion = registry.champion()
    if champion is None:
        raise TrainingError("There is no champion to watch: run 'python -m training promote' first.")
    bundle = registry.load(champion, home.path / "bundles")
    schema = FeatureSchema.from_json(bundle.schema)
    with tempfile.TemporaryDirectory() as scratch:
        tracker, folder = Tracker(home, registry.model_name), Path(scratch)
        kept = tracker.artifact(champion.run_id, SNAPSHOT, folder)
        if kept is None:
            raise TrainingError(f"The run of version {champion.version} kept no snapshot: train it again.")
        then = Snapshot.from_json(json.loads(kept.read_text()))
        report = read_report(tracker.artifact(champion.run_id, REPORT, folder))
        predicted = tracker.artifact(champion.run_id, PREDICTIONS, folder)
        tested = None if predicted is None else pd.read_parquet(predicted, columns=["customer_id"])
    notes: list[str] = []
    gone = [name for name in schema.names if name not in generation.schema]
    if gone:
        raise_for = ", ".join(f"'{name}'" for name in gone[:5])
        raise SchemaMismatch(
            f"Version {champion.version} reads {raise_for}, which the features have no more: train again."
        )
    people = OfflineStore(generation).population([generation.as_of])
    if people.empty:
        raise TrainingError("The current features hold no customers: run 'python -m features build CONFIG'.")
    columns = _columns(generation, schema, people)
    p = _scores(bundle, schema, columns)
    score = _movement("score", then.score, then.score.filled(p), 1.0)
    features = [
        _movement(name, then.features[name], then.features[name].filled(columns[name]), then.importance[name])
        for name in schema.names
    ]
    matured = _matured(home, generation, business, champion.version, bundle, schema, report, tested, notes)
    return WatchReport(
        model=registry.model_name,
        version=champion.version,
        at=datetime.now(UTC),
        customers=len(people),
        score=score,
        features=tuple(sorted(features, key=lambda one: (-one.psi, one.name))),
        matured=matured,
        limits=limits,
        reasons=tuple(_reasons(score, features, matured, limits)),
        notes=tuple(notes),
    )


def _reasons(score: Movement, features: Sequence[Movement], matured: Matured | None, limits: Watch) -> list[str]:
    """One moved feature may be the season; the scores, much of what they are made of, or known outcomes decide."""
    reasons = []
    if score.moved(limits):
        reasons.append(f"Scores have moved: PSI {score.psi:.3f}, of which chance explains {score.chance:.3f}.")
    moved = [one for one in features if one.moved(limits)]
    together = sum(one.importance for one in moved)
    if moved and together >= limits.importance:
        names = ", ".join(f"'{one.name}'" for one in sorted(moved, key=lambda one: -one.importance)[:5])
        reasons.append(f"Features that carry {together:.0%} of all contributions have moved, first {names}.")
    if matured is not None:
        fell = matured.auc_then - matured.auc
        if fell > limits.auc_drop and matured.auc_interval is not None and matured.auc_interval.high < matured.auc_then:
            reasons.append(
                f"It tells churners from others less well: AUC {matured.auc:.3f}, {matured.auc_then:.3f} when tested."
            )
        if matured.ece > matured.ece_limit:
            reasons.append(
                f"Its probabilities are off: ECE {matured.ece:.3f} against {matured.ece_limit:.3f}; {matured.churn_rate:.1%} "
                f"churned where {matured.predicted:.1%} was expected."
            )
    return reasons


def _matured(
    home: Home,
    generation: Generation,
    business: Business,
    version: str,
    bundle: ModelBundle,
    schema: FeatureSchema,
    report: Mapping[str, Any],
    tested: pd.DataFrame | None,
    notes: list[str],
) -> Matured | None:
    """The champion on customers whose outcome was not known when it was trained: as it told them, else as it would have."""
    limits = business.watch
    told = matured_scores(home, generation, business, version)
    if told is not None and _enough(told.y, limits):
        customers = np.arange(len(told.y), dtype=np.int64)
        return _judged(told.y, told.p, customers, "as callers were told them, each customer once", report, limits)
    found = (
        _new_rows(generation, report, tested)
        if generation.kind == "table"
        else _new_windows(generation, business, report)
    )
    if found is None:
        return None
    labels, since = found
    y = labels.y.astype(np.int64)
    if not _enough(y, limits):
        notes.append(
            f"Only {len(y)} outcomes, {y.sum()} of them churned, have become known since: nothing is concluded."
        )
        return None
    p = _scores(bundle, schema, _columns(generation, schema, entity_frame(labels)))
    return _judged(y, p, labels.group, since, report, limits)


def _enough(y: npt.NDArray[np.int64], limits: Watch) -> bool:
    churned = int(y.sum())
    return len(y) >= limits.min_outcomes and min(churned, len(y) - churned) >= FEWEST_OF_A_KIND


def _judged(
    y: npt.NDArray[np.int64],
    p: FloatArray,
    customers: npt.NDArray[np.int64],
    since: str,
    report: Mapping[str, Any],
    limits: Watch,
) -> Matured:
    draws = resampled({"it": Ranked(y, p, 1, slope=False)}, customers)["it"]
    around, own = intervals(y, p, draws, 1), figures_of(y, p, 1)
    assert own["auc"] is not None
    assert own["ece"] is not None
    return Matured(
        rows=len(y),
        churn_rate=float(y.mean()),
        predicted=float(p.mean()),
        since=since,
        auc=own["auc"],
        auc_interval=around["auc"],
        auc_then=float(report["metrics"]["auc"]),
        ece=own["ece"],
        ece_interval=around["ece"],
        ece_limit=max(limits.ece, ece_of_chance(p)),
    )


def _new_windows(generation: Generation, business: Business, report: Mapping[str, Any]) -> tuple[Labels, str] | None:
    """The cutoffs after those that it was tested on whose windows are complete by now."""
    known = [datetime.fromisoformat(moment) for moment in report.get("test_cutoffs", [])]
    if not known:
        return None
    new = [cutoff for cutoff in complete_cutoffs(generation, business) if cutoff > max(known)]
    if not new:
        return None
    days = ", ".join(f"{cutoff:%Y-%m-%d}" for cutoff in new)
    return label_at(generation, business, new), f"at {days}"


def _new_rows(
    generation: Generation, report: Mapping[str, Any], tested: pd.DataFrame | None
) -> tuple[Labels, str] | None:
    """A table's customers who were not in it when the champion was trained; of an ordered table, that is not kept."""
    if tested is None or report.get("split") == "time":
        return None
    labels = label_table(generation, ordered=False)
    new = np.flatnonzero(~np.isin(labels.customer_id.astype(str), tested["customer_id"].to_numpy(dtype=str)))
    if not len(new):
        return None
    chosen = Labels(labels.customer_id[new], labels.event_timestamp[new], labels.y[new], labels.group[new], None)
    return chosen, "customers who were added to the table"


def _columns(generation: Generation, schema: FeatureSchema, people: pd.DataFrame) -> Columns:
    frame = OfflineStore(generation).training_frame(people, schema.names)
    return {
        feature.name: frame[feature.name].to_numpy(dtype=object if feature.dtype is DType.STRING else np.float64)
        for feature in schema
    }


def _scores(bundle: ModelBundle, schema: FeatureSchema, columns: Columns) -> FloatArray:
    return ChurnPredictor(bundle.onnx, bundle.calibration).predict(schema.to_matrix(columns, bundle.categories))


def _movement(name: str, then: Histogram, now: Histogram, importance: float) -> Movement:
    return Movement(name, psi(then, now), psi_of_chance(then, now), then.missing_share, now.missing_share, importance)


def _movements(movements: Sequence[Movement], limits: Watch) -> Table:
    return Table(
        ("column", "PSI", "chance", "missing then", "missing now", "importance", "moved"),
        tuple(
            (
                one.name,
                f"{one.psi:.3f}",
                f"{one.chance:.3f}",
                f"{one.missing_then:.1%}",
                f"{one.missing_now:.1%}",
                f"{one.importance:.1%}",
                "yes" if one.moved(limits) else "",
            )
            for one in movements
        ),
    )


def _pair(one: Interval | None) -> list[float] | None:
    return None if one is None else one.to_json()
