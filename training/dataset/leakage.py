"""The leakage alarm: features that know the outcome, because they were written, or written again, after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet
from scipy.stats import rankdata

from features.generation import Generation
from features.home import Home
from features.schema import DType
from features.store.offline import OfflineStore
from models.arrays import Rows
from training.dataset.labels import entity_frame
from training.dataset.target_encoding import fit_categories
from training.dataset.training_set import TrainingSet

Outcomes = npt.NDArray[np.int8]

# A feature that tells churners from others this well alone usually knows the outcome …
CERTAIN_AUC = 0.99
# … and one this good does where it leaves at most half as much in doubt as the best of the others.
SUSPECT_AUC = 0.90
FAR_ABOVE = 0.5
# Having a value, or one certain word, gives the outcome away where nearly all who have it churned, and many who churned
# have it.
GIVEN_AWAY = 0.95
LEAST_CAUGHT = 0.3
FEWEST_CAUGHT = 20
# … and who stayed is so much rarer among them than among all: where most customers churn, a pure group is no wonder.
STAYED = 0.1
# Of customers with all their rows, some who are known to have left did so where no labelled window shows it.
GIVEN_AWAY_EVER = 0.85
STAYED_EVER = 0.3
# Values of so many rows that differ between two builds are more than a few late events.
CHANGED_SHARE = 0.01
FEWEST_COMPARED = 50
MOST_ROWS = 100_000


class LeakKind(StrEnum):
    """How a feature was found out."""

    ALONE = "alone"
    FILLED = "filled"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Leak:
    """A feature that seems to know the outcome: what was measured of it, and the sentence that says so."""

    feature: str
    kind: LeakKind
    figure: float
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Rows that leaks are looked for in: raw columns, their codes, and outcomes."""

    columns: Mapping[str, npt.NDArray[Any]]
    codes: Mapping[str, npt.NDArray[np.float64]]
    y: Outcomes


@dataclass(frozen=True, slots=True)
class GivenColumns:
    """The features that are columns as they were given, and the key that leaves one of them out.

    All others are keepwell's own figures, of events before the cutoff: they foretell well, but know nothing that came
    after it.
    """

    names: frozenset[str]
    key: str

    @classmethod
    def of(cls, generation: Generation) -> GivenColumns:
        """Those of a table, or of the customers of an event business."""
        if generation.kind == "table":
            return cls(frozenset(generation.schema.names), "[data] drop")
        key = "[data.customers] drop"
        if not generation.customers_file.exists():
            return cls(frozenset(), key)
        columns = pyarrow.parquet.read_schema(generation.customers_file).names
        # An attribute that is called like a figure of keepwell's own has a prefix, which the figure has not.
        both = [name for column in columns for name in (f"customer {column}", column) if name in generation.schema]
        own = {name.removeprefix("customer ") for name in both if name.startswith("customer ")}
        return cls(frozenset(both) - own, key)


