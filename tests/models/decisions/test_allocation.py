"""Plans: no limit is exceeded, and no other assignment gains more."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decisions.actions import Action
from models.decisions.allocation import Plan, assign, greedy
from models.decisions.eligibility import Remaining
from models.decisions.policy import Worth

CALL = Action("call", "phone", 8.0, 0.2, minutes=20)
GIFT = Action("gift", "post", 25.0, 0.3)
MAIL = Action("mail", "email", 0.5, 0.05, minutes=1)
ACTIONS = (CALL, GIFT, MAIL)

lists = st.lists(
    st.dictionaries(st.sampled_from(range(3)), st.floats(0.01, 100), max_size=3), min_size=1, max_size=5
).map(lambda people: [[Worth(ACTIONS[a], gain, gain) for a, gain in sorted(theirs.items())] for theirs in people])
limits = st.builds(
    Remaining,
    st.none() | st.floats(0, 60),
    st.none() | st.floats(0, 60),
    st.dictionaries(st.sampled_from(["call", "gift", "mail"]), st.integers(-1, 3)),
)


def fits(chosen: tuple[Worth | None, ...], left: Remaining) -> bool:
    taken = [worth.action for worth in chosen if worth is not None]
    counts = Counter(action.name for action in taken)
    return (
        (left.budget is None or sum(action.cost for action in taken) <= left.budget + 1e-6)
        and (left.staff is None or sum(action.minutes for action in taken) <= left.staff + 1e-6)
        and all(counts[name] <= max(0, most) for name, most in left.capacity.items())
    )


@settings(max_examples=60, deadline=None)
@given(lists, limits)
def test_no_assignment_gains_more_than_the_plan(options: list[list[Worth]], left: Remaining) -> None:
    plan = assign(options, left)
    everything = product(*([None, *theirs] for theirs in options))
    best = max(sum(w.ranked_on for w in chosen if w is not None) for chosen in everything if fits(chosen, left))
    assert fits(plan.chosen, left)
    assert all(worth is None or worth in options[place] for place, worth in enumerate(plan.chosen))
    assert plan.gain == pytest.approx(best, rel=2e-4, abs=1e-6)
    assert plan.bound >= plan.gain


@given(lists, limits)
def test_the_greedy_plan_holds_the_limits_too(options: list[list[Worth]], left: Remaining) -> None:
    plan = greedy(options, left)
    assert fits(plan.chosen, left)
    assert plan.gain == pytest.approx(sum(worth.ranked_on for worth in plan.chosen if worth is not None))


def test_a_plan_beats_the_greedy_one_where_the_dearest_is_not_the_best() -> None:
    rng = np.random.default_rng(3)
    options = [
        [Worth(action, gain, gain) for action, gain in zip(ACTIONS, rng.gamma(2.0, [12, 20, 3]), strict=True)]
        for _ in range(3_000)
    ]
    left = Remaining(budget=3_000.0, staff=2_400.0, capacity={"mail": 500})
    plan, first = assign(options, left), greedy(options, left)
    assert fits(plan.chosen, left)
    assert plan.gain > 1.2 * first.gain
    assert plan.bound * 0.995 <= plan.gain <= plan.bound
    assert plan.cost == pytest.approx(sum(worth.action.cost for worth in plan.chosen if worth is not None))
    assert plan.minutes <= 2_400


def test_nobody_and_nothing_is_a_plan() -> None:
    assert assign([], Remaining()) == Plan((), 0.0, 0.0)
    assert assign([[], []], Remaining(budget=1.0)) == Plan((None, None), 0.0, 0.0)
