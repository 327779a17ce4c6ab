"""The policy: no decision breaks a filter, and every pscore is the probability with which it was drawn."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.decisions.policy import NO_ACTION, Action, Cap, DecisionContext, NextBestActionPolicy
from models.errors import PolicyError

CALL = Action("success_call", "phone", 8.0, 0.2, consent="phone", cap=Cap(1, 30))
DISCOUNT = Action("discount_10", "in_app", 48.0, 0.1)
EMAIL = Action("winback_email", "email", 0.1, 0.05, consent="email")
POLICY = NextBestActionPolicy([CALL, DISCOUNT, EMAIL])


def context(**changes: object) -> DecisionContext:
    fields: dict[str, object] = {
        "customer_id": "C1",
        "churn_probability": 0.314,
        "value_at_stake": 512.0,
        "consents": {"phone": 1.0, "email": None},
    }
    return DecisionContext(**(fields | changes))  # type: ignore[arg-type]


consents = st.dictionaries(st.sampled_from(["phone", "email"]), st.sampled_from([None, 0.0, 1.0, math.nan]))
contexts = st.builds(
    DecisionContext,
    st.just("C1"),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e6) | st.just(math.nan),
    consents,
    st.dictionaries(st.sampled_from(["success_call", "discount_10"]), st.integers(0, 3)),
    st.frozensets(st.sampled_from(["success_call", "discount_10", "winback_email", NO_ACTION, "unheard_of"])),
)


def test_the_example_of_the_contract() -> None:
    decision = POLICY.best(context())
    assert (decision.action, decision.channel, decision.cost) == ("success_call", "phone", 8.0)
    assert decision.uplift == pytest.approx(0.0628)
    assert decision.uplift_interval is None
    assert decision.expected_gain == pytest.approx(24.1536)
    assert [(a.action, a.blocked_by) for a in decision.alternatives] == [
        (NO_ACTION, None),
        ("discount_10", None),
        ("winback_email", "no consent for email"),
    ]
    assert decision.alternatives[0].expected_gain == 0.0
    assert decision.alternatives[2].expected_gain is None
    assert (decision.degraded, decision.policy_version) == ((), "prior-1")
    assert POLICY.action_dist(context())["success_call"] == pytest.approx(0.9 + 0.1 / 3)


@given(contexts, st.integers(0, 2**32))
def test_no_decision_breaks_a_filter(given_context: DecisionContext, seed: int) -> None:
    policy = NextBestActionPolicy([CALL, DISCOUNT, EMAIL], exploration=0.5)
    rng = np.random.default_rng(seed)
    for decision in (policy.decide(given_context, rng), policy.best(given_context)):
        action = next((a for a in policy.actions if a.name == decision.action), None)
        if action is None:
            assert decision.action == NO_ACTION
            assert (decision.channel, decision.cost, decision.expected_gain) == (None, 0.0, 0.0)
        else:
            assert action.name not in given_context.exclude
            if action.consent is not None:
                assert given_context.consents.get(action.consent) == 1.0
            if action.cap is not None:
                assert given_context.touches.get(action.name, 0) < action.cap.count
        names = {decision.action, *(a.action for a in decision.alternatives)}
        assert names == {NO_ACTION, "success_call", "discount_10", "winback_email"}
        assert len(decision.alternatives) == 3


@given(contexts, st.floats(0, 1))
def test_pscores_sum_to_one_and_blocked_ones_are_nought(given_context: DecisionContext, exploration: float) -> None:
    policy = NextBestActionPolicy([CALL, DISCOUNT, EMAIL], exploration=exploration)
    distribution = policy.action_dist(given_context)
    assert sum(distribution.values()) == pytest.approx(1.0)
    for alternative in policy.best(given_context).alternatives:
        assert (distribution[alternative.action] > 0) <= (alternative.blocked_by is None)


@given(contexts)
def test_the_best_is_worth_at_least_as_much_as_every_alternative(given_context: DecisionContext) -> None:
    decision = POLICY.best(given_context)
    gains = [a.expected_gain for a in decision.alternatives if a.expected_gain is not None]
    assert decision.expected_gain is not None
    assert all(decision.expected_gain >= gain for gain in gains)
    assert decision.pscore == 1.0


@pytest.mark.parametrize("exploration", [0.1, 0.6])
def test_actions_are_drawn_as_often_as_their_pscores_say(exploration: float, full: bool) -> None:
    policy = NextBestActionPolicy([CALL, DISCOUNT, EMAIL], exploration=exploration)
    rng, n = np.random.default_rng(20261121), 100_000 if full else 20_000
    given_context = context(consents={"phone": 1.0, "email": 1.0})
    decisions = [policy.decide(given_context, rng) for _ in range(n)]
    drawn = Counter(decision.action for decision in decisions)
    distribution = policy.action_dist(given_context)
    assert {(d.action, d.pscore) for d in decisions} == set(distribution.items())
    names = sorted(distribution)
    assert chisquare([drawn[a] for a in names], [n * distribution[a] for a in names]).pvalue > 0.001


@pytest.mark.parametrize(
    ("changes", "action", "reason"),
    [
        ({"consents": {}}, "success_call", "no consent for phone"),
        ({"consents": {"phone": None}}, "success_call", "no consent for phone"),
        ({"consents": {"phone": 0.0}}, "success_call", "consent for phone withdrawn"),
        ({"touches": {"success_call": 1}}, "success_call", "cap of 1 in 30 days reached"),
        ({"exclude": frozenset({"discount_10"})}, "discount_10", "excluded by the caller"),
    ],
)
def test_every_block_says_why(changes: dict[str, object], action: str, reason: str) -> None:
    decision = POLICY.best(context(**changes))
    assert {a.action: a.blocked_by for a in decision.alternatives}[action] == reason


def test_a_cap_of_one_day_is_one_day() -> None:
    policy = NextBestActionPolicy([Action("ping", "push", 0.0, 0.5, cap=Cap(2, 1))])
    decision = policy.best(context(touches={"ping": 2}))
    assert decision.alternatives[0].blocked_by == "cap of 2 in 1 day reached"


def test_ties_go_to_doing_nothing_and_then_by_order() -> None:
    twins = [Action(name, "push", 0.0, 0.1) for name in ("b", "a")]
    assert NextBestActionPolicy(twins).best(context()).action == "b"
    assert NextBestActionPolicy(twins).best(context(value_at_stake=0.0)).action == NO_ACTION
    assert NextBestActionPolicy(twins).best(context(churn_probability=0.0)).action == NO_ACTION


@pytest.mark.parametrize("value", [None, math.nan])
def test_without_a_value_nothing_is_worth_doing_but_exploration_goes_on(value: float | None) -> None:
    unknown = context(value_at_stake=value)
    decision = POLICY.best(unknown)
    assert (decision.action, decision.value_at_stake, decision.degraded) == (NO_ACTION, None, ("missing_value",))
    assert {a.expected_gain for a in decision.alternatives} == {None}
    rng = np.random.default_rng(0)
    explored = [POLICY.decide(unknown, rng) for _ in range(300)]
    drawn = {d.action: d for d in explored}
    assert set(drawn) == {NO_ACTION, "success_call", "discount_10"}
    assert drawn["success_call"].expected_gain is None
    assert drawn["success_call"].pscore == pytest.approx(0.1 / 3)


def test_a_customer_whom_nothing_may_reach_is_left_alone_for_certain() -> None:
    everything = frozenset({"success_call", "discount_10", "winback_email"})
    decision = POLICY.decide(context(exclude=everything), np.random.default_rng(0))
    assert decision.action == NO_ACTION
    assert decision.pscore == pytest.approx(1.0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(PolicyError, match="declared twice"):
        NextBestActionPolicy([CALL, CALL])
    with pytest.raises(PolicyError, match="exploration"):
        NextBestActionPolicy([CALL], exploration=1.1)
    with pytest.raises(PolicyError, match="always there"):
        Action(NO_ACTION, "push", 0.0, 0.1)
    with pytest.raises(PolicyError, match="cost"):
        Action("a", "push", -1.0, 0.1)
    with pytest.raises(PolicyError, match="prior_effect"):
        Action("a", "push", 1.0, math.nan)
    with pytest.raises(PolicyError, match="cap"):
        Cap(1, 0)
    with pytest.raises(PolicyError, match="not in 0 to 1"):
        context(churn_probability=math.nan)
