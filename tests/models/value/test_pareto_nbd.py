"""Pareto/NBD and Gamma-Gamma: against the papers' formulas, against simulated customers, and on CDNOW."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, hyp2f1

from models.errors import ModelsError
from models.value.pareto_nbd import PurchaseHistories, PurchaseProcess, PurchaseSpend

CDNOW = Path(__file__).parents[3] / "../shared/data/cdnow/cdnow_master.csv.gz"
TRUTH = PurchaseProcess(r=0.8, alpha=40.0, s=0.7, beta=90.0)


def histories_of(
    process: PurchaseProcess, n: int, rng: np.random.Generator, ahead: float
) -> tuple[PurchaseHistories, np.ndarray]:
    """Customers drawn from the process, known for 100 to 400 days, and how often each buys in the `ahead` days to come."""
    known = rng.integers(100, 400, n).astype(np.float64)
    rate = rng.gamma(process.r, 1.0 / process.alpha, n)
    life = rng.exponential(1.0 / rng.gamma(process.s, 1.0 / process.beta, n))
    count, last, later = np.ones(n), known.copy(), np.zeros(n)
    for i in range(n):
        moment = rng.exponential(1.0 / rate[i])
        while moment < min(life[i], known[i] + ahead):
            if moment < known[i]:
                count[i] += 1.0
                last[i] = known[i] - moment
            else:
                later[i] += 1.0
            moment += rng.exponential(1.0 / rate[i])
    return PurchaseHistories.of(count, known, last, np.full(n, np.nan)), later


@pytest.fixture(scope="module")
def simulated() -> tuple[PurchaseHistories, np.ndarray]:
    return histories_of(TRUTH, 6_000, np.random.default_rng(5), 180.0)


def papers_log_likelihood(process: PurchaseProcess, x: float, tx: float, T: float) -> float:
    """Fader & Hardie (2005), A note on deriving the Pareto/NBD model, with its hypergeometric functions."""
    r, alpha, s, beta = process.r, process.alpha, process.s, process.beta
    larger, other = (alpha, s + 1.0) if alpha >= beta else (beta, r + x)

    def term(moment: float) -> float:
        z = abs(alpha - beta) / (larger + moment)
        return float(hyp2f1(r + s + x, other, r + s + x + 1.0, z) / (larger + moment) ** (r + s + x))

    alive = 1.0 / ((alpha + T) ** (r + x) * (beta + T) ** s)
    dead = s / (r + s + x) * (term(tx) - term(T))
    known = float(gammaln(r + x) - gammaln(r) + r * np.log(alpha) + s * np.log(beta))
    return known + float(np.log(alive + dead))


@pytest.mark.parametrize(
    "process", [TRUTH, PurchaseProcess(0.5, 9.0, 0.6, 60.0), PurchaseProcess(2.0, 90.0, 1.0, 30.0)]
)
@pytest.mark.parametrize(("x", "tx", "known"), [(0, 0, 40), (1, 12, 200), (6, 150, 160), (12, 30, 300)])
def test_the_likelihood_is_the_papers(process: PurchaseProcess, x: int, tx: int, known: int) -> None:
    history = PurchaseHistories.of([x + 1.0], [float(known)], [float(known - tx)], [np.nan])

    assert process.log_likelihood(history)[0] == pytest.approx(papers_log_likelihood(process, x, tx, known), abs=1e-7)


def test_what_was_put_in_is_found_again(simulated: tuple[PurchaseHistories, np.ndarray]) -> None:
    fitted = PurchaseProcess.fit(simulated[0])

    assert fitted.r == pytest.approx(TRUTH.r, rel=0.15)
    assert fitted.alpha == pytest.approx(TRUTH.alpha, rel=0.2)
    assert fitted.s == pytest.approx(TRUTH.s, rel=0.3)


def test_it_foretells_how_many_buy_and_how_often(simulated: tuple[PurchaseHistories, np.ndarray]) -> None:
    histories, later = simulated
    fitted = PurchaseProcess.fit(histories)

    expected, any_purchase = fitted.expected_purchases(histories, 180.0), fitted.any_purchase(histories, 180.0)

    assert expected.sum() == pytest.approx(later.sum(), rel=0.05)
    assert any_purchase.mean() == pytest.approx((later > 0).mean(), abs=0.02)
    for part in np.array_split(np.argsort(any_purchase), 5):
        assert any_purchase[part].mean() == pytest.approx((later[part] > 0).mean(), abs=0.04)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.floats(0.1, 8), st.floats(1, 900), st.floats(0.05, 8), st.floats(0.5, 3000)),
    st.integers(1, 400),
    st.floats(1, 2000),
    st.floats(0, 1),
    st.floats(1, 700),
)
def test_probabilities_hold_together(
    parameters: tuple[float, float, float, float], count: int, first: float, share: float, days: float
) -> None:
    process = PurchaseProcess(*parameters)
    history = PurchaseHistories.of([count], [first], [first * share], [np.nan])

    alive, soon, later = (
        process.alive(history),
        process.any_purchase(history, days),
        process.any_purchase(history, 2 * days),
    )

    assert 0.0 <= alive[0] <= 1.0
    # As exact as the integral is wherever parameters may be.
    assert 0.0 <= soon[0] <= later[0] + 1e-6
    assert later[0] <= alive[0] + 1e-6
    assert soon[0] <= process.expected_purchases(history, days)[0] + 1e-6


def test_spend_lies_between_a_customers_own_and_everybodys() -> None:
    rng = np.random.default_rng(3)
    truth = PurchaseSpend(p=5.0, q=4.0, gamma=18.0)
    count = rng.integers(1, 12, 4_000).astype(np.float64)
    scale = rng.gamma(truth.q, 1.0 / truth.gamma, 4_000)
    mean = rng.gamma(truth.p * count, 1.0 / (scale * count))
    histories = PurchaseHistories.of(count, np.full(4_000, 90.0), np.full(4_000, 20.0), mean)

    fitted = PurchaseSpend.fit(histories)
    everybody = fitted.gamma * fitted.p / (fitted.q - 1.0)
    expected = fitted.expected(histories)

    assert everybody == pytest.approx(30.0, rel=0.1)
    assert np.all((expected - np.minimum(mean, everybody) > -1e-9) & (expected - np.maximum(mean, everybody) < 1e-9))
    # What is drawn towards everybody's mean is nearer to the truth than what was seen.
    own = truth.p / scale
    assert ((expected - own) ** 2).mean() < 0.9 * ((mean - own) ** 2).mean()
    assert fitted.expected(PurchaseHistories.of([3.0], [90.0], [1.0], [np.nan]))[0] == pytest.approx(everybody)


def test_parameters_survive_json() -> None:
    assert PurchaseProcess.of_json(TRUTH.to_json()) == TRUTH


def test_too_few_customers_are_refused_with_a_sentence() -> None:
    with pytest.raises(ModelsError, match="60 customers bought, 0 of them on more than one day"):
        PurchaseProcess.fit(PurchaseHistories.of(np.ones(60), np.full(60, 9.0), np.full(60, 9.0), np.full(60, 1.0)))


@pytest.mark.data
def test_cdnow_from_1997_alone() -> None:
    if not CDNOW.exists():
        pytest.skip("the public data are not at ../shared/data")
    frame = duckdb.execute(
        f"""
        WITH bought AS (
          SELECT customer_id, strptime(date::VARCHAR, '%Y%m%d')::DATE AS day, sum(dollar_value) AS money
          FROM '{CDNOW}' GROUP BY ALL),
        later AS (
          SELECT customer_id, sum(money) AS spent FROM bought
          WHERE day >= DATE '1998-01-01' AND day < DATE '1998-01-01' + 181 GROUP BY ALL)
        SELECT count(*) AS count, DATE '1998-01-01' - min(day) AS first, DATE '1998-01-01' - max(day) AS last,
               avg(money) AS mean, any_value(coalesce(spent, 0)) AS spent
        FROM bought LEFT JOIN later USING (customer_id) WHERE day < DATE '1998-01-01' GROUP BY customer_id
        """
    ).fetchnumpy()
    histories = PurchaseHistories.of(frame["count"], frame["first"], frame["last"], frame["mean"])
    spent = np.asarray(frame["spent"], dtype=np.float64)

    process = PurchaseProcess.fit(histories)
    any_purchase = np.clip(process.any_purchase(histories, 181), 1e-9, 1 - 1e-9)
    bought = spent > 0
    log_loss = -np.log(np.where(bought, any_purchase, 1 - any_purchase)).mean()
    value = process.expected_purchases(histories, 181) * PurchaseSpend.fit(histories).expected(histories)

    assert log_loss <= 0.4225
    assert value.sum() == pytest.approx(spent.sum(), rel=0.02)
    assert np.sqrt(((value - spent) ** 2).mean()) <= 56.0
