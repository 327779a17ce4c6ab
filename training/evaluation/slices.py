"""What a run's figures are worth: their intervals, the top that a team can call, every subgroup and every window."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from features.config.business import Business
from features.config.suggestions import near_matches
from models.arrays import FloatArray, Rows
from models.inference.calibration import expit
from models.inference.interval import Interval
from training.dataset.prepare import Prepared
from training.evaluation.bootstrap import FIGURES, Ranked, difference, figures_of, intervals, resampled
from training.evaluation.held_out import HeldOutPredictions
from training.evaluation.metrics import EvaluationReport

DEFAULT_SHARE = 0.1
MOST_GROUPS = 12
MOST_COLUMNS = 8
FEWEST_ROWS = 30
# Outcomes of one kind from which on an AUC is given.
FEWEST_OF_A_KIND = 10
PART_DRAWS = 200
# A column is warned of where its groups' calibration differs by more than chance (Holm 1979, over all columns) and by
# so much that it matters.
ALPHA = 0.05
LEAST_DIFFERENCE = 0.02
QUARTERS = 4
FEWEST_PER_QUARTER = 100
GAIN_POINTS = 20


@dataclass(frozen=True, slots=True)
class TopK:
    """How many of the `k` rows with the highest risk churned, and why it is `k`."""

    k: int
    why: str
    precision: float
    interval: Interval | None
    recall: float


@dataclass(frozen=True, slots=True)
class Part:
    """The figures of some tested rows: a subgroup's, or a window's; None where there are too few."""

    name: str
    rows: int
    churn_rate: float
    predicted: float
    auc: float | None
    auc_interval: Interval | None
    log_loss: float
    log_loss_interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """By name, intervals as pairs."""
        return {
            **asdict(self),
            "auc_interval": None if self.auc_interval is None else self.auc_interval.to_json(),
            "log_loss_interval": None if self.log_loss_interval is None else self.log_loss_interval.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Subgroups:
    """A column's groups; `p_value` says how likely chance alone makes their calibration differ so, all columns considered."""

    column: str
    groups: tuple[Part, ...]
    p_value: float
    worst: str
    """The group that is further off than the others."""
    off: float
    """By how much: its churn rate minus what the model, put right on average, expected."""

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance, and large enough to matter."""
        return self.p_value < ALPHA and abs(self.off) >= LEAST_DIFFERENCE


@dataclass(frozen=True, slots=True)
class Examination:
    """All that is known of the figures beyond themselves; `intervals` by model or baseline, then by figure."""

    intervals: Mapping[str, Mapping[str, Interval | None]]
    over_base_rate: Interval
    """Of the model's log-loss less the base rate's, on the same rows."""
    top_k: TopK
    gains: tuple[tuple[float, float], ...]
    """The share of rows from the top, and the share of churners among them."""
    subgroups: tuple[Subgroups, ...]
    windows: tuple[Part, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The keys that it adds to a run's report."""
        shown = {
            name: {figure: None if one is None else one.to_json() for figure, one in found.items() if figure in _SHOWN}
            for name, found in self.intervals.items()
        }
        top = self.top_k
        return {
            "intervals": shown.pop("model"),
            "baseline_intervals": shown,
            "top_k": {**asdict(top), "interval": None if top.interval is None else top.interval.to_json()},
            "gains": [
                {"share": share, "captured": caught, "lift": caught / share} for share, caught in self.gains if share
            ],
            "subgroups": [
                {
                    "column": one.column,
                    "p_value": one.p_value,
                    "worst": one.worst,
                    "off": one.off,
                    "differs": one.differs,
                    "groups": [part.to_json() for part in one.groups],
                }
                for one in self.subgroups
            ],
            "windows": [part.to_json() for part in self.windows],
        }


_SHOWN = frozenset({"auc", "average_precision", "log_loss", "brier", "ece", "calibration_slope", "lift_at_10"})


