"""What a business can do for a customer, and what is at stake: its actions, its policy, and who may be touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

from features.config.business import ActionSpec, Business
from features.config.expression import Expression, Kind
from features.generation import Generation
from features.schema import DType, FeatureSchema
from models.decisions.actions import Action, Budget, Cap
from models.decisions.effect_model import LEARNED, EffectModel
from models.decisions.eligibility import UNLIMITED, Arm, DecisionContext, Effect, Limits, Remaining, consent_of
from models.decisions.policy import NextBestActionPolicy
from models.experiments.bucketing import position
from models.registry.policy_bundle import PolicyBundle
from serving.decisions.contact_history import Touches, contacts_of, count_touches, touches_of
from serving.decisions.limits import Allowance
from serving.decisions.quiet_hours import quiet_channels
from serving.errors import ReleaseMismatch
from serving.releases.release import Release


class ScoredCustomer(Protocol):
    """What a decision depends on of a customer."""

    @property
    def customer_id(self) -> str: ...
    @property
    def probability(self) -> float:
        """Of churn."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Raw, by name."""


@dataclass(frozen=True, slots=True)
class Lever:
    """A weight that the business puts on the value of some actions, for some customers."""

    name: str
    factor: float
    condition: Expression | None
    actions: frozenset[str]
    """None of them is all of them."""

    def weighs(self, action: str, features: Mapping[str, Any]) -> bool:
        """Whether it bears on this action for this customer; a condition that is not known to hold does not."""
        if self.actions and action not in self.actions:
            return False
        return self.condition is None or self.condition.evaluate(features) == 1.0


