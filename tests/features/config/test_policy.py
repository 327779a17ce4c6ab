"""What a TOML says of actions, levers, limits and recommendations: read as it is meant, refused in one sentence."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from features.config.business import Business
from features.errors import ConfigError
from features.snapshots.event_table import consent_scopes

BASE = """
[business]
name = "shop"
[data]
kind = "events"
[data.events]
path = "events.csv"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 90
[[actions]]
name = "call"
channel = "phone"
cost = 8
prior_effect = 0.2
"""


def load(folder: Path, more: str = "", base: str = BASE) -> Business:
    (folder / "shop.toml").write_text(base + more)
    return Business.load(folder / "shop.toml")


def test_what_is_left_out_changes_nothing(tmp_path: Path) -> None:
    business = load(tmp_path)
    policy = business.policy
    assert (policy.exploration, policy.holdout, policy.cap, policy.budget) == (0.10, 0.0, None, None)
    assert business.levers == ()
    assert consent_scopes(business) == ()


def test_everything_is_read(tmp_path: Path) -> None:
    more = """
consent = "phone"
channels = { sms = "sms", push = "" }
capacity = { count = 5, days = 7 }
where = "mrr > 20"
recommends = true
[[levers]]
name = "strategic"
factor = 1.5
actions = ["call"]
[policy]
budget = { amount = 500, days = 7 }
quiet_hours = { start = "20:30", end = "08:00" }
lever_bounds = [0.8, 1.25]
[recommendations]
consent = "profiling"
"""
    business = load(tmp_path, more)
    (action,) = business.actions
    assert action.channels == {"sms": "sms", "push": ""}
    assert consent_scopes(business) == ("phone", "profiling", "sms")
    hours = business.policy.quiet_hours
    assert hours is not None
    assert (hours.start, hours.end, hours.channels) == (time(20, 30), time(8), ())
    assert business.policy.lever_bounds == (0.8, 1.25)
    assert business.policy.budget is not None
    assert business.policy.budget.amount == 500.0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("where = 'mrr +'", "is no expression"),
        ("where = 'mrr + 1'", "is a number where a condition is needed"),
        ('channels = { phone = "" }', "'phone' is the channel of 'call' already"),
        ("minutes = -1", "minutes"),
        ("[[levers]]\nname = 'x'\nfactor = 0", "factor"),
        ("[[levers]]\nname = 'x'\nfactor = 1.2\nactions = ['cal']", "there is no action 'cal'; did you mean 'call'"),
        ("[levers]\nname = 'x'", "[[levers]]"),
        ("[policy]\nconfidense = 0.9", "has no key 'confidense'"),
        ("[policy]\nconfidence = 0.2", "confidence"),
        ("[policy]\nholdout = 0.9", "holdout"),
        ("[policy]\nquiet_hours = { start = '25:00', end = '08:00' }", "'25:00' is no time of day"),
        ("[policy]\nlever_bounds = [1.5, 2.0]", "[0.5, 2.0]"),
        ("[policy]\nbudget = { amount = 5 }", "needs the key 'days'"),
        ("[policy]\nreward = 'joy'", "reward"),
        ("[recommendations]\nexclude_days = 0", "exclude_days"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, more: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, more)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
