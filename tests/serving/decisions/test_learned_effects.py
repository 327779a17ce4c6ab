"""Decisions by learned effects: ranked on their lower bound, told with their interval, mixed with priors, one constant."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from features.schema import FeatureSchema
from models.decisions.design_matrix import Design
from models.decisions.effect_model import REWARD, EffectModel
from serving.auth.api_keys import Principal, Role
from serving.decisions.playbook import Playbook
from serving.decisions.service import DecisionService, LoggedDecision
from serving.errors import ReleaseMismatch
from serving.platform.database import Database
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore, Scorer, score_as_of_now

from ..conftest import SCHEMA
from ..learned_policy import effects, policy_of

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]

CRM = Principal("crm", Role.SCORER)
EVERYBODY = [f"C{number:05d}" for number in range(1, 241)]


def learned(release: Release, model: EffectModel, constant: str | None = None) -> Release:
    """The release, with a policy of these effects as its third version."""
    return Release.load(replace(release.parts, policy=policy_of(model, constant), policy_version="3"))


@pytest.fixture(scope="module")
def release(template: Any) -> Release:
    source = ReleaseSource(template.settings)
    return source.load(source.newest())


def test_decisions_rank_on_the_lower_bound_of_what_was_learned(release: Release, database: Database) -> None:
    with_policy = learned(release, effects())
    assert with_policy.key == f"{release.key}/3"
    scorer = Scorer(with_policy)
    scores = {s.customer_id: s for s in score_as_of_now(scorer, EVERYBODY) if isinstance(s, CustomerScore)}
    decided = DecisionService(database).decide_many(scorer, EVERYBODY, CRM)
    called = 0
    for one in decided:
        assert isinstance(one, LoggedDecision)
        assert one.policy_version == "policy-3"
        if one.action != "success_call":
            continue
        called += 1
        score = scores[one.customer_id]
        # By hand: 0.02 + 1 · (0.1 · tickets − 0.05), its variance 0.0004 + 0.01 · (…)²; a design reaches to 3.
        tickets = score.features["tickets_open"]
        assert isinstance(tickets, float)
        distance = 0.1 * min(tickets, 3.0) - 0.05
        error = float(np.sqrt(0.0004 + 0.01 * distance**2))
        assert one.uplift == pytest.approx(0.02 + distance, abs=1e-6)
        assert one.factors is not None
        low = one.uplift - NormalDist().inv_cdf(0.8) * error
        assert one.factors.uplift_low == pytest.approx(low, abs=1e-6)
        assert one.factors.effect == "learned"
        assert one.uplift_interval == pytest.approx(
            (one.uplift - 1.959964 * error, one.uplift + 1.959964 * error), abs=1e-6
        )
        assert one.value_at_stake is not None
        assert one.factors.ranked_on == pytest.approx(low * one.value_at_stake - 8.0, abs=1e-3)
        assert "learned_effects" in one.lacked  # the e-mail's
    assert called > 20


def test_one_constant_action_where_nothing_better_is_proven(release: Release) -> None:
    playbook = Playbook.of_release(learned(release, effects(), "winback_email"))
    scores = [s for s in score_as_of_now(Scorer(release), EVERYBODY) if isinstance(s, CustomerScore)]
    best = {playbook.policy.best(playbook.context(score, {})).action for score in scores}
    assert best == {"winback_email", "no_action"}


def test_effects_of_no_feature_are_the_same_for_everybody(release: Release) -> None:
    model = replace(effects(), schema={"features": []}, feature_names=(), design=Design(()), members=())
    playbook = Playbook.of_release(learned(release, model))
    scores = [s for s in score_as_of_now(Scorer(release), EVERYBODY) if isinstance(s, CustomerScore)]
    found = playbook.effects(scores)
    assert len(found) == len(scores)
    assert {effect["success_call"].estimate for effect in found} == {0.02}


def test_effects_of_another_reward_are_not_taken_for_churn(release: Release) -> None:
    playbook = Playbook.of_release(learned(release, replace(effects(), unit=REWARD), "winback_email"))
    assert playbook.policy.policy_version.startswith("prior-")
    assert (playbook.policy.constant, playbook.effect_model) == (None, None)


def test_effects_of_features_that_were_not_built_are_refused(release: Release) -> None:
    other = FeatureSchema(tuple(replace(feature, name=f"{feature.name}_of_old") for feature in SCHEMA))
    used = other.select(["tickets_open_of_old"])
    model = replace(effects(), schema=used.to_json(), feature_names=used.names)
    with pytest.raises(ReleaseMismatch, match="Policy version 3 reads the feature 'tickets_open_of_old'"):
        learned(release, model)
    # No decision reads those of another reward, as of a trial of its own: they stand in nobody's way.
    of_trial = learned(release, replace(model, unit=REWARD))
    assert Playbook.of_release(of_trial).effect_model is None
