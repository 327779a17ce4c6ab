"""What the limits over all customers still allow: read from the log in the transaction that adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from models.decisions.actions import NO_ACTION, Action
from models.decisions.eligibility import UNLIMITED, Limits, Remaining
from serving.decisions.contact_history import heard_of
from serving.platform.tables import decisions

LOCK = "allowance"
"""Whoever draws under limits over all customers holds this lock until the decision stands in the log."""

_ROUNDING = 1e-9


class Allowance:
    """Money, staff time and capacity that are left at a moment, less what is decided from then on.

    A decision takes what it costs at once, and gives it back when its outcome says that it was not carried out. Every
    window is a moving one: the days before the decision.
    """

    def __init__(self, actions: Sequence[Action], limits: Limits) -> None:
        self._limits = limits
        self._budget = None if limits.budget is None else limits.budget.amount
        self._staff = None if limits.staff is None else limits.staff.amount
        self._capacity = {action.name: action.capacity.count for action in actions if action.capacity is not None}
        self._days = {action.name: action.capacity.days for action in actions if action.capacity is not None}

    @staticmethod
    def limited(actions: Sequence[Action], limits: Limits) -> bool:
        """Whether anything is limited over all customers."""
        return (
            limits.budget is not None
            or limits.staff is not None
            or any(action.capacity is not None for action in actions)
        )

    @classmethod
    def read(cls, connection: Connection, actions: Sequence[Action], limits: Limits, now: datetime) -> Allowance:
        """What the decision log leaves at `now`."""
        allowance = cls(actions, limits)
        log = decisions.c
        windows = {limit.days for limit in (limits.budget, limits.staff) if limit is not None}
        for days in windows | set(allowance._days.values()):
            rows = connection.execute(
                select(log.action, func.count(), func.sum(log.cost), func.sum(log.minutes))
                .where(log.action != NO_ACTION, log.decided_at > now - timedelta(days=days), heard_of())
                .group_by(log.action)
            )
            for name, count, cost, minutes in rows:
                allowance._spend(name, int(count), float(cost), float(minutes), days)
        return allowance

    def remaining(self) -> Remaining:
        """What is left now."""
        if self._budget is None and self._staff is None and not self._capacity:
            return UNLIMITED
        return Remaining(
            # Sums of costs like 0.1 must not lose the last of what they add up to.
            budget=None if self._budget is None else self._budget + _ROUNDING,
            staff=None if self._staff is None else self._staff + _ROUNDING,
            capacity=dict(self._capacity),
        )

    def take(self, action: Action) -> None:
        """Take what one more decision for `action` needs."""
        self._spend(action.name, 1, action.cost, action.minutes, None)

    def _spend(self, name: str, count: int, cost: float, minutes: float, days: int | None) -> None:
        """Take from what has a window of `days`; None takes from everything."""
        budget, staff = self._limits.budget, self._limits.staff
        if self._budget is not None and budget is not None and days in (None, budget.days):
            self._budget -= cost
        if self._staff is not None and staff is not None and days in (None, staff.days):
            self._staff -= minutes
        if name in self._capacity and days in (None, self._days[name]):
            self._capacity[name] -= count
