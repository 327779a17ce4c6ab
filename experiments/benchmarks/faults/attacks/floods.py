"""More requests than a server can answer: how long who is let in waits, and whether one key's flood takes another's turns."""

from __future__ import annotations

import os
from collections.abc import Iterator

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.seen import Seen
from experiments.benchmarks.faults.servers import Server, attacked, score_of
from experiments.benchmarks.speed.load import Caller, Load, get, loads
from experiments.benchmarks.speed.servers import cores, on
from serving.auth.api_keys import Role

FEW, MANY, QUIET = 100, 400, 4
SECONDS = 10.0
_SETTLING = 3.0
"""Seconds before: a server lets all in until a queue has stood for one."""
_REFUSALS = (429, 503)
_MOST_P99 = 0.4
"""Seconds; or four times what a quarter of the connections see, if the machine is slow: it was 821 ms for 72 ms."""
_MOST_REFUSED = 0.05
"""Of the quiet key's requests: it was 27 %."""


def floods(ground: Ground) -> Iterator[Seen]:
    """Who is let in does not wait for long, and a key that asks little is let in."""
    # Answers that are remembered would be too cheap to flood anybody with.
    with attacked(ground.home("floods"), KEEPWELL_REMEMBERED_MB="0") as server, on(cores()[1]):
        few = _loaded(ground, server, (Role.SCORER, FEW))[0]
        many = _loaded(ground, server, (Role.SCORER, MANY))[0]
        bound = max(_MOST_P99, 4 * few.p99)
        yield Seen(
            f"{MANY} connections of one key, beside {FEW}",
            f"the p99 of what is accepted is below {bound * 1000:.0f} ms",
            f"{_told(few)} at {FEW}; {_told(many)} at {MANY}",
            many.answered > 0 and many.p99 < bound,
        )
        flood, quiet = _loaded(ground, server, (Role.SCORER, MANY), (Role.MANAGER, QUIET))
        share = quiet.refused / max(1, quiet.refused + quiet.answered)
        yield Seen(
            f"one key floods over {MANY} connections, another asks over {QUIET}",
            f"at most {_MOST_REFUSED:.0%} of the other's are refused",
            f"{share:.1%} of its {quiet.answered + quiet.refused:,}, {_told(quiet)}; the flood {_told(flood)}",
            quiet.answered > 0 and share <= _MOST_REFUSED,
        )
        ready = server.ready()
        calm = server.scores(ground.customers[:50])
        yield Seen(
            "after the flood",
            "/readyz and scores are 200",
            f"{ready}, {calm.count(200)} of {len(calm)} scores; load average {os.getloadavg()[0]:.1f}",
            ready == 200 and set(calm) == {200},
        )


def _loaded(ground: Ground, server: Server, *callers: tuple[Role, int]) -> list[Load]:
    asking = [
        Caller(
            [get(score_of(one), [f"Authorization: Bearer {server.keys[role]}"]) for one in ground.customers],
            connections,
        )
        for role, connections in callers
    ]
    return loads(server.port, asking, SECONDS, _REFUSALS, _SETTLING)


def _told(load: Load) -> str:
    refused = f", {load.refused:,} refused" if load.refused else ""
    return f"p99 {load.p99 * 1000:.0f} ms ({load.requests_per_second:,.0f}/s{refused})"
