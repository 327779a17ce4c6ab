"""Rows 1 to 4: an explained score over HTTP, beside the obvious way, MLflow's server and a constant."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.benchmarks.errors import BenchmarkError, DifferentAnswers
from experiments.benchmarks.figures import Row, interleaved
from experiments.benchmarks.speed import reference
from experiments.benchmarks.speed.load import get, load, post
from experiments.benchmarks.speed.servers import cores, free_port, on, redis, server
from features.generation import Generation
from features.home import Home

CUSTOMERS = 500
_CHECKED = 25
_CONNECTIONS = 4
_SAME = 1e-6
_REMEMBERED_MB = {"": 1, "r": 64}
"""What our servers may remember, by what is put to a row's number: 1 MB holds some 200 answers, so that of 500 customers who
are asked for in turns none is ever remembered, and each answer is made anew, put away, and given up."""


@dataclass(slots=True)
class Answering:
    """The servers of these rows; ours stands twice, each is started once, and all stay up while the others are measured."""

    home: Home
    generation: Generation
    model: reference.Reference
    scratch: Path
    seconds: float
    rounds: int
    notes: dict[str, object] = field(default_factory=dict)

    def rows(self, wanted: frozenset[str], advance: Callable[[str], None]) -> Iterator[Row]:
        """The wanted rows, one by one."""
        with contextlib.ExitStack() as stack:
            ours = {kind: stack.enter_context(self._ours(kind, size)) for kind, size in _REMEMBERED_MB.items()}
            port, requests = ours[""]
            answer = fetch(port, requests[0])
            self.notes["answer_bytes"] = len(json.dumps(answer, separators=(",", ":")))

            def beside(
                number: str, peer: str, goal: float, peer_port: int, peer_requests: list[bytes]
            ) -> Iterator[Row]:
                """Explained scores that are made anew beside the peer, then those that are remembered."""
                for kind, (own_port, own_requests) in ours.items():

                    def mine(port: int = own_port, asked: list[bytes] = own_requests) -> float:
                        return load(port, asked, self.seconds, _CONNECTIONS).requests_per_second

                    def theirs() -> float:
                        return load(peer_port, peer_requests, self.seconds, _CONNECTIONS).requests_per_second

                    what = f"explained score{', remembered' if kind else ''}, {_CONNECTIONS} connections"
                    yield self._row(
                        number + kind, what, peer, "requests/s", goal, *interleaved(self.rounds, mine, theirs)
                    )

            with on(cores()[1]):
                for own_port, own_requests in ours.values():
                    load(own_port, own_requests, 1.0, _CONNECTIONS)
                if wanted & {"1", "2"}:
                    advance("the obvious way")
                    peer, peer_requests, engine = stack.enter_context(self._obvious(port, requests))
                    name = f"the obvious way (Feast SDK on {engine})"
                    if "1" in wanted:
                        yield from beside("1", name, 10.0, peer, peer_requests)
                    if "2" in wanted:
                        mine, theirs = interleaved(
                            self.rounds,
                            lambda: 1 / load(port, requests, self.seconds, 1).p99,
                            lambda: 1 / load(peer, peer_requests, self.seconds, 1).p99,
                        )
                        yield self._row("2", "the same, 1 / p99, 1 connection", name, "1/s", 5.0, mine, theirs)
                if "3" in wanted:
                    advance("mlflow models serve")
                    peer, peer_requests = stack.enter_context(self._mlflow())
                    yield from beside("3", "mlflow models serve, prediction alone", 15.0, peer, peer_requests)
                if "4" in wanted:
                    advance("a constant")
                    peer, peer_requests = stack.enter_context(self._constant(answer))
                    name = "bare FastAPI, constant bytes of the same size"
                    yield from beside("4", name, 1 / 3, peer, peer_requests)

    def _row(
        self,
        number: str,
        what: str,
        peer: str,
        unit: str,
        goal: float,
        mine: tuple[float, ...],
        theirs: tuple[float, ...],
    ) -> Row:
        return Row(number, what, peer, unit, goal, mine, theirs, dict(self.notes))

    @contextlib.contextmanager
    def _ours(self, kind: str, remembered_mb: int) -> Iterator[tuple[int, list[bytes]]]:
        from serving.auth.api_keys import ApiKeys, Role
        from serving.platform.database import Database
        from serving.platform.settings import Settings

        database = Database(Settings(home=self.home.path, database_url=None).database)
        database.migrate()
        secret = ApiKeys(database).add(f"benchmark {os.getpid()}{kind}", Role.SCORER)
        database.close()
        port = free_port()
        environment = {
            "KEEPWELL_HOME": str(self.home.path),
            "PORT": str(port),
            "HOST": "127.0.0.1",
            "KEEPWELL_RATE_LIMIT": "0",
            "KEEPWELL_REMEMBERED_MB": str(remembered_mb),
            "MLFLOW_TRACKING_URI": "",
            "KEEPWELL_DATABASE_URL": "",
        }
        with server(["serving", "run"], port, "/readyz", environment, self.scratch / f"ours{kind}.log"):
            headers = [f"Authorization: Bearer {secret}"]
            ids = reference.customer_ids(CUSTOMERS)
            yield port, [get(f"/v1/customers/{customer_id}/score", headers) for customer_id in ids]

    @contextlib.contextmanager
    def _obvious(self, port: int, requests: list[bytes]) -> Iterator[tuple[int, list[bytes], str]]:
        """The obvious way on the faster of Feast's stores, its values checked."""
        from experiments.benchmarks.peers.feature_store import declare, fill, open_store

        folder = self.scratch / "obvious"
        folder.mkdir(exist_ok=True)
        self._set_up(folder)
        with contextlib.ExitStack() as stack:
            stores: dict[str, str | None] = {"SQLite": None}
            if shutil.which("redis-server"):
                stores["Redis"] = stack.enter_context(redis(folder))
            before = self.generation.before
            assert before is not None
            running: dict[str, tuple[int, list[bytes], float]] = {}
            for engine, url in stores.items():
                for project, moment in {"peer": self.generation.as_of, "peer_before": before}.items():
                    store = open_store(folder, project, url)
                    declare(store, self.generation)
                    fill(store, self.generation, moment)
                peer = free_port()
                environment = {"PEER_FOLDER": str(folder), **({} if url is None else {"PEER_REDIS": url})}
                command = ["uvicorn", "--factory", "experiments.benchmarks.peers.obvious:create", "--no-access-log"]
                log = self.scratch / f"obvious_{engine}.log"
                stack.enter_context(server([*command, "--port", str(peer)], peer, "/ready", environment, log))
                asked = [get(f"/score/{customer_id}") for customer_id in reference.customer_ids(CUSTOMERS)]
                check(port, requests, peer, asked)
                load(peer, asked, 1.0, _CONNECTIONS)
                speed = load(peer, asked, self.seconds, _CONNECTIONS).requests_per_second
                running[engine] = (peer, asked, speed)
            self.notes["peer_engines"] = {engine: round(speed, 1) for engine, (_, _, speed) in running.items()}
            best = max(running, key=lambda engine: running[engine][2])
            yield running[best][0], running[best][1], best

    def _set_up(self, folder: Path) -> None:
        bundle, generation = self.model.bundle, self.generation
        (folder / "model.txt").write_text(bundle.model_text)
        assert generation.before is not None
        columns = reference.draw(CUSTOMERS, 1)
        margins = self.model.booster.predict(self.model.matrix(columns), raw_score=True, num_threads=1)
        setup = {
            "names": list(bundle.feature_names),
            "pillars": [feature.pillar for feature in reference.SCHEMA],
            "categories": {name: list(words) for name, words in bundle.categories.items()},
            "typical": dict(bundle.typical),
            "slope": bundle.calibration.slope,
            "intercept": bundle.calibration.intercept,
            "scale": bundle.scorecard_proposal.scale,
            "p_ref": bundle.scorecard_proposal.p_ref,
            "horizon_days": bundle.horizon_days,
            "before": generation.before.isoformat(),
            "as_of": generation.as_of.isoformat(),
            "population": bundle.calibration.apply(margins).tolist(),
        }
        (folder / "setup.json").write_text(json.dumps(setup))

    @contextlib.contextmanager
    def _mlflow(self) -> Iterator[tuple[int, list[bytes]]]:
        import mlflow.lightgbm
        import numpy as np
        import pandas as pd
        from mlflow.models import infer_signature

        folder = self.scratch / "pyfunc"
        matrix = self.model.matrix(reference.draw(CUSTOMERS, 1))
        names = [f"f{column}" for column in range(matrix.shape[1])]
        # With a signature the server knows that a null is a missing number.
        signature = infer_signature(pd.DataFrame(matrix.astype(np.float64), columns=names))
        mlflow.lightgbm.save_model(self.model.booster, str(folder), signature=signature)

        def body(row: Any) -> bytes:
            values = [None if np.isnan(value) else float(value) for value in row]
            return json.dumps({"dataframe_split": {"columns": names, "data": [values]}}).encode()

        port = free_port()
        command = ["mlflow", "models", "serve", "-m", str(folder), "-p", str(port), "--env-manager", "local"]
        with server([*command, "--workers", "1"], port, "/ping", {}, self.scratch / "mlflow.log"):
            asked = [post("/invocations", body(row)) for row in matrix]
            expected = self.model.booster.predict(matrix[:_CHECKED], num_threads=1)
            for request, probability in zip(asked, expected, strict=False):
                if abs(fetch(port, request)["predictions"][0] - probability) > _SAME:
                    raise DifferentAnswers("MLflow's server predicts other values than the model.")
            load(port, asked, 1.0, _CONNECTIONS)
            yield port, asked

    @contextlib.contextmanager
    def _constant(self, answer: Any) -> Iterator[tuple[int, list[bytes]]]:
        path = self.scratch / "answer.json"
        path.write_text(json.dumps(answer, separators=(",", ":")))
        port = free_port()
        command = ["uvicorn", "--factory", "experiments.benchmarks.peers.constant:create", "--no-access-log"]
        log = self.scratch / "constant.log"
        with server([*command, "--port", str(port)], port, "/constant", {"PEER_ANSWER": str(path)}, log):
            asked = [get("/constant")]
            load(port, asked, 1.0, _CONNECTIONS)
            yield port, asked


