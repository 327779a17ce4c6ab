"""Decisions: drawn, logged with their propensity before they are answered, and joined by their outcome."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update

from features.errors import UnknownCustomer
from models.policy import Decision, DecisionContext
from serving.database import Database
from serving.errors import IdempotencyConflict, OutcomeConflict, UnknownAction, UnknownDecision
from serving.keys import Principal
from serving.playbook import Playbook, Touches
from serving.release import Release
from serving.rows import score_as_of_now
from serving.scorer import CustomerScore, Scorer
from serving.tables import decisions, idempotency_keys

KEY_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class DecidedAlternative:
    """An action that was not drawn: what it would have been worth, or why it was not allowed."""

    action: str
    expected_gain: float | None
    blocked_by: str | None


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

    def to_json(self) -> dict[str, Any]:
        """The decision as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoggedDecision:
        """A decision from the JSON of `to_json`."""
        interval = data["uplift_interval"]
        return cls(
            **{
                **data,
                "uplift_interval": None if interval is None else (interval[0], interval[1]),
                "alternatives": tuple(DecidedAlternative(**alternative) for alternative in data["alternatives"]),
                "degraded": tuple(data["degraded"]),
            }
        )


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A decision with what the log keeps beside the answer."""

    answer: LoggedDecision
    context: DecisionContext
    action_dist: Mapping[str, float]
    score: CustomerScore


@dataclass(frozen=True, slots=True)
class _Request:
    """One request of one principal, told from others by its digest; `key` is its Idempotency-Key."""

    principal: Principal
    key: str | None
    digest: str


class DecisionService:
    """Draws decisions for one database's log; several servers may share it.

    What a decision depends on in the log, the caps, is read in the transaction that writes the decision, and no other
    decision about the same customer is made meanwhile. So caps hold, and the pscore is exact, whoever decides at once.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    def decide(
        self,
        scorer: Scorer,
        customer_id: str,
        principal: Principal,
        exclude: Collection[str] = (),
        idempotency_key: str | None = None,
    ) -> LoggedDecision:
        """A decision about one customer, committed to the log before it is returned.

        The same `idempotency_key` with the same request within 24 hours gives the same decision again.

        Raises:
            UnknownCustomer: nobody by that id.
            UnknownAction: `exclude` names what the business does not have.
            IdempotencyConflict: the key came with another request before.
            StoreUnavailable, DatabaseUnavailable: nothing was decided.
        """
        request = _request(principal, idempotency_key, "one", customer_id, *sorted(set(exclude)))
        (result,) = self._decide(scorer, [customer_id], exclude, request, refuse_unknown=True)
        assert isinstance(result, LoggedDecision)
        return result

    def decide_many(
        self,
        scorer: Scorer,
        customer_ids: Sequence[str],
        principal: Principal,
        idempotency_key: str | None = None,
    ) -> list[LoggedDecision | UnknownCustomer]:
        """A decision per id, in order, committed together; an unknown customer comes as its error.

        Raises:
            IdempotencyConflict: the key came with another request before.
            StoreUnavailable, DatabaseUnavailable: nothing was decided.
        """
        request = _request(principal, idempotency_key, "many", *customer_ids)
        return self._decide(scorer, customer_ids, (), request, refuse_unknown=False)

    def decide_scored(
        self, release: Release, scores: Sequence[CustomerScore], principal: Principal
    ) -> list[LoggedDecision]:
        """A decision for each of these scores, in order, committed together.

        Raises:
            DatabaseUnavailable: nothing was decided.
        """
        with self._database.begin() as connection:
            return self._draw_and_log(connection, release, scores, (), principal)

    def record_outcome(self, decision_id: str, reward: float, executed: bool) -> None:
        """Record what came of a decision, once; the same again changes nothing.

        Raises:
            UnknownDecision: there is none by that id.
            OutcomeConflict: another outcome is recorded.
        """
        if not _is_decision_id(decision_id):
            raise UnknownDecision(decision_id)
        log = decisions.c
        with self._database.begin() as connection:
            row = connection.execute(
                select(log.reward, log.executed).where(log.decision_id == decision_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise UnknownDecision(decision_id)
            if row.executed is None:
                connection.execute(
                    update(decisions)
                    .where(log.decision_id == decision_id)
                    .values(reward=reward, executed=executed, outcome_at=self._clock())
                )
            elif (row.reward, row.executed) != (reward, executed):
                raise OutcomeConflict(decision_id)

    def _decide(
        self,
        scorer: Scorer,
        customer_ids: Sequence[str],
        exclude: Collection[str],
        request: _Request,
        *,
        refuse_unknown: bool,
    ) -> list[LoggedDecision | UnknownCustomer]:
        if request.key is not None:
            # A repeated request needs no score, and so is answered even while the feature store is down.
            with self._database.read() as connection:
                repeated = self._repeated(connection, request)
            if repeated is not None:
                return repeated
        known = Playbook.of(scorer.release.generation).actions
        unheard_of = [name for name in dict.fromkeys(exclude) if name not in known]
        if unheard_of:
            raise UnknownAction(unheard_of, known)
        scores = score_as_of_now(scorer, customer_ids)
        if refuse_unknown:
            for score in scores:
                if isinstance(score, UnknownCustomer):
                    raise score
        with self._database.begin() as connection:
            if request.key is not None:
                self._database.lock(connection, "idempotency", [f"{request.principal.name}\n{request.key}"])
                repeated = self._repeated(connection, request)
                if repeated is not None:
                    return repeated
            found = [score for score in scores if isinstance(score, CustomerScore)]
            drawn = iter(self._draw_and_log(connection, scorer.release, found, exclude, request.principal))
            results = [score if isinstance(score, UnknownCustomer) else next(drawn) for score in scores]
            if request.key is not None:
                self._remember(connection, request, results)
        return results

    def _draw_and_log(
        self,
        connection: Connection,
        release: Release,
        scores: Sequence[CustomerScore],
        exclude: Collection[str],
        principal: Principal,
    ) -> list[LoggedDecision]:
        if not scores:
            return []
        playbook = Playbook.of(release.generation)
        customer_ids = [score.customer_id for score in scores]
        self._database.lock(connection, "customer", customer_ids)
        now = self._clock()
        touches = playbook.touches(connection, customer_ids, now)
        drawn: list[_Drawn] = []
        for score in scores:
            context = playbook.context(score, touches, exclude)
            # Each decision draws from the operating system's entropy: nobody can tell, or repeat, what is drawn.
            decision = playbook.policy.decide(context, np.random.default_rng())
            drawn.append(_Drawn(_answer(score, decision, now), context, playbook.policy.action_dist(context), score))
            touched = touches.get((score.customer_id, decision.action), Touches(0, 0))
            touches[score.customer_id, decision.action] = Touches(touched.before, touched.since + 1)
        connection.execute(insert(decisions), [_row(item, release, principal, now) for item in drawn])
        return [item.answer for item in drawn]

    def _repeated(self, connection: Connection, request: _Request) -> list[LoggedDecision | UnknownCustomer] | None:
        kept = idempotency_keys.c
        row = connection.execute(
            select(kept.request_digest, kept.answer).where(
                kept.principal == request.principal.name,
                kept.key == request.key,
                kept.created_at > self._clock() - KEY_LIFETIME,
            )
        ).one_or_none()
        if row is None:
            return None
        if row.request_digest != request.digest:
            raise IdempotencyConflict(str(request.key))
        return [
            UnknownCustomer((item["unknown"],)) if "unknown" in item else LoggedDecision.from_json(item)
            for item in row.answer
        ]

    def _remember(
        self, connection: Connection, request: _Request, results: Sequence[LoggedDecision | UnknownCustomer]
    ) -> None:
        now = self._clock()
        connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at <= now - KEY_LIFETIME))
        connection.execute(
            insert(idempotency_keys).values(
                principal=request.principal.name,
                key=request.key,
                request_digest=request.digest,
                answer=[
                    {"unknown": item.customer_ids[0]} if isinstance(item, UnknownCustomer) else item.to_json()
                    for item in results
                ],
                created_at=now,
            )
        )