def examine(
    business: Business, prepared: Prepared, tested: HeldOutPredictions, report: EvaluationReport
) -> Examination:
    """Put intervals around all figures, and look at them by subgroup and over time.

    Rows of one customer are drawn together: at several cutoffs they tell less than as many customers.
    """
    data = prepared.data
    y = data.y[tested.rows].astype(np.int64)
    groups = data.labels.group[tested.rows]
    customers = np.unique(data.labels.customer_id[tested.rows].astype(str), return_inverse=True)[1]
    if len(np.unique(customers)) < len(customers):
        groups = customers.astype(np.int64)
    windows = max(1, len(prepared.cutoffs.test))
    k, why = team_capacity(business, len(y) // windows)
    k *= windows
    probabilities = {"model": tested.p, "base_rate": tested.p_base_rate, "logistic_regression": tested.p_logistic}
    known = {name: p for name, p in probabilities.items() if name == "model" or name in report.baselines}
    drawn = resampled({name: Ranked(y, p, k) for name, p in known.items()}, groups)
    around = {name: intervals(y, p, drawn[name], k) for name, p in known.items()}
    losses = {name: figures[:, FIGURES.index("log_loss")] for name, figures in drawn.items()}
    own, base = report.metrics.log_loss, report.baselines["base_rate"].log_loss
    precision = figures_of(y, tested.p, k)["precision_at_k"]
    assert precision is not None
    columns, unknown = subgroup_columns(business, prepared)
    subgroups = compared_groups(y, tested.p, groups, {name: column[tested.rows] for name, column in columns.items()})
    return Examination(
        intervals=around,
        over_base_rate=difference("log_loss", own, base, losses["model"], losses["base_rate"]).interval,
        top_k=TopK(
            k, why, precision, around["model"]["precision_at_k"], min(1.0, precision * min(k, len(y)) / y.sum())
        ),
        gains=gains(y, tested.p),
        subgroups=subgroups,
        windows=_windows(prepared, tested, y, groups),
        warnings=(*unknown, *(_differs(one) for one in subgroups if one.differs)),
    )


def team_capacity(business: Business, population: int) -> tuple[int, str]:
    """How many customers a team can call, of one population, and where that is known from."""
    if business.evaluation.top_k is not None:
        return min(business.evaluation.top_k, population), "[evaluation] top_k"
    staffed = [action for action in business.actions if action.minutes > 0]
    capacity = sum(action.capacity.count for action in staffed or business.actions if action.capacity is not None)
    if capacity:
        return min(capacity, population), "the capacity of [[actions]]"
    staff = business.policy.staff
    if staff is not None and staffed:
        calls = int(staff.minutes // min(action.minutes for action in staffed))
        if calls:
            return min(calls, population), "[policy] staff"
    return max(1, round(DEFAULT_SHARE * population)), "a tenth of the customers, as no capacity is stated"


def gains(y: npt.NDArray[np.int64], p: FloatArray) -> tuple[tuple[float, float], ...]:
    """The share of churners that is found in each share of rows from the top; ties in proportion."""
    order = np.argsort(-p, kind="stable")
    edges = np.r_[np.flatnonzero(p[order][1:] != p[order][:-1]) + 1, len(p)]
    caught = np.r_[0.0, np.cumsum(y[order])[edges - 1]]
    shares = np.linspace(0.0, 1.0, GAIN_POINTS + 1)
    found = np.interp(shares * len(y), np.r_[0, edges], caught) / y.sum()
    return tuple(zip(shares.tolist(), found.tolist(), strict=True))


def subgroup_columns(business: Business, prepared: Prepared) -> tuple[dict[str, npt.NDArray[np.object_]], list[str]]:
    """By name, what each row is called: the columns that the TOML names, or those with few words; and what is unknown."""
    data = prepared.everything
    named = business.evaluation.subgroups
    if named:
        unknown = [
            f"[evaluation] subgroups: there is no feature '{name}'{near_matches(name, data.schema.names)}"
            for name in named
            if name not in data.columns
        ]
        return {name: _words(data.columns[name]) for name in named if name in data.columns}, unknown
    found = {}
    for name in data.strings():
        words = _words(data.columns[name])
        if 2 <= len(set(words.tolist())) <= MOST_GROUPS:
            found[name] = words
    return dict(list(found.items())[:MOST_COLUMNS]), []


def compared_groups(
    y: npt.NDArray[np.int64], p: FloatArray, groups: Rows, columns: Mapping[str, npt.NDArray[np.object_]]
) -> tuple[Subgroups, ...]:
    """Each column's groups with their figures, and whether their calibration differs."""
    return tuple(
        Subgroups(
            name,
            tuple(measured(group, y, p, groups, np.flatnonzero(words == group)) for group in _groups(words)),
            *test,
        )
        for (name, words), test in zip(columns.items(), calibration_tests(y, p, groups, columns), strict=True)
    )


def calibration_tests(
    y: npt.NDArray[np.int64], p: FloatArray, groups: Rows, columns: Mapping[str, npt.NDArray[np.object_]]
) -> list[tuple[float, str, float]]:
    """For each column, how likely chance alone makes its groups' calibration differ so, the worst group, and by how much.

    The score test that all groups share one intercept beside the model's log-odds, which is fitted first: a model that
    is off for everybody alike differs between no groups. The p-values are Holm's over all columns.
    """
    repeated = len(y) / len(np.unique(groups))
    tests = [_calibration_test(y, p, words, repeated) for words in columns.values()]
    held = _holm([p_value for p_value, _, _ in tests])
    return [(p_value, worst, off) for p_value, (_, worst, off) in zip(held, tests, strict=True)]


def measured(name: str, y: npt.NDArray[np.int64], p: FloatArray, groups: Rows, rows: Rows) -> Part:
    """The figures of some rows."""
    outcome, probability = y[rows], p[rows]
    churned = int(outcome.sum())
    both = min(churned, len(rows) - churned) >= FEWEST_OF_A_KIND
    ranked = Ranked(outcome, probability, 1, slope=False)
    loss = float(-np.mean(np.log(np.clip(np.where(outcome == 1, probability, 1.0 - probability), 1e-15, 1.0))))
    if not both:
        return Part(name, len(rows), float(outcome.mean()), float(probability.mean()), None, None, loss, None)
    draws = resampled({name: ranked}, groups[rows], PART_DRAWS)[name]
    around = intervals(outcome, probability, draws, 1)
    own = ranked.measure(np.ones(len(rows)))
    return Part(
        name, len(rows), float(outcome.mean()), float(probability.mean()),
        float(own[0]), around["auc"], loss, around["log_loss"],
    )  # fmt: skip


def _windows(
    prepared: Prepared, tested: HeldOutPredictions, y: npt.NDArray[np.int64], groups: Rows
) -> tuple[Part, ...]:
    """The tested cutoffs, or quarters of an ordered table's tested rows; empty where there is only one."""
    labels = prepared.data.labels
    if not prepared.split.is_time or labels.rank is None:
        return ()
    if prepared.cutoffs.test:
        moments = labels.event_timestamp[tested.rows]
        names = {moment: np.datetime_as_string(moment, unit="D") for moment in np.unique(moments)}
        parts = [(str(name), np.flatnonzero(moments == moment)) for moment, name in names.items()]
    elif len(y) >= QUARTERS * FEWEST_PER_QUARTER:
        order = np.argsort(labels.rank[tested.rows], kind="stable")
        quarters = np.array_split(order, QUARTERS)
        parts = [(f"rows in order, part {number} of {QUARTERS}", rows) for number, rows in enumerate(quarters, 1)]
    else:
        return ()
    if len(parts) < 2:
        return ()
    return tuple(measured(name, y, tested.p, groups, rows) for name, rows in parts)


def _words(column: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    """What each row's group is called: its word, or the quarter that its number lies in."""
    if column.dtype == object:
        return np.array(["(none)" if word is None else word for word in column.tolist()], dtype=object)
    known = column[~np.isnan(column)]
    distinct = np.unique(known)
    if len(distinct) <= MOST_GROUPS:
        names = {value: f"{value:.6g}" for value in distinct.tolist()}
        return np.array(["(none)" if np.isnan(value) else names[value] for value in column.tolist()], dtype=object)
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    bounds = [-np.inf, *edges.tolist(), np.inf]
    labels = [
        f"up to {high:.6g}"
        if np.isneginf(low)
        else f"above {low:.6g}"
        if np.isposinf(high)
        else f"{low:.6g} to {high:.6g}"
        for low, high in itertools.pairwise(bounds)
    ]
    place = np.searchsorted(edges, column, side="left")
    missing = np.isnan(column)
    return np.array(
        ["(none)" if gone else labels[at] for gone, at in zip(missing.tolist(), place.tolist(), strict=True)],
        dtype=object,
    )


def _groups(words: npt.NDArray[np.object_]) -> list[str]:
    """The groups with enough rows, the largest first."""
    names, counts = np.unique(words.astype(str), return_counts=True)
    ordered = sorted(zip((-counts).tolist(), names.tolist(), strict=True))
    return [name for count, name in ordered if -count >= FEWEST_ROWS][:MOST_GROUPS]


def _calibration_test(
    y: npt.NDArray[np.int64], p: FloatArray, words: npt.NDArray[np.object_], repeated: float
) -> tuple[float, str, float]:
    """The p-value that all groups are equally calibrated, the group that is worst, and by how much.

    Args:
        repeated: rows per customer; the test takes a customer's rows for one, which errs on the side of silence.
    """
    names = _groups(words)
    inside = np.isin(words.astype(str), names)
    if len(names) < 2:
        return 1.0, "", 0.0
    expected = _put_right(y[inside], p[inside])
    rest, variance = y[inside] - expected, expected * (1.0 - expected)
    member = np.array([names.index(str(word)) for word in words[inside].tolist()])
    sums = np.bincount(member, weights=rest, minlength=len(names))
    spread = np.maximum(np.bincount(member, weights=variance, minlength=len(names)) * repeated, 1e-12)
    statistic = float((sums**2 / spread).sum())
    share = spread / spread.sum()
    z = np.abs(sums) / np.sqrt(spread * np.maximum(1.0 - share, 1e-12))
    worst = int(np.argmax(z))
    rows = np.bincount(member, minlength=len(names))
    return float(chi2.sf(statistic, len(names) - 1)), names[worst], float(sums[worst] / rows[worst])


def _put_right(y: npt.NDArray[np.int64], p: FloatArray) -> FloatArray:
    """The probabilities with one intercept added to their log-odds, so that they sum to the outcomes."""
    clipped = np.clip(p, 1e-9, 1.0 - 1e-9)
    margin = np.log(clipped) - np.log1p(-clipped)
    intercept = 0.0
    for _ in range(50):
        fitted = expit(margin + intercept)
        step = float((y - fitted).sum()) / max(float((fitted * (1.0 - fitted)).sum()), 1e-9)
        intercept += float(np.clip(step, -3.0, 3.0))
        if abs(step) < 1e-9:
            break
    return expit(margin + intercept)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    held = [1.0] * len(p_values)
    running = 0.0
    for step, place in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - step) * p_values[place]))
        held[place] = running
    return held


def _differs(one: Subgroups) -> str:
    return (
        f"Calibration differs between the groups of '{one.column}': where it is '{one.worst}', the churn rate is "
        f"{100 * abs(one.off):.1f} points {'above' if one.off > 0 else 'below'} what the model expected (p = {one.p_value:.2g}, "
        f"all columns considered)."
    )
