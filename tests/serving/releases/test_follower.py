"""Taking up a new build or champion: whole, without a restart, and without a failed request."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from features.generation import Generation
from features.home import Home
from features.schema import FeatureSchema
from models.registry.moved_store import follow_home
from models.registry.registry import Registry
from models.scorecard import Scorecard

from ..conftest import Running, Shop, build, customer_ids, midnight, promote, serving, settings_of, train, wait_for


class Caller(threading.Thread):
    """Asks for scores without a pause, and keeps every answer."""

    def __init__(self, running: Running, shop: Shop) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=running.url, headers=shop.headers())
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._stop_asking = threading.Event()

    def run(self) -> None:
        number = 0
        ids = customer_ids()[:50]
        while not self._stop_asking.is_set():
            number += 1
            try:
                response = self._client.get(f"/v1/customers/{ids[number % 50]}/score", params={"explain": "all"})
            except httpx.TransportError as error:
                self.failures.append(repr(error))
                continue
            if response.status_code != 200:
                self.failures.append(response.text)
            else:
                self.answers.append(response.json())

    def finish(self) -> None:
        self._stop_asking.set()
        self.join(30)
        self._client.close()


def release_of(answer: dict[str, Any]) -> tuple[str, str, str]:
    return answer["model_version"], answer["scorecard_version"], answer["feature_timestamp"]


def test_switches_under_load_fail_no_request_and_mix_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.settings.registry)
    yesterday = midnight() - timedelta(days=1)
    with serving(shop.settings) as running:
        callers = [Caller(running, shop) for _ in range(3)]
        for caller in callers:
            caller.start()
        wait_for(lambda: all(caller.answers for caller in callers))

        def switched(to: Callable[[dict[str, Any]], bool]) -> None:
            wait_for(lambda: to(httpx.get(f"{running.url}/readyz").json()))
            # An answer that was under way may come yet; the one after it is of what is served now.
            asked = [len(caller.answers) for caller in callers]
            wait_for(lambda: all(len(c.answers) > n + 1 for c, n in zip(callers, asked, strict=True)))

        first = Generation.current(shop.home)
        promote(shop.home, train(shop.home, seed=2))
        switched(lambda ready: ready["model_version"] == "2")
        second = build(shop.home, as_of=yesterday, seed=2)
        switched(lambda ready: ready["generation"] == second.id)
        promote(shop.home, train(shop.home, seed=3), Scorecard("2", 0.2, 8.0))
        switched(lambda ready: ready["scorecard_version"] == "2")
        Registry(shop.settings.registry, "tinyshop").rollback()
        switched(lambda ready: (ready["model_version"], ready["scorecard_version"]) == ("2", "1"))
        for caller in callers:
            caller.finish()
        assert second.id != first.id
        table = httpx.get(f"{running.url}/v1/scores", params={"limit": 1000}, headers=shop.headers()).json()
    answers = [answer for caller in callers for answer in caller.answers]
    assert [failure for caller in callers for failure in caller.failures] == []
    day, earlier = (moment.isoformat().replace("+00:00", "Z") for moment in (midnight(), yesterday))
    assert {release_of(answer) for answer in answers} == {
        ("1", "1", day),
        ("2", "1", day),
        ("2", "1", earlier),
        ("3", "2", earlier),
    }
    said: dict[tuple[object, ...], set[tuple[float, float, float]]] = {}
    for answer in answers:
        health = answer["health"]
        key = (*release_of(answer), answer["customer_id"])
        said.setdefault(key, set()).add(
            (answer["churn"]["probability"], health["score"], answer["churn"]["percentile"])
        )
        assert (
            abs(health["base"] + sum(p["points"] for p in health["pillars"]) + health["clamped"] - health["score"])
            < 1e-6
        )
    assert all(len(figures) == 1 for figures in said.values()), "one release gives one customer one figure"
    assert {row["model_version"] for row in table["results"]} == {"2"}
    assert {row["feature_timestamp"] for row in table["results"]} == {earlier}


def test_each_answer_is_within_one_caller_never_older_than_the_last(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.settings.registry)
    with serving(shop.settings) as running:
        caller = Caller(running, shop)
        caller.start()
        promote(shop.home, train(shop.home, seed=4))
        wait_for(lambda: any(answer["model_version"] == "2" for answer in caller.answers[-1:]))
        caller.finish()
    versions = [answer["model_version"] for answer in caller.answers]
    assert versions == sorted(versions)
    assert caller.failures == []


def test_what_cannot_be_loaded_leaves_what_is_served(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.settings.registry)
    with serving(shop.settings) as running:
        run_id = train(shop.home, seed=5).run_id
        promote(shop.home, Registry(shop.settings.registry, "tinyshop").register(run_id, bundle_hash="0" * 64))
        wait_for(lambda: httpx.get(f"{running.url}/readyz").json()["not_taken_up"] is not None)
        ready = httpx.get(f"{running.url}/readyz")
        assert ready.status_code == 200
        assert ready.json()["model_version"] == "1"
        assert (
            httpx.get(f"{running.url}/v1/customers/C00001/score", headers=shop.headers()).json()["model_version"] == "1"
        )
        assert re.search(r"keepwell_release_failures_total [1-9]", httpx.get(f"{running.url}/metrics").text)
        promote(shop.home, train(shop.home, seed=6))
        wait_for(lambda: httpx.get(f"{running.url}/readyz").json()["model_version"] == "4")
        assert httpx.get(f"{running.url}/readyz").json()["not_taken_up"] is None


def test_a_build_that_the_model_does_not_fit_is_not_taken_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.settings.registry)
    from .. import conftest

    fewer = FeatureSchema(tuple(f for f in conftest.SCHEMA.features if f.name != "tickets_open"))
    monkeypatch.setattr(conftest, "SCHEMA", fewer)
    with serving(shop.settings) as running:
        build(shop.home, seed=7)
        wait_for(lambda: httpx.get(f"{running.url}/readyz").json()["not_taken_up"] is not None)
        reason = httpx.get(f"{running.url}/readyz").json()["not_taken_up"]
        assert "'tickets_open'" in reason
        assert "train and promote" in reason
        assert httpx.get(f"{running.url}/v1/customers/C00001/score", headers=shop.headers()).status_code == 200


def files_of(home: Home) -> dict[str, bytes]:
    """All that a home holds; locks and logs of databases come and go."""
    return {
        str(path.relative_to(home.path)): path.read_bytes()
        for path in home.path.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }


def test_a_home_that_was_moved_is_served_and_a_copy_leaves_its_original_alone(shop: Shop, tmp_path: Path) -> None:
    moved = Home(tmp_path / "elsewhere")
    shop.home.path.rename(moved.path)
    shutil.rmtree(moved.path / "bundles", ignore_errors=True)
    settings = settings_of(moved)
    with serving(settings) as server:
        key = shop.headers()
        assert httpx.get(f"{server.url}/v1/customers/C00001/score", headers=key).status_code == 200
    before = files_of(moved)
    copy = Home(tmp_path / "copy")
    shutil.copytree(moved.path, copy.path)
    shutil.rmtree(copy.path / "bundles", ignore_errors=True)
    follow_home(copy.tracking_uri)
    build(copy)
    promote(copy, train(copy, seed=2))
    with serving(settings_of(copy)) as server:
        assert httpx.get(f"{server.url}/v1/customers/C00001/score", headers=key).json()["model_version"] == "2"
    assert files_of(moved) == before
    shutil.rmtree(moved.path)
    shutil.rmtree(copy.path / "bundles")
    with serving(settings_of(copy)) as server:
        assert httpx.get(f"{server.url}/v1/customers/C00001/score", headers=key).status_code == 200


def test_a_disk_that_is_full_is_said_to_be(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    answer = httpx.get(f"{running.url}/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "/docs/problems#storage-full")
    assert "disk is full" in answer.json()["detail"]
