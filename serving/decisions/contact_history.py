"""What was done for customers before: by the decision log, and by the features' own count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from models.decisions.actions import NO_ACTION, Action, Cap
from serving.platform.tables import decisions

OVER_ALL = ""
"""Stands for all actions together, where an action's name is asked for: none has this one."""

_MOST_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Touches:
    """How often the log has an action for a customer within its cap's window: before the features' moment, and since."""

    before: int
    since: int

    def and_one(self) -> Touches:
        """With the touch of a decision that was just made."""
        return Touches(self.before, self.since + 1)

    def with_known(self, known: Any) -> int:
        """All touches, where the features count `known` up to their moment: the log may know of fewer before it."""
        seen = 0 if known is None or isinstance(known, str) else round(known)
        return max(seen, self.before) + self.since


NONE = Touches(0, 0)


def heard_of() -> ColumnElement[bool]:
    """A decision that was carried out, or of which nobody said yet that it was not."""
    return or_(decisions.c.executed.is_(None), decisions.c.executed)


def count_touches(
    connection: Connection,
    actions: Sequence[Action],
    cap_over_all: Cap | None,
    as_of: datetime,
    customer_ids: Sequence[str],
    now: datetime,
) -> dict[tuple[str, str], Touches]:
    """The log's touches of these customers within each cap's window, by customer and action, or `OVER_ALL`.

    A decision made before the features' moment may be among the touches that they count, a later one can't be.
    """
    windows: dict[int, list[str]] = {}
    for action in actions:
        if action.cap is not None:
            windows.setdefault(action.cap.days, []).append(action.name)
    log = decisions.c
    is_before: ColumnElement[int] = case((log.decided_at < as_of, 1), else_=0)
    figures = (func.count().label("all"), func.sum(is_before).label("before"))
    counted: dict[tuple[str, str], Touches] = {}
    for some in _portions(list(dict.fromkeys(customer_ids))):
        theirs = (log.customer_id.in_(some), heard_of())
        for days, names in windows.items():
            rows = connection.execute(
                select(log.customer_id, log.action, *figures)
                .where(*theirs, log.action.in_(names), log.decided_at > now - timedelta(days=days))
                .group_by(log.customer_id, log.action)
            )
            for customer_id, name, everything, before in rows:
                counted[customer_id, name] = Touches(int(before), int(everything) - int(before))
        if cap_over_all is not None:
            since = now - timedelta(days=cap_over_all.days)
            rows = connection.execute(
                select(log.customer_id, *figures)
                .where(*theirs, log.action != NO_ACTION, log.decided_at > since)
                .group_by(log.customer_id)
            )
            for customer_id, everything, before in rows:
                counted[customer_id, OVER_ALL] = Touches(int(before), int(everything) - int(before))
    return counted


def touch_again(touches: dict[tuple[str, str], Touches], customer_id: str, action: str) -> None:
    """Add a touch that was just decided; doing nothing is none."""
    if action == NO_ACTION:
        return
    for name in (action, OVER_ALL):
        touches[customer_id, name] = touches.get((customer_id, name), NONE).and_one()


def touches_of(
    action: Action, features: Mapping[str, Any], touches: Mapping[tuple[str, str], Touches], customer_id: str
) -> int:
    """How often the customer had an action that has a cap, within the cap's window."""
    assert action.cap is not None
    known = features.get(f"touches_{action.name}_{action.cap.days}d")
    return touches.get((customer_id, action.name), NONE).with_known(known)


def contacts_of(
    cap: Cap, features: Mapping[str, Any], touches: Mapping[tuple[str, str], Touches], customer_id: str
) -> int:
    """How often the customer had any action, within the window of the cap over all."""
    return touches.get((customer_id, OVER_ALL), NONE).with_known(features.get(f"contacts_{cap.days}d"))


def _portions(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _MOST_NAMES):
        yield names[start : start + _MOST_NAMES]
