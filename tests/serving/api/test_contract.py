"""The server against its own OpenAPI document: no 5xx, no undocumented status or shape, every operation answered."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.auth.api_keys import Role

from ..conftest import Running, Shop, customer_ids, make_keys, serving, settings_of

# Its own classes and the packages under it, deprecating each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

BEYOND_SCHEMAS = ("#invalid-cursor", "#unknown-action", "#invalid-experiment")
EXPERIMENT = "fuzzed"
DOCUMENTED_ANYWAY = {405}
"""Of a method that the document does not have, so that it can document nothing for it."""


GENERATE = settings(
    deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


ARMS = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]


@dataclass(slots=True)
class Tally:
    """How often each operation was answered with which status."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def total(self) -> int:
        return sum(sum(counter.values()) for counter in self.statuses.values())

    @property
    def succeeded(self) -> int:
        return sum(n for counter in self.statuses.values() for status, n in counter.items() if 200 <= status < 300)


@pytest.fixture(scope="module")
def contract(template: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The template with a database of its own to fill with decisions, and no rate limit."""
    database = tmp_path_factory.mktemp("contract") / "keepwell.db"
    settings_used = settings_of(template.home, database_url=f"sqlite:///{database}", rate_limit=0)
    return Shop(settings_used, make_keys(settings_used))


@pytest.fixture(scope="module")
def contract_server(contract: Shop) -> Iterator[Running]:
    with serving(contract.settings) as running:
        yield running


def with_real_ids(case: Any, ids: list[str], decisions: list[str], draw: float, pick: int) -> None:
    """Put known ids in the place of most made-up ones; a case that is wrong on purpose stays wrong."""
    if draw > 0.75:
        return
    customer, decision = ids[pick % len(ids)], decisions[pick % len(decisions)]
    parameters = case.path_parameters or {}
    if isinstance(parameters.get("customer_id"), str):
        parameters["customer_id"] = customer
    if isinstance(parameters.get("decision_id"), str):
        parameters["decision_id"] = decision
    if isinstance(parameters.get("name"), str):
        parameters["name"] = EXPERIMENT
    if isinstance((case.query or {}).get("customer_id"), str):
        case.query["customer_id"] = customer
    if isinstance(case.body, dict):
        if isinstance(case.body.get("arms"), list):
            case.body |= {"name": f"fuzzed-{pick}", "arms": ARMS, "start": "2020-01-01T00:00:00Z"}
        if isinstance(case.body.get("customer_id"), str):
            case.body["customer_id"] = customer
        listed = case.body.get("customer_ids")
        if isinstance(listed, list) and listed and all(isinstance(name, str) for name in listed):
            case.body["customer_ids"] = [ids[(pick + i) % len(ids)] for i in range(len(listed))]
        if isinstance(case.body.get("exclude"), list) and all(isinstance(name, str) for name in case.body["exclude"]):
            case.body["exclude"] = ["success_call"][: len(case.body["exclude"])]


def fuzz(running: Running, shop: Shop, examples: int) -> Tally:
    """Ask every operation `examples` times, three in four with data that fit; every answer is checked by schemathesis."""
    headers = shop.headers(Role.ADMIN)
    ids = [customer_id for customer_id in customer_ids() if customer_id != ".."]
    decisions: list[str] = []
    for customer_id in ids[:20]:
        answer = httpx.post(f"{running.url}/v1/decisions", json={"customer_id": customer_id}, headers=headers)
        assert answer.status_code == 200, answer.text
        decisions.append(answer.json()["decision_id"])
    experiment = {"name": EXPERIMENT, "arms": ARMS, "start": "2020-01-01T00:00:00Z", "end": "2999-01-01T00:00:00Z"}
    assert httpx.post(f"{running.url}/v1/experiments", json=experiment, headers=headers).status_code in (201, 409)
    for customer_id in ids[:40]:
        path = f"{running.url}/v1/experiments/{EXPERIMENT}/assignments"
        assert httpx.post(path, json={"customer_id": customer_id}, headers=headers).status_code == 200
    schema: Any = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    tally = Tally()
    for result in schema.get_all_operations():
        operation = result.ok()
        has_input = any((operation.path_parameters, operation.query, operation.headers, operation.body))
        fitting = examples * 3 // 4 if has_input else 1

        def ask(case: Any) -> None:
            response = case.call(headers=headers)
            tally.statuses[case.operation.label][response.status_code] += 1
            # A schema cannot say which opaque cursors and which actions there are.
            beyond_schemas = response.status_code == 422 and response.json()["type"].endswith(BEYOND_SCHEMAS)
            case.validate_response(
                response, headers=headers, excluded_checks=[positive_data_acceptance] if beyond_schemas else []
            )

        @settings(GENERATE, max_examples=fitting)
        @given(case=operation.as_strategy(), draw=st.floats(0, 1), pick=st.integers(0, 10**6))
        def ask_what_fits(case: Any, draw: float, pick: int) -> None:
            with_real_ids(case, ids, decisions, draw, pick)
            ask(case)

        # Without input there is only one case, which is asked as often.
        for _ in range(1 if has_input else examples):
            ask_what_fits()
        if not has_input:
            continue

        @settings(GENERATE, max_examples=examples - fitting)
        @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE))
        def ask_what_is_wrong(case: Any) -> None:
            ask(case)

        ask_what_is_wrong()
    return tally


def check(tally: Tally, running: Running) -> None:
    """Hold the tally against the document."""
    document = httpx.get(f"{running.url}/openapi.json").json()
    operations = {
        f"{method.upper()} {path}": set(operation["responses"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert set(tally.statuses) == set(operations), "every operation is reached"
    for label, counter in tally.statuses.items():
        assert any(200 <= status < 300 for status in counter), f"{label} never succeeded: {counter}"
        for status in counter:
            assert status < 500, f"{label}: {counter}"
            assert str(status) in operations[label] or status in DOCUMENTED_ANYWAY, f"{label}: {counter}"
    assert tally.succeeded >= 0.3 * tally.total, dict(tally.statuses)


@pytest.mark.slow
def test_answers_are_as_documented_in_hundreds_of_cases(contract_server: Running, contract: Shop, full: bool) -> None:
    paths = httpx.get(f"{contract_server.url}/openapi.json").json()["paths"]
    most = 2400 if full else 800
    # Some strategies have fewer cases than they are asked for.
    tally = fuzz(contract_server, contract, examples=most // sum(map(len, paths.values())))
    assert tally.total >= most * 4 // 5
    check(tally, contract_server)
