"""Hard filters and draws: no decision breaks a filter, each says what lifts it, and every pscore is exact."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from models.decisions.actions import NO_ACTION, Action, Budget, Cap
from models.decisions.eligibility import (
    BLOCK_CODES,
    Arm,
    DecisionContext,
    Effect,
    Limits,
    Remaining,
    blocks,
    open_channels,
)
from models.decisions.policy import LACKED_CODES, WHY_NOT_CODES, NextBestActionPolicy, Ranking
from models.experiments.bucketing import arm_of, position

CALL = Action("call", "phone", 8.0, 0.2, consent="phone", cap=Cap(1, 30), minutes=15, capacity=Cap(5, 7))
GIFT = Action("gift", "post", 20.0, 0.3, cap=Cap(2, 90))
MAIL = Action("mail", "email", 0.1, 0.05, consent="email", other_channels={"push": None})
ACTIONS = (CALL, GIFT, MAIL)
LIMITS = Limits(cap=Cap(3, 30), budget=Budget(100.0, 7), staff=Budget(60.0, 7))
NAMES = [action.name for action in ACTIONS]

names = st.sampled_from(NAMES)
contexts = st.builds(
    DecisionContext,
    st.just("C1"),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e6),
    st.dictionaries(st.sampled_from(["phone", "email"]), st.sampled_from([None, 0.0, 1.0, math.nan])),
    st.dictionaries(names, st.integers(0, 3)),
    st.frozensets(names, max_size=1),
    st.integers(0, 4),
    st.dictionaries(names, st.sampled_from([True, False, None])),
    st.just({}),
    st.dictionaries(st.sampled_from(["phone", "email", "push", "post"]), st.just("08:00")),
    st.builds(
        Remaining,
        st.none() | st.floats(-1, 50),
        st.none() | st.floats(-1, 30),
        st.dictionaries(names, st.integers(-1, 2)),
    ),
    st.booleans(),
    st.none() | st.builds(Arm, st.just("x"), st.just("b"), st.none() | st.frozensets(names)),
    st.dictionaries(names, st.floats(0.5, 2)),
    st.dictionaries(names, st.builds(Effect, st.floats(-0.2, 0.2), st.floats(-0.4, 0.2))),
)
policies = st.builds(
    lambda exploration, floor, ranking, constant: NextBestActionPolicy(
        ACTIONS, exploration, floor=floor, limits=LIMITS, ranking=ranking, constant=constant
    ),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(Ranking),
    st.none() | st.sampled_from([*NAMES, NO_ACTION]),
)


def may(action: Action, context: DecisionContext) -> bool:
    """The filters, written a second time."""

    def consented(scope: str | None) -> bool:
        return scope is None or context.consents.get(scope) == 1.0

    left = context.remaining
    return (
        action.name not in context.exclude
        and not context.holdout
        and (context.arm is None or context.arm.actions is None or action.name in context.arm.actions)
        and any(consented(scope) and channel not in context.quiet for channel, scope in action.channels.items())
        and context.eligible.get(action.name, True) is True
        and (action.cap is None or context.touches.get(action.name, 0) < action.cap.count)
        and context.touches_over_all < 3
        and (action.capacity is None or left.capacity.get(action.name, 1) >= 1)
        and (left.staff is None or action.minutes <= left.staff)
        and (left.budget is None or action.cost <= left.budget)
    )


@given(contexts, policies, st.integers(0, 2**32))
def test_no_decision_breaks_a_filter(context: DecisionContext, policy: NextBestActionPolicy, seed: int) -> None:
    drawn, dist = policy.draw(context, np.random.default_rng(seed))
    for decision in (drawn, policy.best(context)):
        for action in ACTIONS:
            if decision.action == action.name:
                assert may(action, context)
                assert set(open_channels(action, context)) <= set(action.channels)
                assert open_channels(action, context)
        for other in decision.alternatives:
            named = next((action for action in ACTIONS if action.name == other.action), None)
            assert (other.blocked_by is None) == (named is None or may(named, context))
            assert (other.code in BLOCK_CODES) == (other.blocked_by is not None)
            assert other.code in {**BLOCK_CODES, **WHY_NOT_CODES}
            assert other.why_not
            assert all(block.code in BLOCK_CODES and block.lifted_by for block in other.blocks)
        assert set(decision.lacked) <= set(LACKED_CODES)
    assert drawn.pscore == dist[drawn.action] > 0
    assert sum(dist.values()) == pytest.approx(1.0)
    assert {name for name, pscore in dist.items() if pscore > 0} <= {
        NO_ACTION,
        *(action.name for action in ACTIONS if may(action, context)),
    }


@given(contexts, policies)
@example(DecisionContext("C1", 0.3, 500.0, {}), NextBestActionPolicy(ACTIONS, 5e-324, floor=0.06, limits=LIMITS))
def test_every_allowed_action_has_the_floor(context: DecisionContext, policy: NextBestActionPolicy) -> None:
    dist = policy.action_dist(context)
    allowed = [NO_ACTION, *(action.name for action in ACTIONS if may(action, context))]
    if policy.exploration > 0:
        least = min(max(policy.floor, policy.exploration / len(allowed)), 1 / len(allowed))
        assert all(dist[name] >= least - 1e-12 for name in allowed)


def test_over_many_decisions_each_action_has_its_pscore(full: bool) -> None:
    draws = 33_400 if full else 8_000
    policy = NextBestActionPolicy(ACTIONS, 0.15, floor=0.06, limits=LIMITS)
    rng = np.random.default_rng(5)
    context = DecisionContext("C1", 0.3, 500.0, {"phone": 1.0, "email": 1.0})
    for some in (context, replace(context, exclude=frozenset({"gift"})), replace(context, value_at_stake=None)):
        drawn = Counter(policy.draw(some, rng)[0].action for _ in range(draws))
        dist = {name: pscore for name, pscore in policy.action_dist(some).items() if pscore > 0}
        assert set(drawn) == set(dist)
        expected = np.array(list(dist.values())) * draws
        assert chisquare([drawn[name] for name in dist], expected).pvalue > 1e-4


def test_what_lifts_a_filter_is_said() -> None:
    context = DecisionContext(
        "C1", 0.3, 500.0, {"phone": 0.0}, {"gift": 2}, eligible={"call": None}, conditions={"call": "mrr > 20"},
        quiet={"push": "08:00"}, remaining=Remaining(budget=3.0, staff=10.0, capacity={"call": 0}),
    )  # fmt: skip
    found = {action.name: [block.code for block in blocks(action, context, LIMITS)] for action in ACTIONS}
    assert found["call"] == ["consent_withdrawn", "eligibility_unknown", "capacity", "staff_time", "budget"]
    assert found["gift"] == ["cap", "budget"]
    assert found["mail"] == ["quiet_hours"]
    texts = [block.text for block in blocks(CALL, context, LIMITS)]
    assert texts[1] == "not known whether mrr > 20"
    assert texts[-1] == "budget of 100 in 7 days leaves 3 of the 8 it costs"


def test_the_lower_bound_ranks_and_the_estimate_is_told() -> None:
    policy = NextBestActionPolicy(ACTIONS, 0.0)
    effects = {"call": Effect(0.20, -0.05, (-0.1, 0.5)), "gift": Effect(0.12, 0.10, (0.08, 0.16))}
    context = DecisionContext("C1", 0.3, 500.0, {"phone": 1.0}, effects=effects, levers={"gift": 1.5})
    decision = policy.best(context)
    assert decision.action == "gift"
    assert decision.expected_gain == pytest.approx(0.12 * 500 * 1.5 - 20)
    assert decision.factors.ranked_on == pytest.approx(0.10 * 500 * 1.5 - 20)
    assert decision.uplift_interval == (0.08, 0.16)
    assert decision.factors.effect == "learned"
    call = next(other for other in decision.alternatives if other.action == "call")
    assert call.expected_gain == pytest.approx(0.2 * 500 - 8)
    assert (call.code, call.why_not) == ("lower_gain", "ranks behind gift: -33 against 55")
    # The e-mail has only a prior, and its consent is not on record, but push needs none.
    assert decision.lacked == ("learned_effects",)


def test_a_constant_action_is_best_for_everybody_it_pays_for() -> None:
    policy = NextBestActionPolicy(ACTIONS, 0.0, constant="mail")
    rich = DecisionContext("C1", 0.5, 1000.0, {"phone": 1.0, "email": 1.0})
    assert policy.best(rich).action == "mail"
    codes = {other.action: other.code for other in policy.best(rich).alternatives}
    assert codes["call"] == "not_proven"
    assert policy.best(replace(rich, value_at_stake=0.0)).action == NO_ACTION
    assert policy.best(replace(rich, exclude=frozenset({"mail"}))).action == NO_ACTION
    assert NextBestActionPolicy(ACTIONS, 0.0, constant=NO_ACTION).best(rich).action == NO_ACTION


def test_ablations_rank_on_less() -> None:
    policy = NextBestActionPolicy(ACTIONS, 0.0)
    context = DecisionContext(
        "C1", 0.5, 100.0, {"phone": 1.0, "email": 1.0},
        effects={"mail": Effect(0.4, 0.4)}, levers={"gift": 2.0},
    )  # fmt: skip
    best = {ranking: policy.ranked_by(ranking).best(context).action for ranking in Ranking}
    assert best[Ranking.GAIN] == "mail"
    assert best[Ranking.PROPENSITY] == "gift"
    assert best[Ranking.NO_LEVERS] == "mail"
    random = policy.ranked_by(Ranking.RANDOM)
    assert set(random.action_dist(context).values()) == {0.25}
    assert random.policy_version != policy.policy_version


def test_assignment_is_for_ever_uniform_and_independent() -> None:
    units = [f"C{number:05d}" for number in range(20_000)]
    places = np.array([position("tinyshop holdout", unit) for unit in units])
    assert position("tinyshop holdout", "C00042") == 0.2119555600594396
    assert 0 <= places.min() < places.max() < 1
    assert chisquare(np.histogram(places, 20, (0, 1))[0]).pvalue > 1e-4
    others = np.array([position("another", unit) for unit in units])
    assert abs(np.corrcoef(places, others)[0, 1]) < 0.03
    arms = Counter(arm_of("x", unit, [0.2, 0.5, 0.3]) for unit in units)
    assert chisquare([arms[0], arms[1], arms[2]], [4000, 10_000, 6000]).pvalue > 1e-4
