"""How good predictions are, beside what a data scientist would try instead, on the same folds and with intervals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.errors import BenchmarkError
from experiments.benchmarks.peers import classifiers
from experiments.simulation.records.company import is_of
from experiments.simulation.records.company import write as simulate
from experiments.simulation.scenario import Scenario
from features.atomic_write import write_atomically
from features.build import build
from features.config.business import Business, TableData
from features.config.search_budget import Budget
from features.errors import NoGeneration
from features.generation import Generation
from features.home import Home
from features.pillars.data_profile import PURCHASES
from features.store.offline import OfflineStore
from models.arrays import FloatArray
from models.inference.interval import Z95, Estimate
from models.value.pareto_nbd import PurchaseHistories
from training.churn.fit import fit, predict
from training.churn.level import ForetoldRate
from training.churn.tuning import DEFAULT, Tuner
from training.dataset.labels import entity_frame
from training.dataset.prepare import Prepared, prepare
from training.dataset.split import Fold, identical_rows, in_folds
from training.dataset.time_windows import Windows
from training.dataset.training_set import TrainingSet
from training.evaluation.metrics import measure, row_losses
from training.value.spend import histories_of

Say = Callable[[str], None]

KEEPWELL = "keepwell"
DRAWS = 500
SEED = 42
SIMULATED_END = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Protocol:
    """A data set and how it is divided: in its order of time, or in five stratified folds, with or without its copies.

    In time, the newest windows test; if it is `rolling`, each window does whose past had ended when it began.
    """

    config: str
    in_time: bool
    distinct: bool = False
    rolling: bool = False


PROTOCOLS: Mapping[str, Protocol] = {
    "telco_ibm": Protocol("telco.toml", in_time=False),
    "iranian_churn": Protocol("iranian_churn.toml", in_time=False, distinct=True),
    "bank_marketing": Protocol("bank_marketing.toml", in_time=False),
    "bank_marketing_in_order": Protocol("bank_marketing.toml", in_time=True),
    "online_retail": Protocol("online_retail.toml", in_time=True),
    "cdnow": Protocol("cdnow.toml", in_time=True),
    "simulated": Protocol("", in_time=True),
    "online_retail_rolling": Protocol("online_retail.toml", in_time=True, rolling=True),
    "cdnow_rolling": Protocol("cdnow.toml", in_time=True, rolling=True),
    "complete_journey_rolling": Protocol("complete_journey.toml", in_time=True, rolling=True),
    "simulated_rolling": Protocol("", in_time=True, rolling=True),
}
SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Standing:
    """One model on one data set; `behind` is its log-loss less keepwell's, on the same rows, None for keepwell itself.

    Where windows are held out one by one, `covered` of `windows` had the churn rate that keepwell's interval foretold.
    """

    data: str
    model: str
    rows: int
    auc: Estimate
    log_loss: Estimate
    ece: float
    behind: Estimate | None
    seconds: float
    windows: int = 0
    covered: int = 0


def measured(name: str, home: Path, budget: Budget | None, peers: Sequence[str], say: Say) -> list[Standing]:
    """Train keepwell and its peers on each fold of a data set, and judge them on the rows held out.

    Args:
        name: one of PROTOCOLS.
        home: where features are built, and kept for the next time.
        budget: of each search; None takes the default.
        peers: names of `classifiers.PEERS`.

    Raises:
        BenchmarkError: the data, or a peer's library, is not there.
    """
    protocol = PROTOCOLS[name]
    generation, business, prepared = prepared_for(name, protocol, home, say)
    data, parts = _divided(prepared, protocol)
    tuner = Tuner(budget or DEFAULT, home / "tuning.journal")
    histories = _bought(generation, business, prepared)
    models = [KEEPWELL, *(peer for peer in peers if classifiers.applies(peer, histories))]
    p = {model: np.full(len(data), np.nan) for model in models}
    seconds = dict.fromkeys(models, 0.0)
    rates: list[ForetoldRate] = []
    for number, (fold, windows) in enumerate(parts, 1):
        for model in models:
            say(f"{name}, part {number} of {len(parts)}: {model}")
            started = time.perf_counter()
            if model == KEEPWELL:
                fitted = fit(data, fold.train, windows, tuner)
                p[model][fold.test] = predict(fitted, data, fold.test)
                if fitted.level is not None:
                    rates.append(fitted.level.rate(p[model][fold.test], data.y[fold.test]))
            else:
                p[model][fold.test] = classifiers.PEERS[model](
                    classifiers.Task(data, fold, prepared.horizon_days, seconds[KEEPWELL] / number, histories)
                )
            seconds[model] += time.perf_counter() - started
    rows = np.flatnonzero(~np.isnan(p[KEEPWELL]))
    own, *others = _standings(name, data.y[rows], {model: values[rows] for model, values in p.items()}, seconds)
    return [replace(own, windows=len(rates), covered=sum(rate.is_covered for rate in rates)), *others]


def show(console: Console, standings: Sequence[Standing]) -> None:
    """Print a data set's table."""
    table = Table(title=f"{standings[0].data}, {standings[0].rows:,} rows tested", title_justify="left")
    for column in ("model", "AUC (95 %)", "log-loss (95 %)", "ECE", "log-loss behind keepwell (95 %)", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for one in standings:
        behind = (
            "" if one.behind is None else f"{one.behind.value:+.4f} ({one.behind.low:+.4f} to {one.behind.high:+.4f})"
        )
        table.add_row(one.model, str(one.auc), str(one.log_loss), f"{one.ece:.4f}", behind, f"{one.seconds:.0f}")
    console.print(table)
    if standings[0].windows:
        console.print(
            f"churn rates within keepwell's 95 %: {standings[0].covered} of {standings[0].windows} windows",
            highlight=False,
        )


def write(path: Path, standings: Sequence[Standing]) -> None:
    """All figures as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in standings], indent=1) + "\n")


def prepared_for(name: str, protocol: Protocol, home: Path, say: Say) -> tuple[Generation, Business, Prepared]:
    """A data set's rows, built under `home` if they are not there as its TOML says; with the build and the business they are of.

    Raises:
        BenchmarkError: the public data is not there.
    """
    folder = home / (protocol.config.removesuffix(".toml") or SIMULATED)
    config = Path(__file__).parents[2] / protocol.config
    if not protocol.config:
        config = folder / "simulation" / "business.toml"
        scenario = Scenario(5_000, 7, SIMULATED_END)
        if not is_of(scenario, config.parent):
            say(f"{name}: simulating")
            simulate(scenario, config.parent, lambda *_: None)
    business = Business.load(config)
    if isinstance(business.data, TableData) and not business.data.path.exists():
        raise BenchmarkError(f"{name}: the public data is not at {business.data.path}.")
    place = Home(folder)
    try:
        generation = Generation.current(place)
        known = generation.configuration == business.fingerprint
    except NoGeneration:
        known = False
    if not known:
        say(f"{name}: building features")
        build(business, place, datetime.now(UTC), lambda *_: None)
        generation = Generation.current(place)
    if not protocol.in_time and isinstance(business.data, TableData):
        business = replace(business, data=business.data.model_copy(update={"order": None}))
    say(f"{name}: reading")
    return generation, business, prepare(generation, business)


def _bought(generation: Generation, business: Business, prepared: Prepared) -> PurchaseHistories | None:
    """What the rows' customers had bought at their cutoff; None where it is not buying no more that is churn."""
    churn = business.churn
    if churn is None or not churn.activity or not set(churn.activity) <= set(PURCHASES):
        return None
    return histories_of(OfflineStore(generation), entity_frame(prepared.data.labels))


def _divided(prepared: Prepared, protocol: Protocol) -> tuple[TrainingSet, Sequence[tuple[Fold, Windows | None]]]:
    """The protocol's rows and folds, with the windows of what trains: five stratified ones, seed 42, or parted by time."""
    data = prepared.data
    if protocol.rolling:
        return data, rolling(prepared)
    if protocol.in_time:
        return data, [(fold, prepared.windows) for fold in prepared.split.folds]
    if protocol.distinct:
        everything = np.arange(len(data), dtype=np.int64)
        same = identical_rows(np.column_stack([data.X(everything, data.categories(everything)), data.y]))
        first = np.sort(np.unique(same, return_index=True)[1])
        labels = data.labels
        data = replace(
            data,
            columns=data.take(first),
            labels=replace(
                labels,
                customer_id=labels.customer_id[first],
                event_timestamp=labels.event_timestamp[first],
                y=labels.y[first],
            ),
        )
    alone = np.arange(len(data.labels.y), dtype=np.int64)
    data = replace(data, labels=replace(data.labels, group=alone))
    return data, [(fold, None) for fold in in_folds(data.y, alone).folds]


def rolling(prepared: Prepared) -> list[tuple[Fold, Windows | None]]:
    """Each window of an event log held out from those whose outcomes were known when it began, oldest first.

    Windows that leave one outcome only on either side are passed over.
    """
    number = prepared.data.labels.rank
    assert number is not None
    every = Windows.of_cutoffs(number, (*prepared.cutoffs.train, *prepared.cutoffs.test), prepared.horizon_days)
    parts: list[tuple[Fold, Windows | None]] = []
    for window, ended in enumerate(every.ended):
        train, test = np.flatnonzero(np.isin(number, ended)), np.flatnonzero(number == window)
        if len(np.unique(prepared.data.y[train])) == len(np.unique(prepared.data.y[test])) == 2:
            parts.append((Fold(train, test), every.until(window)))
    return parts


def _standings(
    name: str, y: npt.NDArray[np.int8], p: Mapping[str, FloatArray], seconds: Mapping[str, float]
) -> list[Standing]:
    rng = np.random.default_rng(SEED)
    draws = [rng.integers(0, len(y), len(y)) for _ in range(DRAWS)]
    losses = {model: row_losses(y, values) for model, values in p.items()}
    drawn = {model: np.array([loss[rows].mean() for rows in draws]) for model, loss in losses.items()}
    standings = []
    for model, values in p.items():
        figures = measure(y, values)
        behind = None
        if model != KEEPWELL:
            mean = float((losses[model] - losses[KEEPWELL]).mean())
            behind = _estimate(mean, drawn[model] - drawn[KEEPWELL])
        standings.append(
            Standing(
                data=name,
                model=model,
                rows=len(y),
                auc=_auc(y, values, figures.auc),
                log_loss=_estimate(figures.log_loss, drawn[model]),
                ece=figures.ece,
                behind=behind,
                seconds=seconds[model],
            )
        )
    return standings


def _estimate(value: float, drawn: FloatArray) -> Estimate:
    """A figure with its 95 % bootstrap interval."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _auc(y: npt.NDArray[np.int8], p: FloatArray, value: float) -> Estimate:
    """The AUC with DeLong's interval: a bootstrap of it would sort five hundred times."""
    from scipy.stats import rankdata

    churned, stayed = p[y == 1], p[y == 0]
    m, n = len(churned), len(stayed)
    ranks = rankdata(np.concatenate([churned, stayed]))
    above = (ranks[:m] - rankdata(churned)) / n
    below = 1.0 - (ranks[m:] - rankdata(stayed)) / m
    error = Z95 * float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    return Estimate(value, max(0.0, value - error), min(1.0, value + error))
