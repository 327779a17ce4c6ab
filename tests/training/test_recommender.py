"""Recommenders: fitted to what comes again and what goes together, and honest where nothing can be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.benchmarks.decisions.recommendations import measure
from features.snapshots.purchases import Purchases, day_of, write_purchases
from models.errors import BundleError
from models.recommender import OwnHistory, Recommender, Why
from training.recommender import fit_recommender, item_figures

UNTIL = 400
MILK, SOFA, BREAD, PHONE, CASE = "milk", "sofa", "bread", "phone", "case"


def bought(rows: list[tuple[str, str, int]]) -> Purchases:
    """Purchases of (customer, item, day)."""
    rows = sorted(set(rows))
    customers, items = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    return Purchases(
        tuple(customers),
        tuple(items),
        np.array([customers.index(row[0]) for row in rows], dtype=np.int32),
        np.array([items.index(row[1]) for row in rows], dtype=np.int32),
        np.array([row[2] for row in rows], dtype=np.int32),
    )


def market(seed: int = 0, customers: int = 300) -> Purchases:
    """Half buy milk every ten days, half bread; some buy one sofa; who buys a phone buys a case three weeks later."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, int]] = []
    for number in range(customers):
        name = f"C{number:03d}"
        staple = MILK if number % 2 else BREAD
        rows += [(name, staple, int(day)) for day in range(int(rng.integers(0, 10)), UNTIL, 10) if rng.random() < 0.7]
        if rng.random() < 0.3:
            rows.append((name, SOFA, int(rng.integers(0, UNTIL))))
        if rng.random() < 0.4:
            day = int(rng.integers(0, UNTIL))
            rows += [(name, PHONE, day), (name, CASE, min(UNTIL - 1, day + 21))]
        rows += [(name, f"odd {int(rng.integers(0, 40)):02d}", int(rng.integers(0, UNTIL))) for _ in range(3)]
    return bought(rows)


@pytest.fixture(scope="module")
def purchases() -> Purchases:
    return market()


@pytest.fixture(scope="module")
def recommender(purchases: Purchases) -> Recommender:
    fitted = fit_recommender(purchases, UNTIL)
    assert fitted is not None
    return fitted


def history(recommender: Recommender, *rows: tuple[str, int]) -> OwnHistory:
    """A history of (item, age in days)."""
    return OwnHistory.of(recommender.codes([item for item, _ in rows]), np.array([age for _, age in rows]))


def test_what_is_bought_again_and_again_comes_first(recommender: Recommender) -> None:
    mine = history(recommender, (MILK, 12), (MILK, 22), (MILK, 32), ("odd 03", 200))
    first, *_ = recommender.rank(mine, 5)
    assert (first.item, first.why) == (MILK, Why.BOUGHT_BEFORE)
    assert 0.5 < first.score <= 1
    assert [one.score for one in recommender.rank(mine, 5)] == sorted(
        (one.score for one in recommender.rank(mine, 5)), reverse=True
    )


def test_what_goes_with_it_is_recommended_and_says_with_what(recommender: Recommender) -> None:
    found = {one.item: one for one in recommender.rank(history(recommender, (PHONE, 5)), 10)}
    assert (found[CASE].why, found[CASE].because) == (Why.BOUGHT_WITH, PHONE)


def test_what_was_just_bought_and_nobody_buys_twice_is_left_out(recommender: Recommender) -> None:
    mine = history(recommender, (SOFA, 3), (MILK, 3), (PHONE, 90))
    out = recommender.just_bought(mine, 30, 0.05)
    assert [recommender.items[code] for code in out.tolist()] == [SOFA]
    assert SOFA not in [one.item for one in recommender.rank(mine, 100, out)]
    assert SOFA in [one.item for one in recommender.rank(mine, 100)]


def test_who_bought_nothing_gets_what_is_popular(recommender: Recommender) -> None:
    nothing = history(recommender)
    assert {one.item for one in recommender.rank(nothing, 2)} == {MILK, BREAD}
    assert all(one.why is Why.POPULAR for one in recommender.rank(nothing, 5))
    assert MILK not in [one.item for one in recommender.popular(5, recommender.codes([MILK]))]


def test_a_recommender_is_the_same_after_bytes(recommender: Recommender, purchases: Purchases) -> None:
    content = recommender.to_bytes()
    again = Recommender.from_bytes(content)
    assert again.to_bytes() == content
    again_fitted = fit_recommender(purchases, UNTIL)
    assert again_fitted is not None
    assert again_fitted.to_bytes() == content
    mine = history(recommender, (MILK, 12), (PHONE, 30))
    assert again.rank(mine, 10) == recommender.rank(mine, 10)
    with pytest.raises(BundleError):
        Recommender.from_bytes(b"nothing")


