"""Fitting a recommender to purchases: what goes with what, and how much each reason for an item weighs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from features.generation import Generation
from features.snapshots.purchases import Purchases, day_of
from models.arrays import FloatArray
from models.recommender import FIGURES, ItemFigures, OwnHistory, Recommender

WINDOW_DAYS = 30
RECENT_DAYS = 60
WINDOWS = 2
MOST_ITEMS = 20_000
MOST_NEIGHBOURS = 40
MOST_CUSTOMERS = 1_500
"""Per window, to fit the weights on; and below, to count what goes with what."""
MOST_BASKETS = 20_000
MOST_OWN = 500
LEAST_BUYERS = 50
"""Customers of a window who bought before and within it: with fewer, popularity is all that can be told."""

_SHRINK_REPEAT = 3.0
_SHRINK_LIKENESS = 10.0
_BLOCK = 1_000
_SEED = 20


@dataclass(frozen=True, slots=True)
class Window:
    """The customers of one window: the candidates' figures, and which of them were bought in it."""

    figures: FloatArray
    bought: NDArray[np.bool_]
    customers: int


def learned_recommender(generation: Generation) -> bytes | None:
    """What a generation's purchases teach, as a bundle keeps it; None where no purchase names an item."""
    if not generation.purchases_file.exists():
        return None
    recommender = fit_recommender(Purchases.read(generation.purchases_file), day_of(generation.as_of))
    return None if recommender is None else recommender.to_bytes()


def fit_recommender(purchases: Purchases, until: int, window_days: int = WINDOW_DAYS) -> Recommender | None:
    """A recommender from the purchases before the day `until`, or None where there are none.

    Its weights are fitted to the last windows: to what was bought in each by those who had bought before.
    """
    known = _of_most_items(purchases.before(until))
    if not len(known):
        return None
    windows = [_window(known, until - back * window_days, window_days) for back in range(1, WINDOWS + 1)]
    windows = [window for window in windows if window.customers >= LEAST_BUYERS and window.bought.any()]
    weights, intercept = None, 0.0
    if windows:
        weights, intercept = _fit_weights(windows)
    return Recommender(known.items, item_figures(known, until), weights, intercept, window_days)


def item_figures(purchases: Purchases, until: int) -> ItemFigures:
    """What the purchases before the day `until` say of each item."""
    known = purchases.before(until)
    n_items = len(known.items)
    pairs, times = np.unique(known.customer.astype(np.int64) * n_items + known.item, return_counts=True)
    owner, item = np.divmod(pairs, n_items)
    buyers = np.bincount(item, minlength=n_items)
    again = np.bincount(item, weights=times > 1, minlength=n_items)
    overall = float(np.clip(again.sum() / max(1, buyers.sum()), 1e-3, 1 - 1e-3))
    recent = known.day >= until - RECENT_DAYS
    recent_pairs = np.unique(known.customer[recent].astype(np.int64) * n_items + known.item[recent])
    active = len(np.unique(known.customer[recent]))
    starts, neighbours, likeness = _neighbours(owner, item, buyers, n_items)
    return ItemFigures(
        popularity=buyers / max(1, len(np.unique(owner))),
        lately=np.bincount(recent_pairs % n_items, minlength=n_items) / max(1, active),
        repeat=(again + _SHRINK_REPEAT * overall) / (buyers + _SHRINK_REPEAT),
        starts=starts,
        neighbours=neighbours,
        likeness=likeness,
    )


def _of_most_items(purchases: Purchases) -> Purchases:
    """The purchases of the items with the most buyers, and only those items."""
    counts = np.bincount(purchases.item, minlength=len(purchases.items))
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_ITEMS])
    kept = kept[counts[kept] > 0]
    code = np.full(len(purchases.items), -1, dtype=np.int32)
    code[kept] = np.arange(len(kept), dtype=np.int32)
    mine = code[purchases.item] >= 0
    return Purchases(
        purchases.customers,
        tuple(purchases.items[place] for place in kept.tolist()),
        purchases.customer[mine],
        code[purchases.item[mine]],
        purchases.day[mine],
    )