def _request(principal: Principal, key: str | None, *parts: str) -> _Request:
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return _Request(principal, key, digest)


def _answer(score: CustomerScore, decision: Decision, now: datetime) -> LoggedDecision:
    return LoggedDecision(
        decision_id=uuid.uuid4().hex,
        customer_id=score.customer_id,
        action=decision.action,
        channel=decision.channel,
        pscore=decision.pscore,
        uplift=decision.uplift,
        uplift_interval=decision.uplift_interval,
        value_at_stake=decision.value_at_stake,
        cost=decision.cost,
        expected_gain=decision.expected_gain,
        alternatives=tuple(
            DecidedAlternative(other.action, other.expected_gain, other.blocked_by) for other in decision.alternatives
        ),
        policy_version=decision.policy_version,
        model_version=score.model_version,
        decided_at=now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        degraded=(*score.degraded, *decision.degraded),
    )


def _row(drawn: _Drawn, release: Release, principal: Principal, now: datetime) -> dict[str, Any]:
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
            "features": dict(drawn.score.features),
        },
        "policy_version": answer.policy_version,
        "model_version": answer.model_version,
        "scorecard_version": release.scorecard.version,
        "generation": release.generation.id,
        "decided_by": principal.name,
        "decided_at": now,
        # Named, so that one statement inserts all rows.
        "reward": None,
        "executed": None,
        "outcome_at": None,
    }


def _is_decision_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
