"""Recommendations and what else is the customer's own: items, channel and hour, as far as the customer allows it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import UnknownCustomer
from features.snapshots.purchases import Purchases, day_of, write_purchases
from features.snapshots.touch_responses import write_answers
from models.registry.model_bundle import ModelBundle
from serving.auth.api_keys import Principal, Role
from serving.decisions.service import DecisionService
from serving.platform.database import Database
from serving.recommendations.service import recommend
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import Scorer
from training.recommender import fit_recommender

from ..tinyshop import tinyshop

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]

CRM = Principal("crm", Role.SCORER)
TOML = tinyshop(
    """[[actions]]
name = "offer"
channel = "email"
channels = { push = "", sms = "sms" }
cost = 0.1
prior_effect = 0.2
recommends = true
[policy]
exploration = 0
"""
)


def moment(days_ago: float, hour: int) -> datetime:
    return (datetime.now(UTC) - timedelta(days=days_ago)).replace(hour=hour, minute=30, second=0, microsecond=0)


def events() -> pa.Table:
    """Staples that come again, a sofa, and touches that are answered on push in the evening, C00002's by e-mail at nine."""
    rng = np.random.default_rng(4)
    rows: list[tuple[str, datetime, str, str, str]] = []
    for number in range(1, 200):
        name, staple = f"C{number:05d}", "milk" if number % 2 else "bread"
        rows += [
            (name, moment(day, 10), "purchase", "shop", f'{{"item": "{staple}"}}')
            for day in range(int(rng.integers(2, 12)), 300, 10)
            if rng.random() < 0.7
        ]
        if number % 3 == 0:
            rows.append((name, moment(5 if number == 3 else 100, 11), "purchase", "shop", '{"item": "sofa"}'))
        for channel, share in (("email", 0.2), ("push", 0.5)):
            for day in range(10, 70, 20):
                rows.append((name, moment(day, 8), "touch", channel, '{"action": "offer"}'))
                if number == 2:
                    if channel == "email":
                        rows.append((name, moment(day, 9), "touch_opened", channel, "{}"))
                elif rng.random() < share:
                    rows.append((name, moment(day, 20), "touch_opened", channel, "{}"))
    names = ("customer_id", "occurred_at", "type", "channel", "properties")
    columns = {name: pa.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return pa.table({**columns, "received_at": columns["occurred_at"]})


@pytest.fixture(scope="module")
def release(template: Any, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The shop's release, as if it had been built and trained on those events."""
    source = ReleaseSource(template.settings)
    plain = source.load(source.newest())
    folder = tmp_path_factory.mktemp("generation")
    generation = replace(plain.generation, path=folder)
    pq.write_table(events(), folder / "events.parquet")
    assert write_purchases(folder / "events.parquet", generation.as_of, generation.purchases_file)
    assert write_answers(folder / "events.parquet", generation.as_of, "UTC", generation.answers_file)
    (folder / "business.toml").write_text(TOML)
    recommender = fit_recommender(Purchases.read(generation.purchases_file), day_of(generation.as_of))
    assert recommender is not None
    bundle = replace(plain.bundle, recommender=recommender.to_bytes())
    bundle.save(folder / "bundle")
    loaded = Release.load(replace(plain.parts, generation=generation, bundle=ModelBundle.load(folder / "bundle")))
    # The features are the template's own; only what stands beside them is new.
    return replace(loaded, store=plain.store)


def with_toml(release: Release, folder: Path, toml: str) -> Release:
    shutil.copytree(release.generation.path, folder, ignore=shutil.ignore_patterns("*-lock"))
    (folder / "business.toml").write_text(toml)
    return replace(release, generation=replace(release.generation, path=folder))


def test_a_bundle_keeps_its_recommender(release: Release) -> None:
    bundle = release.bundle
    assert bundle.recommender is not None
    assert replace(bundle, recommender=None).hash != bundle.hash


def test_recommendations_are_the_customers_own(release: Release) -> None:
    odd, even = recommend(release, "C00001", 3), recommend(release, "C00002", 3)
    assert (odd.items[0].item, even.items[0].item) == ("milk", "bread")
    assert odd.personal
    assert odd.lacked == ()
    # C00003 bought a sofa five days ago: nobody buys a second one.
    assert "sofa" not in [one.item for one in recommend(release, "C00003", 10).items]
    newcomer = recommend(release, "newcomer", 2)
    assert (newcomer.personal, newcomer.lacked) == (False, ("purchases",))
    assert {one.item for one in newcomer.items} == {"milk", "bread"}
    with pytest.raises(UnknownCustomer):
        recommend(release, "nobody", 3)


def test_consent_to_recommendations_is_respected(release: Release, tmp_path: Path) -> None:
    asking = with_toml(release, tmp_path / "asking", TOML + '[recommendations]\nconsent = "email"\n')
    seen = set()
    for number in range(1, 60):
        customer_id = f"C{number:05d}"
        consent = release.store.read([customer_id]).columns["consent_email"][0]
        seen.add(consent)
        found = recommend(asking, customer_id, 3)
        given = consent == 1.0
        assert found.personal is given
        assert found.lacked == (() if given else ("consent",))
    assert {0.0, 1.0} < seen


def test_without_items_nothing_is_made_up(template: Any) -> None:
    source = ReleaseSource(template.settings)
    found = recommend(source.load(source.newest()), "C00001", 5)
    assert (found.items, found.lacked) == ((), ("items",))


def test_a_decision_has_the_customers_own_channel_hour_and_item(release: Release, database: Database) -> None:
    service, scorer = DecisionService(database), Scorer(release)
    usual = service.decide(scorer, "C00005", CRM)
    assert (usual.action, usual.channel, usual.hour, usual.item) == ("offer", "push", 20, "milk")
    own = service.decide(scorer, "C00002", CRM)
    assert (own.channel, own.hour, own.item) == ("email", 9, "bread")
    assert "answers" not in own.lacked


def test_a_quiet_channel_or_hour_is_not_the_best(release: Release, database: Database, tmp_path: Path) -> None:
    night = '[policy]\nexploration = 0\nquiet_hours = { start = "19:30", end = "21:00" }\n'
    toml = TOML.replace("[policy]\nexploration = 0\n", night)
    scorer = Scorer(with_toml(release, tmp_path / "evening", toml))
    noon = datetime.now(UTC).replace(hour=12)
    found = DecisionService(database, lambda: noon).decide(scorer, "C00005", CRM)
    assert found.channel == "push"
    assert found.hour is not None
    assert found.hour not in (19, 20)
    quiet_push = toml.replace('end = "21:00"', 'end = "21:00", channels = ["push"]')
    scorer = Scorer(with_toml(release, tmp_path / "push", quiet_push))
    evening = noon.replace(hour=20)
    assert DecisionService(database, lambda: evening).decide(scorer, "C00005", CRM).channel == "email"


def test_over_http(client: httpx.Client) -> None:
    answer = client.get("/v1/customers/a%2Fb%20c/recommendations", params={"k": 3})
    assert answer.status_code == 200
    body = answer.json()
    assert body["customer_id"] == "a/b c"
    assert (body["recommendations"], body["personal"], body["lacked"]) == ([], False, ["items"])
    assert body["features_as_of"].endswith("Z")
    assert client.get("/v1/customers/nobody/recommendations").status_code == 404
    for k in (0, 101, "x"):
        assert client.get("/v1/customers/C00001/recommendations", params={"k": k}).status_code == 422
