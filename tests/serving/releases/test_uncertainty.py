"""How sure a score is, when a customer leaves, and how much is known: the same by every way, and null without a model of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.config.business import Business
from features.errors import ConfigError
from models.inference.calibration import logit
from models.inference.survival import Hazard, period_ends
from models.inference.venn_abers import ProbabilityInterval
from models.registry.model_bundle import ModelBundle
from models.scorecard import Band
from serving.current_scores.record import FIGURES, BatchRow
from serving.current_scores.table import ScoreTable
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.releases.uncertainty import UncertaintyTable
from serving.scores.json_template import ScoreTemplate
from serving.scores.schemas import Score, score_json
from serving.scores.scorer import INSUFFICIENT_DATA, CustomerScore, Explain, Scorer

from ..conftest import NEWCOMER, TOML, Shop, customer_ids, make_bundle

_BUNDLE: ModelBundle = make_bundle()
CUSTOMERS = [*customer_ids()[:60], NEWCOMER]


@pytest.fixture(scope="module")
def release(template: Shop) -> Iterator[Release]:
    source = ReleaseSource(template.settings)
    release = source.load(source.newest())
    yield release
    release.store.close()


def scored(release: Release, explain: Explain = Explain.TOP) -> list[CustomerScore]:
    found = Scorer(release).score(CUSTOMERS, explain)
    assert all(isinstance(score, CustomerScore) for score in found)
    return [score for score in found if isinstance(score, CustomerScore)]


def test_a_score_says_how_sure_it_is_and_when_they_leave(client: httpx.Client) -> None:
    for customer_id in ("C00001", "C00017", NEWCOMER):
        for explain in ("top", "all", "none"):
            score = client.get(f"/v1/customers/{customer_id}/score", params={"explain": explain}).json()
            Score.model_validate(score)
            churn = score["churn"]
            assert 0 <= churn["interval"]["low"] <= churn["probability"] <= churn["interval"]["high"] <= 1
            assert churn["interval"]["low"] < churn["interval"]["high"]
            assert [one["days"] for one in churn["horizons"]] == [30, 60, 90, 180]
            within = [one["probability"] for one in churn["horizons"]]
            assert within == sorted(within)
            assert within[0] < within[3]
            assert within[1] == churn["probability"], "60 days are the business's own horizon"
            assert 0 < churn["expected_days_to_churn"] < 180


def test_of_whom_little_is_known_there_is_no_colour(client: httpx.Client) -> None:
    score = client.get(f"/v1/customers/{NEWCOMER}/score").json()
    assert score["health"]["band"] == "insufficient_data"
    assert "insufficient_data" in score["degraded"]
    assert score["coverage"] < 0.5
    known = client.get("/v1/customers/C00001/score").json()
    assert known["health"]["band"] in ("red", "yellow", "green")
    assert "insufficient_data" not in known["degraded"]
    assert known["coverage"] > 0.5


def test_the_threshold_is_the_businesss_own(release: Release, tmp_path: Path) -> None:
    assert release.minimum_coverage == 0.5
    lenient = {score.customer_id: score for score in scored(replace(release, minimum_coverage=0.0))}
    assert lenient[NEWCOMER].band is release.scorecard.band(lenient[NEWCOMER].score)
    assert INSUFFICIENT_DATA not in lenient[NEWCOMER].degraded
    strict = scored(replace(release, minimum_coverage=1.0))
    assert len({score.band for score in strict}) > 1
    assert {score.band for score in strict if score.figures["coverage"] == 1.0} <= {Band.RED, Band.YELLOW, Band.GREEN}
    for text, said in (("0.75", 0.75), ("1.5", None)):
        (tmp_path / "business.toml").write_text(f"{TOML}[health]\nminimum_coverage = {text}\n")
        (tmp_path / "events.csv").write_text("")
        if said is None:
            with pytest.raises(ConfigError, match="minimum_coverage"):
                Business.load(tmp_path / "business.toml")
        else:
            assert Business.load(tmp_path / "business.toml").health.minimum_coverage == said


def test_every_way_says_the_same(release: Release) -> None:
    table, places = ScoreTable.as_of_now(release, CUSTOMERS)
    assert len(places) == len(CUSTOMERS)
    rows = list(table.rows(["no_action"] * len(table)))
    arrow = table.to_arrow(["no_action"] * len(table))
    bands = set()
    for place, (row, score, plain) in enumerate(zip(rows, scored(release), scored(release, Explain.NONE), strict=True)):
        expected = BatchRow.of(score, "no_action")
        bands.add(row.health_band)
        assert row.health_band == expected.health_band == plain.band == arrow["health_band"][place].as_py()
        for name in FIGURES:
            assert getattr(row, name) is not None
            assert getattr(row, name) == pytest.approx(getattr(expected, name), abs=1e-12), name
            assert arrow[name][place].as_py() == getattr(row, name)
            assert getattr(BatchRow.of(plain, "no_action"), name) == pytest.approx(
                getattr(row, name), rel=1e-3, abs=1e-3
            )
        assert row.churn_60d == row.churn_probability
    assert Band.INSUFFICIENT_DATA in bands
    assert len(bands) > 2


@pytest.mark.parametrize(
    "kept", [(), ("interval",), ("horizons",), ("coverage",), ("interval", "horizons", "coverage")]
)
def test_a_model_of_old_says_null(release: Release, kept: tuple[str, ...]) -> None:
    gone = dict.fromkeys({"interval", "horizons", "coverage"} - set(kept))
    bundle = replace(release.bundle, **gone)  # type: ignore[arg-type]
    old = Release.load(replace(release.parts, bundle=bundle)).with_population(np.array([0.1, 0.5]))
    for score in scored(old):
        assert (score.interval is None) == ("interval" not in kept)
        assert (score.horizons is None) == ("expected_days_to_churn" not in score.figures) == ("horizons" not in kept)
        assert ("coverage" not in score.figures) == ("coverage" not in kept)
        if "coverage" not in kept:
            assert score.band is not Band.INSUFFICIENT_DATA
        row = BatchRow.of(score, "no_action")
        assert (row.churn_low is None, row.churn_30d is None, row.coverage is None) == tuple(
            name not in kept for name in ("interval", "horizons", "coverage")
        )
    (table, _) = ScoreTable.as_of_now(old, CUSTOMERS[:3])
    assert all((column.null_count == 0) == (table.figures.get(name) is not None)
               for name, column in table.to_arrow(["no_action"] * 3).items() if name in FIGURES)  # fmt: skip
    said: dict[str, Any] = json.loads(ScoreTemplate(old).answer(NEWCOMER, "r")[0])
    (score,) = (one for one in scored(old) if one.customer_id == NEWCOMER)
    whole = json.loads(json.dumps(score_json(score, "r"), default=_plain))
    assert {name: said[name] for name in ("churn", "coverage", "degraded")} == {
        name: whole[name] for name in ("churn", "coverage", "degraded")
    }
    assert said["health"]["band"] == whole["health"]["band"]


def _plain(value: Any) -> Any:
    """Dataclasses and times as orjson writes them."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return str(value)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.one_of(st.floats(0, 1), st.floats(1e-6, 1 - 1e-6)), min_size=1, max_size=30),
    st.integers(1, 400),
    st.booleans(),
    st.lists(st.floats(-0.5, 0.5), min_size=20, max_size=20),
)
def test_what_is_looked_up_is_what_the_parts_say(
    p: list[float], horizon_days: int, silent: bool, figures: list[float]
) -> None:
    ends = period_ends(horizon_days, silent=silent)
    k = len(ends)
    hazard = Hazard(horizon_days, ends, tuple(figures[:k]), tuple(figures[10 : 10 + k]), -2.0, -4.0, 1.0, silent)
    interval = ProbabilityInterval((-3.0, -2.0, 0.1), (0.0, 0.1, 0.2), (0.15, 0.2, 0.9))
    bundle = replace(_BUNDLE, horizon_days=horizon_days, horizons=hazard, interval=interval)
    table = UncertaintyTable.of_bundle(bundle)
    asked = np.array(p)
    log_odds = logit(asked)
    found = table.of(asked, log_odds)
    assert found.low is not None
    assert found.high is not None
    low, high = interval.bounds(asked, logit(asked))
    assert found.low == pytest.approx(low, rel=1e-3, abs=1e-6)
    assert found.high == pytest.approx(high, rel=1e-3, abs=1e-6)
    assert ((found.low <= asked) & (asked <= found.high)).all()
    if hazard.days:
        assert found.within is not None
        assert found.expected is not None
        within, expected = hazard.outlook(asked, logit(asked))
        assert found.within == pytest.approx(within, rel=1e-3, abs=1e-6)
        assert found.expected == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert (np.diff(found.within, axis=1) >= -1e-15).all()
        if horizon_days in hazard.days:
            assert (found.within[:, hazard.days.index(horizon_days)] == asked).all()
    alone = [table.of_one(*one) for one in zip(asked.tolist(), log_odds.tolist(), strict=True)]
    columns = [found.low, found.high, *(() if found.within is None else found.within.T), found.expected]
    assert alone == np.column_stack([column for column in columns if column is not None]).tolist()