def test_too_few_customers_leave_popularity(purchases: Purchases) -> None:
    few = fit_recommender(market(customers=20), UNTIL)
    assert few is not None
    assert few.weights is None
    assert few.rank(history(few, (MILK, 3)), 1)[0].why is Why.POPULAR
    assert fit_recommender(purchases.before(0), UNTIL) is None


def test_nothing_from_the_cutoff_on_is_learned(purchases: Purchases) -> None:
    later = replace(purchases, day=purchases.day + np.int32(0))
    early = fit_recommender(later, 300)
    cut = fit_recommender(purchases.before(300), 300)
    assert early is not None
    assert cut is not None
    assert early.to_bytes() == cut.to_bytes()


rows = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["x", "y", "z", "ü"]), st.integers(0, 99)),
    min_size=1,
    max_size=40,
)


@given(rows, st.integers(1, 6))
def test_figures_are_those_of_a_plain_count(rows: list[tuple[str, str, int]], k: int) -> None:
    purchases = bought(rows)
    figures = item_figures(purchases, 100)
    people = {row[0] for row in rows}
    for place, item in enumerate(purchases.items):
        buyers = {row[0] for row in rows if row[1] == item}
        assert figures.popularity[place] == pytest.approx(len(buyers) / len(people))
        mine = slice(figures.starts[place], figures.starts[place + 1])
        for other, likeness in zip(figures.neighbours[mine].tolist(), figures.likeness[mine].tolist(), strict=True):
            theirs = {row[0] for row in rows if row[1] == purchases.items[other]}
            both = len(buyers & theirs)
            assert likeness == pytest.approx(both / np.sqrt((len(buyers) + 10) * (len(theirs) + 10)), rel=1e-5)
    recommender = Recommender(purchases.items, figures, np.linspace(-1, 1, 11), 0.0, 30)
    codes, day = purchases.of(rows[0][0])
    mine_bought = OwnHistory.of(codes, 100 - day)
    left_out = mine_bought.items[:1].astype(np.int64)
    found = [one.item for one in recommender.rank(mine_bought, k, left_out)]
    assert len(found) == len(set(found)) == min(k, len(purchases.items) - 1)
    assert purchases.items[int(left_out[0])] not in found


def test_purchases_are_those_known_at_the_moment(tmp_path: Path) -> None:
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    day = datetime(2024, 4, 1, tzinfo=UTC)
    rows = [
        ("a", day, day, "purchase", '{"item": "x"}'),
        ("a", day, day, "purchase", '{"item": "x", "n": 2}'),  # the same item on the same day
        ("b", day, noon, "purchase", '{"item": "y"}'),  # heard of too late
        ("b", noon, noon, "purchase", '{"item": "y"}'),
        ("b", day, day, "refund", '{"item": "y"}'),
        ("b", day, day, "purchase", "{}"),
        ("ä", day, None, "purchase", '{"item": 7}'),
    ]
    names = ("customer_id", "occurred_at", "received_at", "type", "properties")
    columns = {name: pa.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    assert write_purchases(tmp_path / "events.parquet", noon, tmp_path / "purchases.parquet")
    found = Purchases.read(tmp_path / "purchases.parquet")
    assert (found.customers, found.items) == (("a", "ä"), ("7", "x"))
    assert [column.tolist() for column in found.of("ä")] == [[0], [day_of(day)]]
    assert [column.tolist() for column in found.of("a")] == [[1], [day_of(day)]]
    assert found.of("nobody")[0].tolist() == []
    assert not write_purchases(tmp_path / "events.parquet", day, tmp_path / "none.parquet")


@pytest.mark.data
@pytest.mark.slow
def test_recommendations_beat_popularity_and_last_purchases() -> None:
    config = Path(__file__).parents[2] / "experiments" / "complete_journey.toml"
    data = config.parent / "../../shared/data/complete_journey/transactions_sample.parquet"
    if not data.exists():
        pytest.skip("../shared/data/complete_journey is not there")
    measured = measure(config, 30)
    assert measured.customers > 1000
    for ranked in measured.rankers[1:]:
        assert ranked.recall_behind is not None
        assert ranked.recall_behind.low > 0, ranked.name
        assert ranked.ndcg_behind is not None
        assert ranked.ndcg_behind.low > 0, ranked.name