@dataclass(frozen=True, slots=True)
class Playbook:
    """The actions of one generation's TOML with the policy that chooses among them."""

    policy: NextBestActionPolicy
    at_stake: Expression | None
    as_of: datetime
    """The moment of the features, which count touches up to it."""
    business: Business
    conditions: Mapping[str, Expression]
    """By action: for whom it is."""
    levers: tuple[Lever, ...]
    effect_model: EffectModel | None
    """None until effects are learned: then what the TOML believes stands in."""

    @classmethod
    def of_release(cls, release: Release) -> Playbook:
        """The playbook of what a server answers from, made once for each release.

        Raises:
            ReleaseMismatch: an expression reads what the build does not have.
        """
        playbook = _of_releases.get(release)
        if playbook is None:
            playbook = _of_releases[release] = cls.of(release.generation, release.policy, release.policy_version)
        return playbook

    @classmethod
    def of(
        cls, generation: Generation, learned: PolicyBundle | None = None, learned_version: str | None = None
    ) -> Playbook:
        """The playbook that a build was made with, deciding by a policy that was learned, if there is one.

        Raises:
            ReleaseMismatch: an expression reads what the build does not have.
        """
        business = Business.of(generation)
        actions = tuple(_action(spec) for spec in business.actions)
        where = f"{business.path}: [[actions]] where"
        levers_where = f"{business.path}: [[levers]] where"
        if learned is not None and not learned.is_of_churn:
            # What was learned from a trial with another reward says nothing of churn.
            learned = None
        playbook = cls(
            policy=NextBestActionPolicy(
                actions,
                business.policy.exploration,
                _version(business, actions),
                floor=business.policy.floor,
                limits=_limits(business),
                policy_version=None if learned is None else f"policy-{learned_version}",
                constant=None if learned is None else learned.constant_action,
            ),
            at_stake=None
            if business.value is None
            else Expression.parse(business.value.at_stake, f"{business.path}: [value] at_stake"),
            as_of=generation.as_of,
            business=business,
            conditions={
                spec.name: Expression.parse(spec.where, where, result="condition")
                for spec in business.actions
                if spec.where is not None
            },
            levers=tuple(
                Lever(
                    lever.name,
                    lever.factor,
                    None if lever.where is None else Expression.parse(lever.where, levers_where, result="condition"),
                    frozenset(lever.actions),
                )
                for lever in business.levers
            ),
            effect_model=None if learned is None else learned.effects,
        )
        for expression in playbook.expressions:
            _check(expression, generation)
        return playbook

    @property
    def actions(self) -> tuple[str, ...]:
        """The names of the actions, in the order of the TOML, without `no_action`."""
        return tuple(action.name for action in self.policy.actions)

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All that it computes from features."""
        levers = (lever.condition for lever in self.levers)
        found = (self.at_stake, *self.conditions.values(), *levers)
        return tuple(expression for expression in found if expression is not None)

    @property
    def features(self) -> frozenset[str]:
        """The features that it reads, consents and touches aside, of which there may be none."""
        read = {name for expression in self.expressions for name in expression.columns}
        return frozenset(read if self.effect_model is None else read.union(self.effect_model.feature_names))

    @property
    def is_limited(self) -> bool:
        """Whether anything is limited over all customers, so that decisions must be drawn one after the other."""
        return Allowance.limited(self.policy.actions, self.policy.limits)

    def in_holdout(self, customer_id: str) -> bool:
        """Whether the customer is one of those who are never treated: for ever, by hash."""
        return position(f"{self.business.name} holdout", customer_id) < self.business.policy.holdout

    def effects(self, scores: Sequence[ScoredCustomer]) -> list[dict[str, Effect]]:
        """Per customer, by action: what was learned; an action with too few trials, or none, is not among them."""
        model = self.effect_model
        if model is None or not scores:
            return [{} for _ in scores]
        columns = {name: [score.features[name] for score in scores] for name in model.feature_names}
        schema = FeatureSchema.from_json(model.schema).select(model.feature_names)
        X = schema.to_matrix(columns, model.categories, len(scores))
        # The lower bound is one-sided, the model's intervals are two-sided.
        bound = model.predict(X, confidence=2.0 * self.business.policy.confidence - 1.0)
        interval = model.predict(X)
        learned = [place for place, source in enumerate(bound.sources) if source == LEARNED]
        return [
            {
                bound.actions[place]: Effect(
                    float(bound.effect[row, place]),
                    float(bound.lower[row, place]),
                    (float(interval.lower[row, place]), float(interval.upper[row, place])),
                )
                for place in learned
            }
            for row in range(len(scores))
        ]

    def context(
        self,
        score: ScoredCustomer,
        touches: Mapping[tuple[str, str], Touches],
        exclude: Collection[str] = (),
        *,
        now: datetime | None = None,
        remaining: Remaining = UNLIMITED,
        arm: Arm | None = None,
        effects: Mapping[str, Effect] | None = None,
    ) -> DecisionContext:
        """What a decision about this customer depends on.

        Args:
            touches: by customer and action, as `touches` counts them.
            now: the moment of the touch; None asks for no moment, and so knows no quiet hours.
        """
        features = score.features
        actions = self.policy.actions
        scopes = {scope for action in actions for scope in action.channels.values() if scope is not None}
        channels = dict.fromkeys(channel for action in actions for channel in action.channels)
        hours, zone = self.business.policy.quiet_hours, self.business.timezone
        cap = self.policy.limits.cap
        return DecisionContext(
            customer_id=score.customer_id,
            churn_probability=score.probability,
            value_at_stake=None if self.at_stake is None else self.at_stake.evaluate(features),
            consents={scope: consent_of(features.get(f"consent_{scope}")) for scope in sorted(scopes)},
            touches={
                action.name: touches_of(action, features, touches, score.customer_id)
                for action in actions
                if action.cap is not None
            },
            exclude=frozenset(exclude),
            touches_over_all=0 if cap is None else contacts_of(cap, features, touches, score.customer_id),
            eligible={name: _holds(condition, features) for name, condition in self.conditions.items()},
            conditions={name: condition.text for name, condition in self.conditions.items()},
            quiet={} if now is None else quiet_channels(hours, channels, now, zone, features),
            remaining=remaining,
            holdout=self.in_holdout(score.customer_id),
            arm=arm,
            levers=self._levers(features),
            effects={} if effects is None else effects,
        )

    def touches(
        self, connection: Connection, customer_ids: Sequence[str], now: datetime
    ) -> dict[tuple[str, str], Touches]:
        """What the decision log says of these customers' touches: executed, or not heard of yet, within each cap's window."""
        return count_touches(connection, self.policy.actions, self.policy.limits.cap, self.as_of, customer_ids, now)

    def allowance(self, connection: Connection, now: datetime) -> Allowance:
        """What the limits over all customers leave."""
        return Allowance.read(connection, self.policy.actions, self.policy.limits, now)

    def suggest(self, connection: Connection, scores: Sequence[ScoredCustomer], now: datetime) -> list[str]:
        """The best allowed action for each, without exploration: a suggestion, which nobody logs.

        It is meant for a list that is worked through later: quiet hours, and what others on the list take of the limits
        over all customers, are left to the decision, or to `python -m serving plan`.
        """
        touches = self.touches(connection, [score.customer_id for score in scores], now)
        remaining = self.allowance(connection, now).remaining()
        return [
            self.policy.best(self.context(score, touches, remaining=remaining, effects=effects)).action
            for score, effects in zip(scores, self.effects(scores), strict=True)
        ]

    def _levers(self, features: Mapping[str, Any]) -> dict[str, float]:
        """By action that a lever bears on: the bounded product of its levers."""
        least, most = self.business.policy.lever_bounds
        products: dict[str, float] = {}
        for action in self.actions:
            factors = [lever.factor for lever in self.levers if lever.weighs(action, features)]
            if factors:
                product = 1.0
                for factor in factors:
                    product *= factor
                products[action] = min(max(product, least), most)
        return products


_of_releases: WeakKeyDictionary[Release, Playbook] = WeakKeyDictionary()


def _action(spec: ActionSpec) -> Action:
    return Action(
        name=spec.name,
        channel=spec.channel,
        cost=spec.cost,
        prior_effect=spec.prior_effect,
        consent=spec.consent,
        cap=None if spec.cap is None else Cap(spec.cap.count, spec.cap.days),
        minutes=spec.minutes,
        capacity=None if spec.capacity is None else Cap(spec.capacity.count, spec.capacity.days),
        other_channels={channel: scope or None for channel, scope in spec.channels.items()},
    )


def _limits(business: Business) -> Limits:
    policy = business.policy
    return Limits(
        cap=None if policy.cap is None else Cap(policy.cap.count, policy.cap.days),
        budget=None if policy.budget is None else Budget(policy.budget.amount, policy.budget.days),
        staff=None if policy.staff is None else Budget(policy.staff.minutes, policy.staff.days),
    )


def _version(business: Business, actions: Sequence[Action]) -> str:
    """What tells one way of deciding from another: all that the TOML says of it."""
    content = {
        "actions": [asdict(action) for action in actions],
        "where": [spec.where for spec in business.actions],
        "at_stake": None if business.value is None else business.value.at_stake,
        "levers": [lever.model_dump(mode="json") for lever in business.levers],
        "policy": business.policy.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _check(expression: Expression, generation: Generation) -> None:
    for name, kind in expression.kinds.items():
        if name not in generation.schema:
            raise ReleaseMismatch(f"{expression.where} reads '{name}', which the build {generation.id} does not have.")
        if kind is Kind.NUMBER and generation.schema[name].dtype is not DType.FLOAT:
            raise ReleaseMismatch(f"{expression.where} computes with '{name}', which holds words.")


def _holds(condition: Expression, features: Mapping[str, Any]) -> bool | None:
    value = condition.evaluate(features)
    return None if value is None else value == 1.0
