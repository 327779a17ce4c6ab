"""The routes of decisions: what they answer, refuse, and let whom do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx
import pytest

from serving.auth.api_keys import Role

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]


def test_decide_over_http(client: httpx.Client) -> None:
    answer = client.post("/v1/decisions", json={"customer_id": "C00001", "exclude": ["winback_email"]})
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == [
        "decision_id", "customer_id", "action", "channel", "pscore", "uplift", "uplift_interval", "value_at_stake", "cost",
        "expected_gain", "alternatives", "policy_version", "model_version", "decided_at", "degraded", "lacked", "factors",
        "holdout", "experiment", "item", "hour",
    ]  # fmt: skip
    assert body["decided_at"].endswith("Z")
    outcome = f"/v1/decisions/{body['decision_id']}/outcome"
    for reward, status in ((1.0, 204), (1, 204), (0.5, 409)):
        assert client.post(outcome, json={"reward": reward, "executed": True}).status_code == status
    assert client.post(outcome, json={"reward": 1.0, "executed": False}).status_code == 409


def test_decide_many_over_http(client: httpx.Client) -> None:
    ids = ["C00001", "nobody", "a/b c"]
    results = client.post("/v1/decisions/batch", json={"customer_ids": ids}).json()["results"]
    assert [result["customer_id"] for result in results] == ids
    assert results[1]["error"]["status"] == 404
    assert results[0]["pscore"] > 0


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("", {"customer_id": "nobody"}, {}, 404),
        ("", {"customer_id": 7}, {}, 422),
        ("", {"customer_id": "C00001", "exclude": ["sing"]}, {}, 422),
        ("", {"customer_id": "C00001", "exclude": ["no_action"]}, {}, 422),
        ("", {"customer_id": "C00001", "excluded": []}, {}, 422),
        ("", {"customer_id": "C00001"}, {"Idempotency-Key": ""}, 422),
        ("", {"customer_id": "C00001"}, {"Idempotency-Key": "x" * 256}, 422),
        ("/batch", {"customer_ids": []}, {}, 422),
        ("/batch", {"customer_ids": ["C00001"] * 1001}, {}, 422),
        ("/nothing/outcome", {"reward": 1.0, "executed": True}, {}, 404),
        ("/%00/outcome", {"reward": 1.0, "executed": True}, {}, 404),
        ("/nothing/outcome", {"reward": "1.0", "executed": True}, {}, 422),
        ("/nothing/outcome", {"reward": 1.0}, {}, 422),
        ("/nothing/outcome", {"reward": 1.0, "executed": None}, {}, 422),
    ],
)
def test_what_cannot_be_is_a_problem(
    client: httpx.Client, path: str, body: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    answer = client.post(f"/v1/decisions{path}", json=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"]


@pytest.mark.parametrize("reward", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_reward_is_a_finite_number(client: httpx.Client, reward: str) -> None:
    answer = client.post(
        f"/v1/decisions/{'0' * 32}/outcome",
        content=f'{{"reward": {reward}, "executed": true}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422


def test_idempotency_over_http(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "over http"}
    first = client.post("/v1/decisions", json={"customer_id": "C00001"}, headers=headers)
    again = client.post("/v1/decisions", json={"customer_id": "C00001", "exclude": []}, headers=headers)
    assert first.json() == again.json()
    other = client.post("/v1/decisions", json={"customer_id": "C00002"}, headers=headers)
    assert other.status_code == 409
    assert other.json()["type"].endswith("idempotency-conflict")


def test_managers_do_not_decide(running: Any, template: Any) -> None:
    answer = httpx.post(
        f"{running.url}/v1/decisions", json={"customer_id": "C00001"}, headers=template.headers(Role.MANAGER)
    )
    assert answer.status_code == 403


def test_an_outcome_is_corrected_by_an_admin_and_what_it_said_is_kept(running: Any, template: Any) -> None:
    asked = {"customer_id": "C00009"}
    with (
        httpx.Client(base_url=running.url, headers=template.headers(Role.ADMIN)) as admin,
        httpx.Client(base_url=running.url, headers=template.headers()) as scorer,
    ):
        path = f"/v1/decisions/{scorer.post('/v1/decisions', json=asked).json()['decision_id']}/outcome"
        assert admin.get(path).json()["reward"] is None
        for reward in (1.7e308, -1.7e308, 1e9 + 1):
            assert scorer.post(path, json={"reward": reward, "executed": True}).status_code == 422
        assert scorer.post(path, json={"reward": 1000.0, "executed": True}).status_code == 204
        right = {"reward": 10.0, "executed": True}
        assert scorer.post(path, json=right).status_code == 409
        assert scorer.put(path, json={**right, "reason": "a typing error"}).status_code == 403
        assert admin.put(path, json=right).status_code == 422, "it says why"
        for _ in range(2):
            assert admin.put(path, json={**right, "reason": "a typing error"}).status_code == 204
        assert scorer.post(path, json=right).status_code == 204
        found = admin.get(path).json()
        assert (found["reward"], found["executed"]) == (10.0, True)
        (correction,) = found["corrections"]
        assert correction["before"] == {"reward": 1000.0, "executed": True}
        assert correction["after"] == right
        assert (correction["reason"], correction["corrected_by"]) == ("a typing error", "test-admin")
        assert datetime.fromisoformat(correction["corrected_at"]).tzinfo is not None
        assert admin.put("/v1/decisions/none/outcome", json={**right, "reason": "x"}).status_code == 404
        assert admin.get("/v1/decisions/none/outcome").status_code == 404
