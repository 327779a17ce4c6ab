"""Drift is seen where there is some, and not where there is none."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from features.build import build
from features.config.business import Watch
from features.generation import Generation
from features.home import Home
from serving.scores.history import ScoreHistory
from training.__main__ import app
from training.errors import TrainingError
from training.evaluation.drift import Histogram, psi, psi_of_chance
from training.monitoring.served_scores import matured_scores
from training.monitoring.watch import Matured, Movement, _reasons, watch
from training.promotion.model import promote
from training.run import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=60))
def test_a_histogram_holds_every_row_and_comes_back_from_json(values: list[float]) -> None:
    column = np.array(values)
    kept = Histogram.of(column)
    assert kept.rows == len(values)
    assert kept.missing == int(np.isnan(column).sum())
    assert Histogram.from_json(kept.to_json()) == kept
    assert kept.filled(column) == kept
    assert psi(kept, kept) == 0.0


def test_words_that_were_never_seen_are_others() -> None:
    kept = Histogram.of(np.array(["a", "a", "b", None], dtype=object))
    assert (kept.words, kept.counts, kept.missing) == (("a", "b"), (2, 1, 0), 1)
    assert kept.filled(np.array(["c", None, "b"], dtype=object)).counts == (0, 1, 1)


def test_psi_is_what_it_is_said_to_be() -> None:
    rng = np.random.default_rng(0)
    then = Histogram.of(rng.normal(size=50_000))
    moved = psi(then, then.filled(rng.normal(0.5, 1, 50_000)))
    assert moved == pytest.approx(
        0.25, abs=0.04
    )  # of two normals half a deviation apart, (Δμ)²/σ², but for the binning
    small = [psi(then, then.filled(rng.normal(size=300))) for _ in range(200)]
    chance = psi_of_chance(then, then.filled(rng.normal(size=300)))
    assert np.mean(small) == pytest.approx(chance / 2, rel=0.25)
    assert np.mean(np.array(small) > chance) < 0.05


@pytest.mark.parametrize(
    ("score", "feature", "matured", "reason"),
    [
        (0.05, (0.05, 0.9), None, None),
        (0.5, (0.05, 0.9), None, "Scores have moved"),
        (0.05, (0.5, 0.9), None, "carry 90% of all contributions"),
        (0.05, (0.5, 0.1), None, None),
        (0.05, (0.05, 0.9), (0.70, 0.02), "less well"),
        (0.05, (0.05, 0.9), (0.79, 0.02), None),
        (0.05, (0.05, 0.9), (0.80, 0.2), "probabilities are off"),
    ],
)
def test_what_decides(score: float, feature: tuple[float, float], matured: Any, reason: str | None) -> None:
    from models.inference.interval import Interval

    seen = None
    if matured is not None:
        auc, ece = matured
        seen = Matured(500, 0.3, 0.3, "since", auc, Interval(auc - 0.03, auc + 0.03), 0.8, ece, None, 0.08)
    reasons = _reasons(
        Movement("score", score, 0.01, 0, 0, 1.0), [Movement("f", feature[0], 0.01, 0, 0, feature[1])], seen, Watch()
    )
    assert (reasons == []) if reason is None else (len(reasons) == 1 and reason in reasons[0])


def test_missing_values_move_a_feature_too() -> None:
    assert Movement("f", 0.05, 0.01, 0.0, 0.3, 0.5).moved(Watch())
    assert not Movement("f", 0.05, 0.01, 0.0, 0.3, 0.5).moved(Watch(missing=0.4))


def test_a_table_that_stands_is_fine_and_one_that_changed_is_not(
    build_table: Any, customers: Any, silent: Any, tmp_path: Path
) -> None:
    rows = customers(300)
    place = build_table(tmp_path / "b", rows)
    with pytest.raises(TrainingError, match="no champion"):
        watch(place.home)
    run(place.business, place.home, silent)
    promote(place.home, force="a small test")
    fine = watch(place.home)
    assert not fine.retrain
    assert fine.matured is None
    assert fine.customers == 300
    assert all(one.psi < 1e-9 for one in fine.features)
    assert sum(one.importance for one in fine.features) == pytest.approx(1.0)

    # New customers who call more, on other plans, and leave for no reason that the model knows.
    rng = np.random.default_rng(1)
    more = [
        {**row, "id": f"N{number}", "calls": int(row["calls"]) + 4, "plan": "pro", "left": rng.choice(["yes", "no"])}
        for number, row in enumerate(customers(400, seed=9))
    ]
    place = build_table(tmp_path / "b", [*rows[:50], *more], home=place.home)
    build(place.business, place.home, datetime.now(UTC), lambda *_: None)
    drifted = watch(place.home)
    assert drifted.retrain
    assert {one.name for one in drifted.features if one.moved(drifted.limits)} >= {"calls", "plan"}
    assert drifted.matured is not None
    assert drifted.matured.rows == 400
    assert drifted.matured.auc < drifted.matured.auc_then
    page = drifted.document().html()
    assert "It should be trained again." in page
    assert all(reason.replace("'", "&#39;") in page for reason in drifted.reasons)

    done = CliRunner().invoke(app, ["watch"], env={"KEEPWELL_HOME": str(place.home.path)})
    assert done.exit_code == 3, done.stderr
    assert "retrain:" in done.stdout
    assert (place.home.path / "watch.html").exists()
    assert (place.home.path / "watch.json").exists()


def test_served_scores_are_held_to_what_came(log: Any, tmp_path: Path) -> None:
    """Hand-made parts in the service's own form; outcomes by the definition, read from the events themselves."""
    generation = Generation.current(log.home)
    home = Home(tmp_path)
    events = [
        (row["customer_id"], datetime.fromisoformat(str(row["occurred_at"])))
        for row in csv.DictReader((log.business.path.parent / "events.csv").read_text().splitlines())
    ]
    people = sorted({customer for customer, _ in events})
    told = datetime(2024, 5, 10, 12, tzinfo=UTC)
    late = datetime(2024, 8, 20, tzinfo=UTC)  # its 30 days are not over
    history = ScoreHistory(home.path / "scores", 400, lambda _: None, clock=lambda: told.timestamp())
    for number, customer in enumerate(people):
        history.note(customer, (number + 1) / 1000, 50.0, "7", "1")
    history.flush()
    again = ScoreHistory(home.path / "scores", 400, lambda _: None, clock=lambda: late.timestamp())
    again.note(people[0], 0.9, 50.0, "7", "1")
    again.note("newcomer", 0.9, 50.0, "7", "1")
    again.note(people[0], 0.9, 50.0, "8", "1")
    again.flush()
    found = matured_scores(home, generation, log.business, "7")
    assert found is not None
    active = {customer for customer, moment in events if told <= moment < told + timedelta(days=30)}
    assert found.p.tolist() == [(number + 1) / 1000 for number in range(len(people))]
    assert found.y.tolist() == [int(customer not in active) for customer in people]
    assert 0 < found.y.mean() < 1
    nothing = matured_scores(home, generation, log.business, "9")
    assert nothing is not None
    assert len(nothing.y) == 0
    assert matured_scores(Home(tmp_path / "none"), generation, log.business, "7") is None
