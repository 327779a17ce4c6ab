"""The TOML of the business that the tests of serving share; what an action or a policy is, each test says itself."""

from __future__ import annotations

from typing import Final

BUSINESS: Final = "tinyshop"


def tinyshop(actions: str, identity: str = "") -> str:
    """The TOML with these `[[actions]]` and what follows them; `identity` is more of its `[business]`."""
    return f"""
[business]
name = "{BUSINESS}"
{identity}
[data]
kind = "events"
[[data.events]]
path = "events.csv"
[churn]
definition = "event"
event = "subscription_cancelled"
horizon_days = 60
[value]
at_stake = "mrr * 12"
{actions}"""
