"""Finding what customers are worth: candidates are fitted before the test cutoff, and what wins in its window serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import lightgbm
import numpy as np
import pandas as pd

from features.config.business import Business
from features.generation import Generation
from features.pillars.data_profile import PURCHASES
from features.store.offline import OfflineStore
from models.arrays import FloatArray, Rows
from models.errors import ModelsError
from models.value.customer_value import PRICE, PURCHASE_FIGURES, Method, PurchaseValue, ValueModel, Valuer
from models.value.pareto_nbd import PurchaseHistories, PurchaseProcess, PurchaseSpend
from training.churn.fit import FittedModel
from training.churn.onnx_export import margin_graph
from training.dataset.labels import entity_frame
from training.dataset.prepare import Prepared

MOST_WINDOWS = 6
"""So many of the newest training windows teach the trees: in each, the process is fitted to what was known when it began."""
FEWEST_BUYERS = 200
TOLERATED_TOTAL = 0.1
"""A candidate whose total is further off than this, and than the process's, cannot win: it would misstate the whole business."""
WARNED_TOTAL = 0.25
"""A served total that is further off is warned of."""
WORST_TOTAL = 1.0
"""A total that is further off, twice what was spent or more, says nothing: it is not served."""

_TREES: Mapping[str, Any] = {
    "objective": "tweedie",
    "tweedie_variance_power": 1.5,
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_child_samples": 40,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.6,
    "reg_lambda": 5.0,
    "max_bin": 255,
    "seed": 42,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Foretold:
    """How well one candidate foretold the spend within the test window: money a customer, and the share its total is off."""

    rmse: float
    total_error: float


@dataclass(frozen=True, slots=True)
class ValueReport:
    """The candidates in the test window, who was asked, and what they spent."""

    method: Method
    customers: int = 0
    spent: float = 0.0
    horizon_days: int = 0
    candidates: Mapping[str, Foretold] | None = None

    def to_json(self) -> dict[str, Any]:
        """The report's `value`."""
        candidates = {name: asdict(found) for name, found in (self.candidates or {}).items()}
        return {**asdict(self), "method": self.method.value, "candidates": candidates}


@dataclass(frozen=True, slots=True)
class ValueTrial:
    """The test window of purchases: who was asked, what they spent within the horizon, and what each candidate foretold."""

    asked: PurchaseHistories
    spent: FloatArray
    foretold: Mapping[Method, FloatArray]


@dataclass(frozen=True, slots=True)
class LearnedValue:
    """What serves, and how it was found to; `trial` is None where no purchases were foretold."""

    model: ValueModel
    report: ValueReport
    trial: ValueTrial | None = None


def learned_value(
    generation: Generation, business: Business, prepared: Prepared, model: FittedModel
) -> tuple[LearnedValue | None, tuple[str, ...]]:
    """How this business's customers are valued, None where nothing says what one brings; and what to warn of.

    A price decides where a contract is cancelled, and purchases where customers just stay away; each helps out where
    the other is not known or too far off, and the TOML's [value] where both are.
    """
    assert business.churn is not None
    by_price = LearnedValue(ValueModel(Method.PRICE), ValueReport(Method.PRICE))
    has_price = generation.kind == "events" and PRICE in generation.schema
    if has_price and business.churn.definition == "event":
        return by_price, ()
    warnings: tuple[str, ...] = ()
    if all(name in generation.schema for name in PURCHASE_FIGURES) and prepared.cutoffs.test:
        found = _of_purchases(generation, prepared, model)
        if found is not None:
            assert found.report.candidates is not None
            off = found.report.candidates[found.report.method.value].total_error
            if abs(off) <= WORST_TOTAL:
                return found, (
                    (f"{_said(off)}: use values to rank, not as amounts.",) if abs(off) > WARNED_TOTAL else ()
                )
            warnings = (f"{_said(off)}: customers are not valued by it.",)
    if has_price:
        return by_price, warnings
    if business.value is not None:
        return LearnedValue(ValueModel(Method.STATED), ValueReport(Method.STATED)), warnings
    return None, warnings


def _of_purchases(generation: Generation, prepared: Prepared, model: FittedModel) -> LearnedValue | None:
    """The best of process, corrected process and trees in the newest test window; None where too few customers bought."""
    labels = prepared.data.labels
    histories = histories_of(OfflineStore(generation), entity_frame(labels))
    moments = labels.event_timestamp
    test = prepared.cutoffs.test[-1]
    tested = np.flatnonzero((moments == _naive(test)) & (histories.count > 0.0))
    if len(tested) < FEWEST_BUYERS:
        return None
    try:
        here = _process(histories, tested, generation.horizon_days)
    except ModelsError:
        return None
    asked = histories.of_rows(tested)
    spent = spend_within(generation, test, prepared, tested)
    base = here.within(asked, generation.horizon_days)
    candidates = {Method.PURCHASES: here}
    foretold = {Method.PURCHASES: base}
    trees = _trees(generation, prepared, model, histories)
    X = prepared.data.X(tested, model.categories)
    for corrects, booster in trees.items():
        raw = np.exp(np.asarray(booster.predict(X, raw_score=True), dtype=np.float64))
        factor = float(base.sum() / (raw * base).sum()) if corrects else 1.0
        chosen = PurchaseValue(
            here.process, here.spend, here.horizon_days, margin_graph(booster), corrects=corrects, factor=factor
        )
        candidates[chosen.method] = chosen
        foretold[chosen.method] = Valuer(ValueModel(chosen.method, chosen)).of_purchases(asked, X)[0]
    found = {method: _foretold(values, spent) for method, values in foretold.items()}
    limit = max(TOLERATED_TOTAL, abs(found[Method.PURCHASES].total_error))
    best = min(
        (method for method in found if abs(found[method].total_error) <= limit),
        key=lambda method: found[method].rmse,
    )
    report = ValueReport(
        best,
        len(tested),
        float(spent.sum()),
        generation.horizon_days,
        {method.value: figures for method, figures in found.items()},
    )
    return LearnedValue(ValueModel(best, candidates[best]), report, ValueTrial(asked, spent, foretold))


def _said(off: float) -> str:
    return (
        f"What customers spend in the test window was foretold {abs(off):.0%} too {'high' if off > 0.0 else 'low'}, all "
        "together; a few great purchases, or returns, may have decided that"
    )


def histories_of(store: OfflineStore, entities: pd.DataFrame) -> PurchaseHistories:
    """What some customers had bought at some moments (n,), as `OfflineStore` takes them; who never bought has a count of 0."""
    frame = store.training_frame(entities, PURCHASE_FIGURES)
    columns = [frame[name].to_numpy(dtype=np.float64) for name in PURCHASE_FIGURES]
    count = np.nan_to_num(columns[0], nan=0.0)
    return PurchaseHistories.of(count, *columns[1:])


def spend_within(generation: Generation, cutoff: datetime, prepared: Prepared, rows: Rows) -> FloatArray:
    """What the customers of some rows spent in the horizon that follows a cutoff, (n,)."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(
            """
            SELECT customer_id, sum(value) FROM read_parquet(?)
            WHERE type IN (SELECT unnest(?)) AND value IS NOT NULL AND occurred_at >= ?::TIMESTAMPTZ AND occurred_at < ?::TIMESTAMPTZ
            GROUP BY customer_id
            """,
            [
                str(generation.events_files),
                list(PURCHASES),
                cutoff.astimezone(UTC).isoformat(),
                (cutoff + timedelta(days=generation.horizon_days)).astimezone(UTC).isoformat(),
            ],
        ).fetchall()
    spent = dict(found)
    return np.array([spent.get(customer, 0.0) for customer in prepared.data.labels.customer_id[rows]], dtype=np.float64)


def _trees(
    generation: Generation, prepared: Prepared, model: FittedModel, histories: PurchaseHistories
) -> dict[bool, lightgbm.Booster]:
    """Trees that correct the process (True) and that stand alone (False), of the training windows; none of too few."""
    moments, horizon = prepared.data.labels.event_timestamp, generation.horizon_days
    rows: list[Rows] = []
    spent: list[FloatArray] = []
    expected: list[FloatArray] = []
    for cutoff in prepared.cutoffs.train[-MOST_WINDOWS:]:
        here = np.flatnonzero((moments == _naive(cutoff)) & (histories.count > 0.0))
        if len(here) < FEWEST_BUYERS:
            continue
        try:
            then = _process(histories, here, horizon)
        except ModelsError:
            continue
        rows.append(here)
        spent.append(np.maximum(spend_within(generation, cutoff, prepared, here), 0.0))
        expected.append(then.within(histories.of_rows(here), horizon))
    if not rows or not sum(float(of.sum()) for of in spent):
        return {}
    X = prepared.data.X(np.concatenate(rows), model.categories)
    y, offset = np.concatenate(spent), np.log(np.maximum(np.concatenate(expected), 1e-9))
    correcting = lightgbm.train(dict(_TREES), lightgbm.Dataset(X, y, init_score=offset), _ROUNDS)
    alone = lightgbm.train(dict(_TREES), lightgbm.Dataset(X, y), _ROUNDS)
    return {True: correcting, False: alone}


def _process(histories: PurchaseHistories, rows: Rows, horizon_days: int) -> PurchaseValue:
    chosen = histories.of_rows(rows)
    return PurchaseValue(PurchaseProcess.fit(chosen), PurchaseSpend.fit(chosen), horizon_days)


def _naive(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def _foretold(values: FloatArray, spent: FloatArray) -> Foretold:
    total = float(spent.sum())
    return Foretold(
        rmse=float(np.sqrt(((values - spent) ** 2).mean())),
        total_error=float(values.sum() / total - 1.0) if total else float(values.sum() > 0.0),
    )