def _neighbours(
    owner: NDArray[np.int64], item: NDArray[np.int64], buyers: NDArray[np.int64], n_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Per item the most alike ones: cosine of their buyers, shrunk where those are few; a sparse matrix by rows."""
    owners, owner = np.unique(owner, return_inverse=True)
    rng = np.random.default_rng(_SEED)
    if len(owners) > MOST_BASKETS:
        chosen = np.zeros(len(owners), dtype=np.bool_)
        chosen[rng.choice(len(owners), MOST_BASKETS, replace=False)] = True
        owner, item = owner[chosen[owner]], item[chosen[owner]]
        buyers = np.bincount(item, minlength=n_items)
    # Who bought everything says nothing of what goes together, and would cost the most.
    size = np.bincount(owner, minlength=len(owners))
    few = size[owner] <= MOST_OWN
    owner, item = owner[few], item[few]
    bought = sparse.csr_array((np.ones(len(owner), dtype=np.float32), (owner, item)), shape=(len(owners), n_items))
    by_item = bought.T.tocsr()
    scale = 1.0 / np.sqrt(buyers + _SHRINK_LIKENESS)
    starts = np.zeros(n_items + 1, dtype=np.int64)
    codes: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    for first in range(0, n_items, _BLOCK):
        together = sparse.csr_array(by_item[first : first + _BLOCK] @ bought)
        for row in range(together.shape[0]):
            mine = slice(together.indptr[row], together.indptr[row + 1])
            others, count = together.indices[mine], together.data[mine]
            alike = count * scale[others] * scale[first + row]
            alike[others == first + row] = -1.0
            best = np.argsort(-alike, kind="stable")[:MOST_NEIGHBOURS]
            best = best[alike[best] > 0.0]
            starts[first + row + 1] = len(best)
            codes.append(others[best].astype(np.int32))
            values.append(alike[best].astype(np.float32))
    return np.cumsum(starts), np.concatenate(codes), np.concatenate(values)


def histories(purchases: Purchases, places: NDArray[np.int64], until: int) -> Iterator[OwnHistory]:
    """The histories of some customers, by their places, of purchases that end before `until`."""
    starts = np.searchsorted(purchases.customer, [places, places + 1])
    for first, last in starts.T.tolist():
        yield OwnHistory.of(purchases.item[first:last], until - purchases.day[first:last])


def _window(purchases: Purchases, cutoff: int, days: int) -> Window:
    before = purchases.before(cutoff)
    later = (purchases.day >= cutoff) & (purchases.day < cutoff + days)
    buyers = np.intersect1d(np.unique(before.customer), np.unique(purchases.customer[later])).astype(np.int64)
    if len(buyers) < LEAST_BUYERS:
        return Window(np.empty((0, len(FIGURES))), np.empty(0, dtype=np.bool_), len(buyers))
    if len(buyers) > MOST_CUSTOMERS:
        buyers = np.sort(np.random.default_rng(_SEED).choice(buyers, MOST_CUSTOMERS, replace=False))
    items = item_figures(purchases, cutoff)
    n_items = len(purchases.items)
    then = set(np.unique(purchases.customer[later].astype(np.int64) * n_items + purchases.item[later]).tolist())
    blocks, bought = [], []
    for place, history in zip(buyers.tolist(), histories(before, buyers, cutoff), strict=True):
        codes, figures = items.candidates(history)
        blocks.append(figures)
        bought.append(np.array([place * n_items + code in then for code in codes.tolist()], dtype=np.bool_))
    return Window(np.concatenate(blocks), np.concatenate(bought), len(buyers))


def _fit_weights(windows: list[Window]) -> tuple[FloatArray, float]:
    figures = np.concatenate([window.figures for window in windows])
    scaler = StandardScaler().fit(figures)
    line = LogisticRegression(C=1.0, max_iter=500)
    line.fit(scaler.transform(figures), np.concatenate([window.bought for window in windows]))
    weights = np.asarray(line.coef_[0] / scaler.scale_, dtype=np.float64)
    return weights, float(line.intercept_[0] - weights @ scaler.mean_)
