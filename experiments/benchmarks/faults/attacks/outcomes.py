"""Outcomes that nobody can have meant: 1.7e308, and a typing error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.seen import Seen, counted
from experiments.benchmarks.faults.servers import Server, attacked
from serving.auth.api_keys import Role

_HUGE = 1.7e308
_EXPERIMENT = "/v1/experiments/attacked"
_ASSIGNED = 60


def outcomes(ground: Ground) -> Iterator[Seen]:
    """They are refused or corrected, and an experiment's figures stay figures."""
    with attacked(ground.home("outcomes")) as server:
        yield from _of_a_decision(ground, server)
        yield from _of_an_experiment(ground, server)


def _of_a_decision(ground: Ground, server: Server) -> Iterator[Seen]:
    made = server.ask("/v1/decisions", method="POST", json={"customer_id": ground.customers[0]})
    place = f"/v1/decisions/{json.loads(made.body)['decision_id']}/outcome"
    huge = [
        server.ask(place, method="POST", json={"reward": reward, "executed": True}).status
        for reward in (_HUGE, -_HUGE, 1e10)
    ]
    yield Seen("rewards of 1.7e308, −1.7e308 and 1e10", "422 each", counted(huge), set(huge) == {422})
    typo, correction = {"reward": 1000.0, "executed": True}, {"reward": 10.0, "executed": True, "reason": "a typo"}
    statuses = [
        server.ask(place, method="POST", json=typo).status,
        server.ask(place, method="POST", json={**typo, "reward": 10.0}).status,
        server.ask(place, method="PUT", json=correction).status,
        server.ask(place, Role.ADMIN, "PUT", correction).status,
    ]
    kept = json.loads(server.ask(place, Role.ADMIN).body)
    yield Seen(
        "a typing error, told again, corrected by a scorer, and by an admin",
        "204, 409, 403, 204; what it said before is kept",
        f"{', '.join(map(str, statuses))}; {kept['reward']:g} after {len(kept['corrections'])} correction",
        [status // 100 * 100 if status < 300 else status for status in statuses] == [200, 409, 403, 200]
        and kept["reward"] == 10.0
        and [one["before"]["reward"] for one in kept["corrections"]] == [1000.0],
    )


def _of_an_experiment(ground: Ground, server: Server) -> Iterator[Seen]:
    day = datetime.now(UTC)
    plan = {
        "name": _EXPERIMENT.rpartition("/")[2],
        "arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
        "start": (day - timedelta(hours=1)).isoformat(),
        "end": (day + timedelta(days=1)).isoformat(),
        "primary_outcome": "revenue",
    }
    created = server.ask("/v1/experiments", Role.ADMIN, "POST", plan).status
    statuses = []
    for number, customer in enumerate(ground.customers[:_ASSIGNED]):
        server.ask(f"{_EXPERIMENT}/assignments", method="POST", json={"customer_id": customer})
        value = _HUGE if number < 4 else 1e9 if number % 2 else 5.0
        outcome = {"customer_id": customer, "value": value}
        statuses.append(server.ask(f"{_EXPERIMENT}/outcomes", method="POST", json=outcome).status)
    report = json.loads(server.ask(_EXPERIMENT, Role.ADMIN).body)
    means = [arm["mean"] for arm in report["arms"]]
    yield Seen(
        f"an experiment of {_ASSIGNED} customers, four outcomes of 1.7e308 and many of 1e9",
        "the four are refused, and every arm has a mean",
        f"{created}; {counted(statuses)}; means {', '.join('null' if mean is None else f'{mean:.3g}' for mean in means)}",
        created == 201
        and statuses.count(422) == 4
        and statuses.count(204) == _ASSIGNED - 4
        and all(mean is not None and abs(mean) <= 1e9 for mean in means),
    )
