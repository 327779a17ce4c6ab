"""Scores over HTTP: that every figure adds up, and comes from the registered model and the stored features."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import UnknownCustomer
from features.generation import Generation
from features.store.codec import key_of_id
from features.store.connect import open_rows
from features.store.offline import OnlineStore
from features.store.rows import read_catalog
from models.registry.registry import Registry
from models.scorecard import Scorecard
from serving.current_scores.feed import CurrentScores
from serving.platform.database import Database
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore, Explain, Scorer

from ..conftest import NEWCOMER, ODD_IDS, SCHEMA, Shop, customer_ids, midnight, serving


def get(client: httpx.Client, customer_id: str, explain: str = "top") -> dict[str, Any]:
    response = client.get(f"/v1/customers/{quote(customer_id, safe='')}/score", params={"explain": explain})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def post(client: httpx.Client, ids: list[str], explain: str) -> list[dict[str, Any]]:
    response = client.post("/v1/scores", json={"customer_ids": ids, "explain": explain})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


@pytest.fixture(scope="module")
def release(template: Shop) -> Release:
    source = ReleaseSource(template.settings)
    return source.load(source.newest())


def test_everything_adds_up_for_everybody(client: httpx.Client) -> None:
    answers = post(client, customer_ids(), "all")
    assert len({answer["health"]["base"] for answer in answers}) == 1
    for answer in answers:
        health = answer["health"]
        by_pillar: dict[str, float] = {pillar["pillar"]: 0.0 for pillar in health["pillars"]}
        for reason in answer["reasons"]:
            by_pillar[reason["pillar"]] += reason["points"]
        for pillar in health["pillars"]:
            assert abs(by_pillar[pillar["pillar"]] - pillar["points"]) < 1e-6
        total = health["base"] + sum(pillar["points"] for pillar in health["pillars"]) + health["clamped"]
        assert abs(total - health["score"]) < 1e-6
        assert health["clamped"] == 0.0 or health["score"] in (0.0, 100.0)
        change = health["change"]
        if change is not None:
            moved = sum(pillar["points"] for pillar in change["pillars"]) + change["clamped"]
            assert abs(moved - change["points"]) < 1e-6


def test_points_are_those_of_the_registered_booster(client: httpx.Client, template: Shop) -> None:
    registry = Registry(template.settings.registry, "tinyshop")
    champion = registry.champion()
    assert champion is not None
    assert champion.scorecard is not None
    bundle = registry.load(champion.version, template.home.path / "verification")
    booster = lightgbm.Booster(model_str=bundle.model_text)
    ids = customer_ids()
    schema = SCHEMA.predictive
    matrix = schema.to_matrix(OnlineStore(Generation.current(template.home)).read(ids).columns, bundle.categories)
    contributions = np.asarray(booster.predict(matrix, pred_contrib=True))
    scale = champion.scorecard.pdo / math.log(2)
    expected = -scale * bundle.calibration.slope * contributions[:, :-1]
    p_ref = champion.scorecard.p_ref
    margin = bundle.calibration.slope * contributions.sum(axis=1) + bundle.calibration.intercept
    for row, answer in enumerate(post(client, ids, "all")):
        points = {reason["feature"]: reason["points"] for reason in answer["reasons"]}
        assert set(points) == set(schema.names)
        for column, name in enumerate(schema.names):
            assert abs(points[name] - expected[row, column]) < 1e-6
        assert abs(answer["churn"]["probability"] - 1 / (1 + math.exp(-margin[row]))) < 1e-11
        health = 50 + scale * (math.log(p_ref / (1 - p_ref)) - margin[row])
        assert abs(answer["health"]["score"] - min(max(health, 0.0), 100.0)) < 1e-9


def test_values_are_the_stored_ones(client: httpx.Client, template: Shop) -> None:
    store = OnlineStore(Generation.current(template.home))
    ids = customer_ids()
    columns = store.read(ids).columns
    for row, answer in enumerate(post(client, ids, "all")):
        for reason in answer["reasons"]:
            stored = columns[reason["feature"]][row]
            if isinstance(stored, float):
                assert np.float32(reason["value"]) == np.float32(stored)
                assert f"{reason['value']}" == f"{reason['value']:.9g}", "the shortest figure of that float32"
            else:
                assert reason["value"] == stored


def test_reasons_are_the_largest_ties_by_name(client: httpx.Client) -> None:
    ids = customer_ids()
    signs = set()
    for top, everything in zip(post(client, ids, "top"), post(client, ids, "all"), strict=True):
        ordered = sorted(everything["reasons"], key=lambda reason: (-abs(reason["points"]), reason["feature"]))
        assert everything["reasons"] == ordered
        assert top["reasons"] == ordered[:5]
        pillars = everything["health"]["pillars"]
        assert pillars == sorted(pillars, key=lambda pillar: (-abs(pillar["points"]), pillar["pillar"]))
        assert "consent_email" not in [reason["feature"] for reason in ordered]
        signs |= {reason["points"] > 0 for reason in ordered}
    assert signs == {True, False}


def test_a_reason_is_a_sentence(client: httpx.Client) -> None:
    reasons = get(client, "C00007", "all")["reasons"]
    sessions = next(reason for reason in reasons if reason["feature"] == "sessions_30d")
    assert sessions["text"] == f"{sessions['value']} sessions in 30 days; {sessions['typical']} is typical"


def test_without_an_explanation_its_parts_are_left_out(client: httpx.Client) -> None:
    plain = get(client, "C00007", "none")
    explained = get(client, "C00007")
    assert "reasons" not in plain
    assert set(plain["health"]) == {"score", "band", "base", "clamped"}
    assert plain["health"]["base"] == explained["health"]["base"]
    assert abs(plain["churn"]["probability"] - explained["churn"]["probability"]) < 1e-4
    assert abs(plain["health"]["score"] - explained["health"]["score"]) < 1e-2
    assert plain["churn"]["percentile"] == explained["churn"]["percentile"]


def test_percentile_is_the_share_with_lower_risk(client: httpx.Client) -> None:
    answers = post(client, customer_ids(), "top")
    probabilities = [answer["churn"]["probability"] for answer in answers]
    for answer in answers:
        lower = sum(p < answer["churn"]["probability"] for p in probabilities)
        assert answer["churn"]["percentile"] == lower / len(probabilities)


def test_change_rescores_the_earlier_snapshot_by_the_same_model(client: httpx.Client, template: Shop) -> None:
    generation = Generation.current(template.home)
    assert generation.before is not None
    source = ReleaseSource(template.settings)
    release = source.load(source.newest())
    earlier = release.store.read(["C00009"], "before").columns
    (before,) = Scorer(release).score_rows(["C00009"], earlier)
    now = get(client, "C00009")
    change = now["health"]["change"]
    assert change["since"] == generation.before.isoformat().replace("+00:00", "Z")
    assert change["points"] == pytest.approx(now["health"]["score"] - before.score, abs=1e-9)
    assert get(client, NEWCOMER)["health"]["change"] is None


@pytest.mark.parametrize("customer_id", [customer_id for customer_id in ODD_IDS if customer_id != ".."])
def test_ids_travel_percent_encoded(client: httpx.Client, customer_id: str) -> None:
    assert get(client, customer_id)["customer_id"] == customer_id


@pytest.mark.parametrize("written", [" C00007", "C00007\u00a0\t", "\ufeffC00007"])
def test_ids_are_cleaned_as_a_build_cleans_them(client: httpx.Client, written: str) -> None:
    assert get(client, written)["customer_id"] == "C00007"
    assert post(client, [written], "none")[0]["churn"] == post(client, ["C00007"], "none")[0]["churn"]


def test_unknown_customers_are_never_scored(client: httpx.Client) -> None:
    for unknown in ("nobody", "c00007", "C 00007", "a/b", "x\ny", "%", "ß" * 100):
        response = client.get(f"/v1/customers/{quote(unknown, safe='')}/score")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
    results = post(client, ["C00001", "nobody", "..", "C00001"], "none")
    assert [result["customer_id"] for result in results] == ["C00001", "nobody", "..", "C00001"]
    assert set(results[1]) == {"customer_id", "error"}
    assert results[1]["error"]["type"] == "/docs/problems#unknown-customer"
    assert results[1]["error"]["status"] == 404
    assert results[0] == results[3]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "customer_ids"),
        ({"customer_ids": []}, "customer_ids"),
        ({"customer_ids": [17850]}, "customer_ids.0"),
        ({"customer_ids": ["C00001", ""]}, "customer_ids.1"),
        ({"customer_ids": ["C00001", "\u00a0 "]}, "customer_ids.1"),
        ({"customer_ids": ["C"] * 1001}, "customer_ids"),
        ({"customer_ids": ["C00001"], "explain": "some"}, "explain"),
        ({"customer_ids": ["C00001"], "explian": "top"}, "explian"),
        ({"customer_ids": ["nul\x00"]}, "customer_ids.0"),
    ],
)
def test_a_wrong_request_names_its_field(client: httpx.Client, body: dict[str, object], field: str) -> None:
    response = client.post("/v1/scores", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


def test_a_lone_surrogate_is_refused_not_crashed_on(client: httpx.Client) -> None:
    response = client.post(
        "/v1/scores", content=rb'{"customer_ids": ["\ud800"]}', headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 422


def test_current_scores_are_followed_page_by_page(client: httpx.Client) -> None:
    seen: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": 100}
    while True:
        answer = client.get("/v1/scores", params=params).json()
        seen += answer["results"]
        if answer["next_cursor"] is None:
            break
        params["cursor"] = answer["next_cursor"]
    assert sorted(row["customer_id"] for row in seen) == sorted(customer_ids())
    scores = {answer["customer_id"]: answer for answer in post(client, customer_ids(), "top")}
    for row in seen:
        score = scores[row["customer_id"]]
        assert row["churn_probability"] == score["churn"]["probability"]
        assert row["health_score"] == score["health"]["score"]
        assert row["health_band"] == score["health"]["band"]
        assert [row[f"reason_{i}"] for i in (1, 2, 3)] == [reason["text"] for reason in score["reasons"][:3]]
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert client.get("/v1/scores", params={"changed_since": later}).json() == {"results": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"changed_since": "yesterday"}, "changed_since"),
        ({"changed_since": "2026-11-20T00:00:00"}, "changed_since"),
        ({"changed_since": "1700000000"}, "changed_since"),
        ({"changed_since": "2026-02-30T00:00:00Z"}, "changed_since"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"changed_sinze": "2026-11-20T00:00:00Z"}, "changed_sinze"),
    ],
)
def test_a_wrong_query_names_its_field(client: httpx.Client, params: dict[str, str], field: str) -> None:
    response = client.get("/v1/scores", params=params)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    "moment",
    ["2026-11-20T00:00:00Z", "2026-11-20t00:00:00.123456789z", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00+23:59",
     "9999-12-31T23:59:59-23:59"],
)  # fmt: skip
def test_every_rfc_3339_time_is_taken(client: httpx.Client, moment: str) -> None:
    assert client.get("/v1/scores", params={"changed_since": moment, "limit": 1}).status_code == 200


def test_a_cursor_of_somebody_else_is_refused(client: httpx.Client) -> None:
    response = client.get("/v1/scores", params={"cursor": "bm90LW91cnM"})
    assert response.status_code == 422
    assert response.json()["type"] == "/docs/problems#invalid-cursor"


def test_an_answer_says_how_old_its_features_are(client: httpx.Client) -> None:
    answer = get(client, "C00001")
    as_of = midnight().isoformat().replace("+00:00", "Z")
    assert answer["degraded"] == []
    assert answer["feature_timestamp"] == as_of
    assert {item["pillar"] for item in answer["freshness"]} == {pillar.name for pillar in SCHEMA.predictive.pillars}
    assert all(item["feature_timestamp"] == as_of and 0 <= item["age_days"] < 2 for item in answer["freshness"])


def test_stale_features_make_an_answer_degraded(release: Release) -> None:
    late = release.generation.as_of + release.stale_after
    (fresh,) = Scorer(release, clock=lambda: late).score(["C00001"])
    (stale,) = Scorer(release, clock=lambda: late + timedelta(seconds=1)).score(["C00001"])
    assert isinstance(fresh, CustomerScore)
    assert isinstance(stale, CustomerScore)
    assert fresh.degraded == ()
    assert stale.degraded == ("stale_features",)


def test_a_pillar_without_features_makes_an_answer_degraded(shop: Shop) -> None:
    generation = Generation.current(shop.home)
    rows = open_rows(*generation.online_place)
    number = read_catalog(rows, generation.project)["support"].number
    kept = [key_of_id(name) for name in customer_ids() if name != "C00003"]
    found = rows.get(generation.project, [number], kept)
    rows.drop(generation.project, [number])
    rows.put(generation.project, number, [(key, row) for key, row in zip(kept, found, strict=True) if row is not None])
    rows.close()
    source = ReleaseSource(shop.settings)
    scorer = Scorer(source.load(source.newest()))
    missing, whole = scorer.score(["C00003", "C00004"], Explain.ALL)
    assert isinstance(missing, CustomerScore)
    assert isinstance(whole, CustomerScore)
    assert missing.degraded == ("missing_features",)
    assert {item.pillar for item in missing.freshness if item.feature_timestamp is None} == {"support"}
    assert missing.reasons is not None
    assert [reason.value for reason in missing.reasons if reason.feature == "tickets_open"] == [None]
    assert missing.feature_timestamp == generation.as_of
    assert whole.degraded == ()


def test_without_the_store_nobody_is_scored(shop: Shop) -> None:
    generation = Generation.current(shop.home)
    with serving(shop.settings) as running, httpx.Client(base_url=running.url, headers=shop.headers()) as client:
        assert client.get("/v1/customers/C00001/score").status_code == 200
        aside = generation.online_file.with_suffix(".gone")
        generation.online_file.rename(aside)
        for response in (
            client.get("/v1/customers/C00001/score"),
            client.post("/v1/scores", json={"customer_ids": ["C00001"]}),
            client.get("/readyz"),
        ):
            assert response.status_code == 503
            assert response.json()["type"] == "/docs/problems#store-unavailable"
            assert str(shop.home.path) not in response.text
        assert client.get("/livez").status_code == 200
        aside.rename(generation.online_file)
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/customers/C00001/score").status_code == 200


@pytest.mark.parametrize("explain", list(Explain))
def test_clamping_is_said(release: Release, explain: Explain) -> None:
    steep = Release.load(replace(release.parts, scorecard=Scorecard("2", 0.35, 400.0)))
    scores = [score for score in Scorer(steep).score(customer_ids(), explain) if isinstance(score, CustomerScore)]
    assert {score.score for score in scores} >= {0.0, 100.0}
    for score in scores:
        assert (score.clamped != 0.0) == (score.score in (0.0, 100.0))
        if score.pillars is not None:
            total = score.base + sum(pillar.points for pillar in score.pillars) + score.clamped
            assert abs(total - score.score) < 1e-6


FLOATS = st.one_of(st.none(), st.floats(width=32, allow_nan=True, allow_infinity=False))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                name: (st.sampled_from(["basic", "pro", "team", "unseen", "", None]) if name == "plan" else FLOATS)
                for name in SCHEMA.predictive.names
            }
        ),
        min_size=1,
        max_size=20,
    )
)
def test_whatever_the_rows_the_figures_add_up(release: Release, rows: list[dict[str, Any]]) -> None:
    columns = {name: [row[name] for row in rows] for name in SCHEMA.predictive.names}
    ids = [f"row {number}" for number in range(len(rows))]
    scorer = Scorer(release)
    together = scorer.score_rows(ids, columns, Explain.ALL)
    plain = scorer.score_rows(ids, columns, Explain.NONE)
    for number, (score, short) in enumerate(zip(together, plain, strict=True)):
        assert score.pillars is not None
        assert score.reasons is not None
        assert score.base == release.base
        assert abs(score.base + sum(p.points for p in score.pillars) + score.clamped - score.score) < 1e-6
        assert abs(sum(r.points for r in score.reasons) - sum(p.points for p in score.pillars)) < 1e-6
        assert abs(score.probability - short.probability) < 1e-4
        assert abs(score.score - short.score) < 1e-2
        (alone,) = scorer.score_rows(
            [ids[number]], {name: [value[number]] for name, value in columns.items()}, Explain.ALL
        )
        assert alone.probability == score.probability, "a score does not depend on its company"


def test_unknown_customers_come_as_errors_in_order(release: Release) -> None:
    results = Scorer(release).score(["zz", "C00001", "zz"])
    assert [isinstance(result, UnknownCustomer) for result in results] == [True, False, True]
    assert Scorer(release).score([]) == []


def test_features_of_a_score_serve_decisions(release: Release) -> None:
    (score,) = Scorer(release).score(["C00001"], Explain.NONE)
    assert isinstance(score, CustomerScore)
    stored = release.store.read(["C00001"]).row(0)
    assert dict(score.features) == stored
    assert "consent_email" in score.features
    assert len(score.features) == len(SCHEMA)


def test_the_table_of_current_scores_belongs_to_the_release(
    client: httpx.Client, template: Shop, release: Release
) -> None:
    assert client.get("/readyz").status_code == 200
    current = CurrentScores(Database(template.settings.database))
    assert current.is_current(release.key)
    probabilities = current.probabilities(release.key)
    assert probabilities is not None
    assert len(probabilities) == len(customer_ids())
