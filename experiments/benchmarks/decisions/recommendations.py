"""Recommendations beside what anybody would try first, on a split in time: recall@10 and nDCG@10 with intervals."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.errors import BenchmarkError
from features.atomic_write import write_atomically
from features.config.business import Business
from features.generation import event_files
from features.ingestion.run import ingest
from features.snapshots.purchases import Purchases, write_purchases
from models.arrays import FloatArray
from models.decisions.off_policy import interval
from models.inference.interval import Estimate
from models.recommender import OwnHistory, Recommender
from training.recommender import fit_recommender, histories

K = 10
RANKERS = ("keepwell", "last purchases", "popularity lately", "popularity")

Ranker = Callable[[OwnHistory], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Ranked:
    """How one ranker did; its leads over the baselines are paired, customer by customer."""

    name: str
    recall: Estimate
    ndcg: Estimate
    recall_behind: Estimate | None
    """How far keepwell is above it; None for keepwell."""
    ndcg_behind: Estimate | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One business: what was bought in the last days, recommended from all that was bought before."""

    business: str
    cutoff: str
    days: int
    customers: int
    items: int
    rankers: tuple[Ranked, ...]


def measure(config: Path, days: int, repeatable: float | None = None) -> Measured:
    """Split a business's purchases `days` before their end, fit on what came before, and rank for who bought after.

    Customers are all who bought before and after the split. Recall counts all they bought after it, new items too; what a
    customer just bought and people do not buy again is left out of keepwell's list, as a server does.

    Raises:
        ConfigError, IngestError: the TOML or its files are not as they should be.
        BenchmarkError: no purchase names an item, or nobody bought before and after the split.
    """
    business = Business.load(config)
    purchases = _purchases(business)
    cutoff = int(purchases.day.max()) + 1 - days
    recommender = fit_recommender(purchases, cutoff)
    before = purchases.before(cutoff)
    later = purchases.day >= cutoff
    both = np.intersect1d(np.unique(before.customer), np.unique(purchases.customer[later])).astype(np.int64)
    if recommender is None or len(both) < 2:
        raise BenchmarkError(f"{config}: nobody bought an item both before and after the split.")
    settings = business.recommendations
    rankers = _rankers(
        recommender, before, settings.exclude_days, settings.repeatable if repeatable is None else repeatable
    )
    bought = {place: set[int]() for place in both.tolist()}
    for customer, item in zip(purchases.customer[later].tolist(), purchases.item[later].tolist(), strict=True):
        if customer in bought:
            bought[customer].add(item)
    recall, ndcg = np.zeros((len(RANKERS), len(both))), np.zeros((len(RANKERS), len(both)))
    for place, (customer, history) in enumerate(zip(both.tolist(), histories(before, both, cutoff), strict=True)):
        for row, name in enumerate(RANKERS):
            recall[row, place], ndcg[row, place] = _judge(rankers[name](history), bought[customer])
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=cutoff)
    return Measured(
        business.name, start.date().isoformat(), days, len(both), len(purchases.items), tuple(_ranked(recall, ndcg))
    )


def _purchases(business: Business) -> Purchases:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        now = datetime.now(UTC)
        ingest(business, folder, now)
        path = folder / "purchases.parquet"
        if not write_purchases(event_files(folder), now, path):
            raise BenchmarkError(f"{business.path}: no purchase names an item.")
        return Purchases.read(path)


def _rankers(recommender: Recommender, before: Purchases, days: int, repeatable: float) -> dict[str, Ranker]:
    """Each gives the places, among all items, of its list for a history of such places."""
    ours = recommender.codes(before.items)
    theirs = np.flatnonzero(ours >= 0)
    figures = recommender.figures
    ever, lately = (np.argsort(-share, kind="stable")[:K] for share in (figures.popularity, figures.lately))
    place_of = np.empty(len(recommender.items), dtype=np.int64)
    place_of[ours[theirs]] = theirs
    name_of = {item: place for place, item in enumerate(before.items)}

    def keepwell(history: OwnHistory) -> NDArray[np.int64]:
        known = ours[history.items] >= 0
        mine = OwnHistory(
            ours[history.items[known]], history.times[known], history.newest[known], history.oldest[known],
            history.decayed[known],
        )  # fmt: skip
        left_out = recommender.just_bought(mine, days, repeatable)
        return np.array([name_of[one.item] for one in recommender.rank(mine, K, left_out)], dtype=np.int64)

    def last_purchases(history: OwnHistory) -> NDArray[np.int64]:
        # Of one day's purchases the most bought come first, then the most popular; popular ones fill up a short list.
        ties = -figures.popularity[np.maximum(ours[history.items], 0)]
        order = np.lexsort((ties, -history.times, history.newest))
        own = history.items[order][:K]
        rest = [place for place in place_of[ever].tolist() if place not in set(own.tolist())]
        return np.concatenate([own, np.array(rest, dtype=np.int64)])[:K]

    return {
        "keepwell": keepwell,
        "last purchases": last_purchases,
        "popularity lately": lambda _: place_of[lately],
        "popularity": lambda _: place_of[ever],
    }


def _judge(ranked: NDArray[np.int64], bought: set[int]) -> tuple[float, float]:
    """Recall@10 and nDCG@10 of one list, every item that was bought counting alike."""
    hits = np.array([place in bought for place in ranked.tolist()], dtype=np.float64)
    discounts = 1.0 / np.log2(np.arange(K) + 2.0)
    ideal = discounts[: min(K, len(bought))].sum()
    return float(hits.sum() / len(bought)), float((hits * discounts[: len(hits)]).sum() / ideal)


def _ranked(recall: NDArray[np.float64], ndcg: NDArray[np.float64]) -> Iterator[Ranked]:
    for row, name in enumerate(RANKERS):
        leads: tuple[Estimate, Estimate] | tuple[None, None] = (None, None)
        if row:
            leads = _mean(recall[0] - recall[row]), _mean(ndcg[0] - ndcg[row])
        yield Ranked(name, _mean(recall[row]), _mean(ndcg[row]), *leads)


def show(console: Console, measured: Measured) -> None:
    """The figures as a table."""
    table = Table(title=f"{measured.business}: {measured.days} days from {measured.cutoff}, recommended from before")
    table.add_column("ranker")
    for column in ("recall@10", "nDCG@10", "keepwell is ahead: recall@10", "nDCG@10"):
        table.add_column(column, justify="right")
    for ranked in measured.rankers:
        figures = (ranked.recall, ranked.ndcg, ranked.recall_behind, ranked.ndcg_behind)
        table.add_row(ranked.name, *("" if figure is None else str(figure) for figure in figures))
    console.print(table)
    console.print(f"{measured.customers:,} customers who bought before and after; {measured.items:,} items.")


def write(path: Path, measured: list[Measured]) -> None:
    """The figures as JSON."""
    write_atomically(path, json.dumps([asdict(one) for one in measured], indent=1) + "\n")


def _mean(figures: FloatArray) -> Estimate:
    """The mean over customers (n,), with its 95 % interval."""
    return interval(figures, np.arange(len(figures)))
