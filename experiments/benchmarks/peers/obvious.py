"""The same answer written the obvious way: Feast's SDK, Booster.predict, shap.TreeExplainer, FastAPI.

Everything that can be made once is made once, both moments go through one call of the model and of the explainer, and
the route is `def`, as FastAPI asks of routes that compute.
"""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import shap
from fastapi import FastAPI, HTTPException

from experiments.benchmarks.peers.feature_store import open_store


def create() -> FastAPI:
    """The app; PEER_FOLDER holds its model.txt, its setup.json and Feast's registries."""
    folder = Path(os.environ["PEER_FOLDER"])
    setup: dict[str, Any] = json.loads((folder / "setup.json").read_text())
    booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
    explainer = shap.TreeExplainer(booster)
    redis_url = os.environ.get("PEER_REDIS")
    stores = [open_store(folder, name, redis_url) for name in ("peer", "peer_before")]
    names: list[str] = setup["names"]
    references = [f"{pillar}:{name}" for name, pillar in zip(names, setup["pillars"], strict=True)]
    codes = {name: {word: n for n, word in enumerate(words)} for name, words in setup["categories"].items()}
    scale, slope, intercept = setup["scale"], setup["slope"], setup["intercept"]
    offset = 50.0 + scale * math.log(setup["p_ref"] / (1 - setup["p_ref"]))
    population = np.sort(np.array(setup["population"]))
    pillars = list(dict.fromkeys(setup["pillars"]))
    of_pillar = np.array([[pillar == mine for pillar in pillars] for mine in setup["pillars"]], dtype=float)
    app = FastAPI()

    def row(values: dict[str, list[Any]]) -> list[float]:
        return [
            (codes[name].get(values[name][0], math.nan) if name in codes else values[name][0])
            if values[name][0] is not None
            else math.nan
            for name in names
        ]

    def by_pillar(points: Any) -> list[dict[str, Any]]:
        sums = points @ of_pillar
        named = [{"pillar": name, "points": float(value)} for name, value in zip(pillars, sums, strict=True)]
        return sorted(named, key=lambda pillar: -abs(pillar["points"]))

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    @app.get("/score/{customer_id}")
    def score(customer_id: str) -> dict[str, Any]:
        entity = [{"customer_id": customer_id}]
        answers = [store.get_online_features(features=references, entity_rows=entity) for store in stores]
        found = [answer.to_dict() for answer in answers]
        if all(found[0][name][0] is None for name in names):
            raise HTTPException(404)
        X = np.array([row(values) for values in found])
        log_odds = slope * booster.predict(X, raw_score=True, num_threads=1) + intercept
        probability = 1 / (1 + np.exp(-log_odds))
        health = offset - scale * log_odds
        clamped = np.clip(health, 0, 100) - health
        points = -scale * slope * explainer.shap_values(X)
        expected = float(np.ravel(explainer.expected_value)[-1])
        largest = np.argsort(-np.abs(points[0]), kind="stable")[:5]
        final = float(health[0] + clamped[0])
        return {
            "customer_id": customer_id,
            "churn": {
                "probability": float(probability[0]),
                "horizon_days": setup["horizon_days"],
                "percentile": float(np.searchsorted(population, probability[0]) / max(1, population.size)),
            },
            "health": {
                "score": final,
                "band": "red" if final < 40 else "yellow" if final < 60 else "green",
                "base": offset - scale * (slope * expected + intercept),
                "clamped": float(clamped[0]),
                "pillars": by_pillar(points[0]),
                "change": {
                    "since": setup["before"],
                    "points": float(np.clip(health[0], 0, 100) - np.clip(health[1], 0, 100)),
                    "clamped": float(clamped[0] - clamped[1]),
                    "pillars": by_pillar(points[0] - points[1]),
                },
            },
            "reasons": [
                {
                    "feature": names[column],
                    "value": found[0][names[column]][0],
                    "typical": setup["typical"][names[column]],
                    "pillar": setup["pillars"][column],
                    "points": float(points[0, column]),
                    "text": f"{names[column]} is {found[0][names[column]][0]}; "
                    f"{setup['typical'][names[column]]} is typical",
                }
                for column in largest.tolist()
            ],
            "model_version": "1",
            "scorecard_version": "1",
            "feature_timestamp": setup["as_of"],
            "degraded": [],
            "request_id": datetime.now(UTC).isoformat(),
        }

    return app