def fetch(port: int, request: bytes) -> Any:
    """The JSON of one answer."""
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=60) as connected:
        connected.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received or len(received) < _length(received):
            part = connected.recv(65_536)
            if not part:
                break
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise BenchmarkError(f"A server answered: {received[:400].decode(errors='replace')}")
    return json.loads(body)


def _length(received: bytes) -> int:
    head, _, _ = received.partition(b"\r\n\r\n")
    stated = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(head) + 4 + int(stated.split(b":")[1])


def check(port: int, requests: list[bytes], peer: int, asked: list[bytes]) -> None:
    """Hold both answers against each other, figure by figure.

    Raises:
        DifferentAnswers: they differ by more than float32 would let them.
    """
    for request, question in list(zip(requests, asked, strict=True))[:_CHECKED]:
        ours, theirs = fetch(port, request), fetch(peer, question)
        for name, mine, other in _figures(ours, theirs):
            # A last bit decides who of two equals has the lower risk: one customer of the population.
            allowed = 1.5 / CUSTOMERS if name == "percentile" else _SAME
            if mine is None or other is None or abs(mine - other) > allowed:
                raise DifferentAnswers(f"{ours['customer_id']}: {name} is {mine} here and {other} at the peer.")


def _figures(ours: Any, theirs: Any) -> Iterator[tuple[str, float | None, float | None]]:
    for name in ("probability", "percentile"):
        yield name, ours["churn"][name], theirs["churn"][name]
    for name in ("score", "base", "clamped"):
        yield name, ours["health"][name], theirs["health"][name]
    yield "change", ours["health"]["change"]["points"], theirs["health"]["change"]["points"]
    peers = {pillar["pillar"]: pillar["points"] for pillar in theirs["health"]["pillars"]}
    for pillar in ours["health"]["pillars"]:
        yield pillar["pillar"], pillar["points"], peers.get(pillar["pillar"])
    of_feature = {reason["feature"]: reason["points"] for reason in theirs["reasons"]}
    for reason in ours["reasons"]:
        yield reason["feature"], reason["points"], of_feature.get(reason["feature"])
