"""What a business can do for a customer, and what is at stake: its actions, its policy, and who may be touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, case, func, or_, select

from features.business import Business
from features.expression import Expression, Kind
from features.generation import Generation
from features.schema import DType
from models.policy import Action, Cap, DecisionContext, NextBestActionPolicy
from serving.errors import ReleaseMismatch
from serving.tables import decisions

if TYPE_CHECKING:
    from serving.score_table import Scored
    from serving.scorer import CustomerScore

EXPLORATION = 0.10
_MOST_NAMES = 1000


@dataclass(frozen=True, slots=True)
class Touches:
    """How often the log has an action for a customer within its cap's window: before the features' moment, and since."""

    before: int
    since: int


@dataclass(frozen=True, slots=True)
class Playbook:
    """The actions of one generation's TOML with the policy that chooses among them."""

    policy: NextBestActionPolicy
    at_stake: Expression | None
    as_of: datetime
    """The moment of the features, which count touches up to it."""

    @classmethod
    def of(cls, generation: Generation) -> Playbook:
        """The playbook that a build was made with.

        Raises:
            ReleaseMismatch: the value at stake reads what the build does not have.
        """
        business = _business(generation.path / "business.toml")
        actions = tuple(
            Action(
                name=spec.name,
                channel=spec.channel,
                cost=spec.cost,
                prior_effect=spec.prior_effect,
                consent=spec.consent,
                cap=None if spec.cap is None else Cap(spec.cap.count, spec.cap.days),
            )
            for spec in business.actions
        )
        at_stake = None
        if business.value is not None:
            at_stake = Expression.parse(business.value.at_stake, f"{business.path}: [value] at_stake")
            _check(at_stake, generation)
        version = _version(actions, None if business.value is None else business.value.at_stake)
        return cls(NextBestActionPolicy(actions, EXPLORATION, version), at_stake, generation.as_of)

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the actions, in the order of the TOML, without `no_action`."""
        return tuple(action.name for action in self.policy.actions)

    def context(
        self, score: CustomerScore | Scored, touches: Mapping[tuple[str, str], Touches], exclude: Collection[str] = ()
    ) -> DecisionContext:
        """What a decision about this customer depends on; `touches` is keyed by customer and action."""
        features = score.features
        scopes = {action.consent for action in self.policy.actions if action.consent is not None}
        return DecisionContext(
            customer_id=score.customer_id,
            churn_probability=score.probability,
            value_at_stake=None if self.at_stake is None else self.at_stake.evaluate(features),
            consents={scope: _consent(features.get(f"consent_{scope}")) for scope in scopes},
            touches={
                action.name: _touches(action, features, touches.get((score.customer_id, action.name)))
                for action in self.policy.actions
                if action.cap is not None
            },
            exclude=frozenset(exclude),
        )

    def touches(
        self, connection: Connection, customer_ids: Sequence[str], now: datetime
    ) -> dict[tuple[str, str], Touches]:
        """What the decision log says of these customers' touches: executed, or not heard of yet, within each cap's window.

        A decision made before the features' moment may be among the touches that they count, a later one can't be.
        """
        windows: dict[int, list[str]] = {}
        for action in self.policy.actions:
            if action.cap is not None:
                windows.setdefault(action.cap.days, []).append(action.name)
        log = decisions.c
        is_before: ColumnElement[int] = case((log.decided_at < self.as_of, 1), else_=0)
        counted: dict[tuple[str, str], Touches] = {}
        for days, names in windows.items():
            for some in _portions(list(dict.fromkeys(customer_ids))):
                rows = connection.execute(
                    select(log.customer_id, log.action, func.count().label("all"), func.sum(is_before).label("before"))
                    .where(
                        log.customer_id.in_(some),
                        log.action.in_(names),
                        log.decided_at > now - timedelta(days=days),
                        or_(log.executed.is_(None), log.executed),
                    )
                    .group_by(log.customer_id, log.action)
                )
                for customer_id, name, everything, before in rows:
                    counted[customer_id, name] = Touches(int(before), int(everything) - int(before))
        return counted

    def suggest(self, connection: Connection, scores: Sequence[CustomerScore | Scored], now: datetime) -> list[str]:
        """The best allowed action for each, without exploration: a suggestion, which nobody logs."""
        touches = self.touches(connection, [score.customer_id for score in scores], now)
        return [self.policy.best(self.context(score, touches)).action for score in scores]


@lru_cache(maxsize=4)
def _business(path: Path) -> Business:
    # A generation's own copy never changes.
    return Business.load(path)


def _version(actions: Sequence[Action], at_stake: str | None) -> str:
    content = {"actions": [asdict(action) for action in actions], "at_stake": at_stake, "exploration": EXPLORATION}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _check(at_stake: Expression, generation: Generation) -> None:
    for name, kind in at_stake.kinds.items():
        if name not in generation.schema:
            raise ReleaseMismatch(f"{at_stake.where} reads '{name}', which the build {generation.id} does not have.")
        if kind is Kind.NUMBER and generation.schema[name].dtype is not DType.FLOAT:
            raise ReleaseMismatch(f"{at_stake.where} computes with '{name}', which holds words.")


def _consent(value: Any) -> float | None:
    if isinstance(value, str):
        return 1.0 if value.strip().lower() in ("1", "true", "yes", "y") else 0.0
    return None if value is None else float(value)


def _touches(action: Action, features: Mapping[str, Any], logged: Touches | None) -> int:
    assert action.cap is not None
    known = features.get(f"touches_{action.name}_{action.cap.days}d")
    seen = 0 if known is None or isinstance(known, str) else round(known)
    if logged is None:
        return seen
    return max(seen, logged.before) + logged.since


def _portions(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _MOST_NAMES):
        yield names[start : start + _MOST_NAMES]