def find_leaks(data: TrainingSet, train: Rows, given: GivenColumns) -> tuple[Leak, ...]:
    """Given columns that alone nearly decide the outcome, by their values or by having one at all.

    Where customers come several times, at several cutoffs, what never changes of a customer is also held against whether
    they ever churned: a column that was filled once for all cutoffs hides among the rows of earlier ones.

    Args:
        train: the training rows; customers are looked at with all their labelled rows.
    """
    every = max(1, -(-len(train) // MOST_ROWS))
    if not given.names:
        return ()
    judged = _judged(data, train[::every], data.y[train[::every]])
    found = {leak.feature: leak for leak in _leaks(judged, GIVEN_AWAY, STAYED, given)}
    for leak in _leaks_of_customers(data, given):
        found.setdefault(leak.feature, leak)
    return tuple(found.values())


def changed_values(generation: Generation, home: Home, data: TrainingSet) -> tuple[Leak, ...]:
    """Features whose values at a past cutoff are other ones now than an earlier build of the same TOML saw.

    Only cutoffs that lie before the earlier build's own moment are compared: what was known then must not change.
    """
    earlier = [
        one
        for one in Generation.complete(home)
        if one.id < generation.id
        and one.configuration == generation.configuration
        and one.fingerprint != generation.fingerprint
    ]
    if generation.kind == "table" or not earlier:
        return ()
    old = earlier[-1]
    shared = np.isin(
        data.labels.event_timestamp,
        [np.datetime64(c.replace(tzinfo=None), "us") for c in old.cutoffs if c <= old.as_of],
    )
    names = [name for name in data.schema.names if name in old.schema]
    rows = np.flatnonzero(shared)
    if len(rows) < FEWEST_COMPARED or not names:
        return ()
    rows = rows[:: max(1, -(-len(rows) // MOST_ROWS))]
    frame = entity_frame(data.labels).iloc[rows]
    people = OfflineStore(old).population(old.cutoffs).assign(known=True)
    known = frame.merge(people, on=["customer_id", "event_timestamp"], how="left")["known"].notna().to_numpy(dtype=bool)
    if known.sum() < FEWEST_COMPARED:
        return ()
    before = OfflineStore(old).training_frame(frame[known], names)
    given = GivenColumns.of(generation)
    leaks = []
    for name in names:
        now = data.columns[name][rows][known]
        share = float(_differ(now, before[name].to_numpy()).mean())
        if share > CHANGED_SHARE:
            cure = (
                f"add the column to {given.key}, or give its changes as events"
                if name in given.names
                else "give the events that came late their 'received_at'"
            )
            leaks.append(
                Leak(
                    name,
                    LeakKind.CHANGED,
                    share,
                    f"The values of '{name}' change after the cutoff: {share:.1%} of them are other ones than the build of "
                    f"{old.as_of:%Y-%m-%d} saw at the same cutoffs, so they may know what happened since; {cure}.",
                )
            )
    return tuple(leaks)


def _differ(now: npt.NDArray[Any], before: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if now.dtype == object:
        return np.array([a != b for a, b in zip(now.tolist(), before.tolist(), strict=True)])
    old, new = before.astype(np.float32), now.astype(np.float32)
    return ~(np.isclose(old, new, rtol=1e-5, atol=1e-6) | (np.isnan(old) & np.isnan(new)))


def _judged(data: TrainingSet, rows: Rows, y: Outcomes, names: Sequence[str] | None = None) -> _Judged:
    schema = data.schema if names is None else data.schema.select(list(names))
    columns = {name: data.columns[name][rows] for name in schema.names}
    categories = fit_categories(schema, columns, y, np.arange(len(rows), dtype=np.int64))
    codes = {}
    for feature in schema:
        column = columns[feature.name]
        if feature.dtype is DType.STRING:
            code = {word: float(place) for place, word in enumerate(categories[feature.name])}
            codes[feature.name] = np.array([code.get(word, np.nan) for word in column.tolist()])
        else:
            codes[feature.name] = column.astype(np.float64)
    return _Judged(columns, codes, y)


def _leaks_of_customers(data: TrainingSet, given: GivenColumns) -> list[Leak]:
    """What never changes of a customer, against whether they ever churned in a labelled window."""
    _, customer = np.unique(data.labels.customer_id.astype(str), return_inverse=True)
    order = np.argsort(customer, kind="stable")
    first = np.r_[True, np.diff(customer[order]) > 0]
    if first.mean() > 0.67:
        return []
    same = ~first[1:]
    static = []
    for name, column in data.columns.items():
        ordered = column[order]
        changed = _differ(ordered[1:], ordered[:-1]) & same
        if not changed.any():
            static.append(name)
    if not static:
        return []
    ever = np.maximum.reduceat(data.y[order], np.flatnonzero(first))
    rows = order[np.flatnonzero(first)]
    every = max(1, -(-len(rows) // MOST_ROWS))
    return _leaks(
        _judged(data, rows[::every], ever[::every].astype(np.int8), static), GIVEN_AWAY_EVER, STAYED_EVER, given
    )


def _leaks(judged: _Judged, purity: float, stayed: float, given: GivenColumns) -> list[Leak]:
    if not 0 < judged.y.sum() < len(judged.y):
        return []
    auc = {name: _separation(code, judged.y) for name, code in judged.codes.items()}
    rest = max((one for one in auc.values() if one < SUSPECT_AUC), default=0.5)
    leaks = []
    for name, alone in auc.items():
        if name not in given.names:
            continue
        far_above = 1.0 - alone <= FAR_ABOVE * (1.0 - rest)
        if alone > CERTAIN_AUC or (alone >= SUSPECT_AUC and far_above):
            best = "" if alone > CERTAIN_AUC else f", the best of the others {rest:.3f}"
            almost = "almost without error" if alone > CERTAIN_AUC else "far better than any other feature"
            leaks.append(
                Leak(
                    name,
                    LeakKind.ALONE,
                    alone,
                    f"'{name}' alone tells who churned {almost} (AUC {alone:.3f}{best}): if it is only known afterwards, add it "
                    f"to {given.key}.",
                )
            )
            continue
        away = _given_away(judged.columns[name], judged.y, purity, stayed)
        if away is not None:
            what, rate, caught = away
            leaks.append(
                Leak(
                    name,
                    LeakKind.FILLED,
                    rate,
                    f"'{name}' seems to be filled in after the fact: {rate:.1%} of the customers for whom it {what} churned, and "
                    f"{caught:.0%} of all who churned are among them; add it to {given.key}.",
                )
            )
    return leaks


def _given_away(column: npt.NDArray[Any], y: Outcomes, purity: float, stayed: float) -> tuple[str, float, float] | None:
    """The value, or its absence, that nearly only churners have: what it is, their churn rate, the share of churners."""
    enough = max(purity, 1.0 - stayed * (1.0 - float(y.mean())))
    if column.dtype == object:
        missing = np.array([word is None for word in column.tolist()])
        words, place = np.unique(np.where(missing, "", column).astype(str), return_inverse=True)
        sides = {"has a value": ~missing, "has no value": missing}
        rows = np.bincount(place)
        churned = np.bincount(place, weights=y)
        pure = np.flatnonzero((churned >= FEWEST_CAUGHT) & (churned >= enough * rows))
        sides |= {f"is '{words[one]}'": (place == one) & ~missing for one in pure.tolist()}
    else:
        missing = np.isnan(column)
        sides = {"has a value": ~missing, "has no value": missing}
    for what, side in sides.items():
        caught = int(y[side].sum())
        if caught < max(FEWEST_CAUGHT, LEAST_CAUGHT * int(y.sum())) or side.all():
            continue
        rate = caught / int(side.sum())
        if rate >= enough:
            return what, rate, caught / int(y.sum())
    return None


def _separation(code: npt.NDArray[np.float64], y: Outcomes) -> float:
    """The AUC of one column in its better direction, nulls on its better side: one only filled in for churners leaks too."""
    known = code[~np.isnan(code)]
    if not len(known):
        return 0.5
    best = 0.5
    low, high = float(known.min()) - 1.0, float(known.max()) + 1.0
    for side in (low, high) if len(known) < len(code) else (low,):
        ranks = rankdata(np.where(np.isnan(code), side, code))
        churned = int(y.sum())
        auc = (float(ranks[y == 1].sum()) - churned * (churned + 1) / 2) / (churned * (len(y) - churned))
        best = max(best, auc, 1.0 - auc)
    return best
