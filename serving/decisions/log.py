"""A decision as it is answered, and as a row of the log."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from models.decisions.eligibility import Block, DecisionContext
from models.decisions.policy import Decision, Factors
from models.inference_log import DecisionRow
from serving.auth.api_keys import Principal
from serving.decisions.personalisation import Personal
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore


@dataclass(frozen=True, slots=True)
class DecidedAlternative:
    """An action that was not drawn: what it would have been worth, or why it was not allowed."""

    action: str
    expected_gain: float | None
    blocked_by: str | None
    code: str = ""
    """Of `BLOCK_CODES` or `WHY_NOT_CODES`; empty in decisions of a version that had none."""
    why_not: str = ""
    blocks: tuple[Block, ...] = ()
    """Every filter that it did not pass."""
    ranked_on: float | None = None


@dataclass(frozen=True, slots=True)
class InExperiment:
    """The experiment that a decision was part of."""

    name: str
    arm: str


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision as it was answered and as it stands in the log; `decided_at` is RFC 3339 in UTC."""

    decision_id: str
    customer_id: str
    action: str
    channel: str | None
    pscore: float
    uplift: float
    uplift_interval: tuple[float, float] | None
    value_at_stake: float | None
    cost: float
    expected_gain: float | None
    alternatives: tuple[DecidedAlternative, ...]
    policy_version: str
    model_version: str
    decided_at: str
    degraded: tuple[str, ...]
    lacked: tuple[str, ...] = ()
    factors: Factors | None = None
    """None in decisions of a version that had none."""
    holdout: bool = False
    experiment: InExperiment | None = None
    item: str | None = None
    """What the action is about, where it names an item."""
    hour: int | None = None
    """The hour of the day, in the customer's time, at which a touch on this channel is answered most."""

    def to_json(self) -> dict[str, Any]:
        """The decision as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoggedDecision:
        """A decision from the JSON of `to_json`, of this version or an earlier one."""
        interval, factors, experiment = data["uplift_interval"], data.get("factors"), data.get("experiment")
        return cls(
            **{
                **data,
                "uplift_interval": None if interval is None else (interval[0], interval[1]),
                "alternatives": tuple(_alternative(alternative) for alternative in data["alternatives"]),
                "degraded": tuple(data["degraded"]),
                "lacked": tuple(data.get("lacked", ())),
                "factors": None if factors is None else Factors(**factors),
                "experiment": None if experiment is None else InExperiment(**experiment),
            }
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """A decision with what the log keeps beside the answer."""

    answer: LoggedDecision
    context: DecisionContext
    action_dist: Mapping[str, float]
    score: CustomerScore
    minutes: float


def answer_of(
    score: CustomerScore, decision: Decision, context: DecisionContext, personal: Personal, now: datetime
) -> LoggedDecision:
    """What is answered of a decision that was drawn at `now`."""
    arm = context.arm
    return LoggedDecision(
        decision_id=uuid.uuid4().hex,
        customer_id=score.customer_id,
        action=decision.action,
        channel=personal.channel or decision.channel,
        pscore=decision.pscore,
        uplift=decision.uplift,
        uplift_interval=decision.uplift_interval,
        value_at_stake=decision.value_at_stake,
        cost=decision.cost,
        expected_gain=decision.expected_gain,
        alternatives=tuple(
            DecidedAlternative(
                other.action,
                other.expected_gain,
                other.blocked_by,
                other.code,
                other.why_not,
                other.blocks,
                other.ranked_on,
            )
            for other in decision.alternatives
        ),
        policy_version=decision.policy_version,
        model_version=score.model_version,
        decided_at=now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        degraded=(*score.degraded, *decision.degraded),
        lacked=(*decision.lacked, *personal.lacked),
        factors=decision.factors,
        holdout=context.holdout,
        experiment=None if arm is None else InExperiment(arm.experiment, arm.name),
        item=personal.item,
        hour=personal.hour,
    )


def row_of(drawn: Drawn, release: Release, principal: Principal, now: datetime) -> DecisionRow:
    """The row of the log: the answer, and all that its pscore is exact given."""
    answer, context = drawn.answer, drawn.context
    return {
        "decision_id": answer.decision_id,
        "customer_id": answer.customer_id,
        "action": answer.action,
        "channel": answer.channel,
        "pscore": answer.pscore,
        "action_dist": dict(drawn.action_dist),
        "answer": answer.to_json(),
        "context": {
            "churn_probability": context.churn_probability,
            "value_at_stake": context.value_at_stake,
            "consents": dict(context.consents),
            "touches": dict(context.touches),
            "exclude": sorted(context.exclude),
            "touches_over_all": context.touches_over_all,
            "eligible": dict(context.eligible),
            "quiet": dict(context.quiet),
            "remaining": asdict(context.remaining),
            "levers": dict(context.levers),
            "effects": {name: asdict(effect) for name, effect in context.effects.items()},
            "features": dict(drawn.score.features),
        },
        "policy_version": answer.policy_version,
        "model_version": answer.model_version,
        "scorecard_version": release.scorecard.version,
        "generation": release.generation.id,
        "decided_by": principal.name,
        "decided_at": now,
        "cost": answer.cost,
        "minutes": drawn.minutes,
        "holdout": answer.holdout,
        # Named, so that one statement inserts all rows.
        "reward": None,
        "executed": None,
        "outcome_at": None,
    }


def _alternative(data: Mapping[str, Any]) -> DecidedAlternative:
    return DecidedAlternative(**{**data, "blocks": tuple(Block(**block) for block in data.get("blocks", ()))})
