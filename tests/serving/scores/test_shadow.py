"""A challenger in the shadow: it scores who was answered, and no answer waits for it, fails or changes by it."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest

from models.errors import BundleError
from models.registry.registry import Registry
from serving.api.dependencies import Parts
from serving.scores import shadow as module
from serving.scores.observers import ScoreObservers
from training.comparison.aligned_predictions import Contestant
from training.comparison.shadow import compare_shadows

from ..conftest import Running, Shop, customer_ids, serving, settings_of, train, wait_for

IDS = customer_ids()[:60]


def _lines(shop: Shop) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((shop.home.path / "shadow").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def _ask(running: Running, shop: Shop, **query: str) -> list[dict[str, Any]]:
    with httpx.Client(base_url=running.url, headers=shop.headers(), timeout=60) as client:
        answers = [client.get(f"/v1/customers/{customer_id}/score", params=query) for customer_id in IDS]
    assert all(answer.status_code == 200 for answer in answers)
    return [answer.json() for answer in answers]


def test_a_challenger_scores_behind_the_answers_and_compare_shows_both(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.05)
    settings = settings_of(shop.home, shadow_share=1.0)
    challenger = train(shop.home, seed=7)
    champion = Registry(settings.registry, "tinyshop").champion()
    assert champion is not None
    with serving(settings) as running:
        answers = _ask(running, shop)
        _ask(running, shop, explain="none")
        httpx.post(f"{running.url}/v1/scores", json={"customer_ids": ["nobody"]}, headers=shop.headers())
        wait_for(lambda: len({line["customer_id"] for line in _lines(shop)}) == len(IDS))
        metrics = httpx.get(f"{running.url}/metrics").text
    assert "keepwell_shadow_scores_total" in metrics
    rows = _lines(shop)
    probability = {answer["customer_id"]: answer["churn"]["probability"] for answer in answers}
    for row in rows:
        assert (row["champion"], row["challenger"]) == (champion.version, challenger.version)
        assert row["p_champion"] == pytest.approx(probability[row["customer_id"]], abs=1e-4)
    assert any(abs(row["p_champion"] - row["p_challenger"]) > 1e-3 for row in rows)
    found = compare_shadows(shop.home, [Contestant("a", champion.run_id), Contestant("b", challenger.run_id)])
    assert len(found) == 1
    assert found[0].customers == len(IDS)
    assert found[0].mean_champion == pytest.approx(sum(probability.values()) / len(IDS), abs=1e-4)
    assert found[0].rank_correlation > 0.5
    assert f"version {challenger.version}" in found[0].sentence
    assert compare_shadows(shop.home, [Contestant("a", champion.run_id), Contestant("c", "other")]) == ()


def test_without_a_share_there_is_no_shadow(running: Running) -> None:
    parts: Parts = running.app.state.parts
    assert parts[ScoreObservers].shadow is None


def test_a_shadow_that_hangs_or_fails_keeps_nobody_waiting(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.01)
    monkeypatch.setattr(module, "MOST_WAITING", 20)
    settings = settings_of(shop.home, shadow_share=1.0)
    train(shop.home, seed=7)
    hung = threading.Event()

    def hang(*_: object) -> None:
        hung.wait()
        raise BundleError("the challenger is broken")

    with serving(settings) as running:
        parts: Parts = running.app.state.parts
        shadow = parts[ScoreObservers].shadow
        assert shadow is not None
        monkeypatch.setattr(shadow, "look", hang)
        try:
            _ask(running, shop)  # answers come, though the shadow hangs until all have come
        finally:
            hung.set()
        dropped = [
            line for line in httpx.get(f"{running.url}/metrics").text.splitlines() if "shadow_dropped_total" in line
        ]
        assert float(dropped[-1].split()[-1]) >= len(IDS) - 21  # what waits is bounded, and the rest is counted
        wait_for(lambda: "keepwell_shadow_failures_total 1.0" in httpx.get(f"{running.url}/metrics").text)
        _ask(running, shop)
    assert _lines(shop) == []
