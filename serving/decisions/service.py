"""Decisions: drawn, logged with their propensity before they are answered, and joined by their outcome."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Connection, delete, insert, select, update

from features.errors import UnknownCustomer
from serving.auth.api_keys import Principal
from serving.decisions.contact_history import touch_again
from serving.decisions.limits import LOCK as ALLOWANCE
from serving.decisions.log import Drawn, LoggedDecision, answer_of, row_of
from serving.decisions.personalisation import personal_of
from serving.decisions.playbook import Playbook
from serving.errors import IdempotencyConflict, OutcomeConflict, UnknownAction, UnknownDecision
from serving.experiments.corrections import Correction, Subject, history, note
from serving.experiments.service import Exposure, assigned, bearing_on_decisions, expose
from serving.platform.database import Database
from serving.platform.tables import decisions, idempotency_keys
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore, Scorer, score_as_of_now

KEY_LIFETIME = timedelta(hours=24)


__all__ = ["KEY_LIFETIME", "DecisionService", "LoggedDecision", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a decision: nothing yet, or what it brought and whether it was carried out."""

    reward: float | None
    executed: bool | None


@dataclass(frozen=True, slots=True)
class _Request:
    """One request of one principal, told from others by its digest; `key` is its Idempotency-Key."""

    principal: Principal
    key: str | None
    digest: str


class DecisionService:
    """Draws decisions for one database's log; several servers may share it.

    What a decision depends on in the log, caps and what is left of the limits over all customers, is read in the
    transaction that writes the decision; meanwhile no other decision about the same customer is made, and none at all
    where anything is limited over all customers. So caps and budgets hold whoever decides at once, and the pscore is
    exact: it is the probability of the action given the customer and what was allowed at that moment.
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
        self, connection: Connection, release: Release, scores: Sequence[CustomerScore], principal: Principal
    ) -> list[LoggedDecision]:
        """A decision for each of these scores, in order, which the caller's transaction commits."""
        return self._draw_and_log(connection, release, scores, (), principal)

    def record_outcome(self, decision_id: str, reward: float, executed: bool) -> None:
        """Record what came of a decision, once; the same again changes nothing.

        Raises:
            UnknownDecision: there is none by that id.
            OutcomeConflict: another outcome is recorded.
        """
        with self._database.begin() as connection:
            known = _outcome(connection, decision_id, for_update=True)
            if known.executed is None:
                connection.execute(
                    update(decisions)
                    .where(decisions.c.decision_id == decision_id)
                    .values(reward=reward, executed=executed, outcome_at=self._clock())
                )
            elif known != Outcome(reward, executed):
                raise OutcomeConflict(decision_id)

    def correct_outcome(
        self, decision_id: str, reward: float, executed: bool, reason: str, principal: Principal
    ) -> None:
        """Record what came of a decision, whatever was recorded before, which is kept.

        Raises:
            UnknownDecision: there is none by that id.
        """
        now = self._clock()
        with self._database.begin() as connection:
            before = _outcome(connection, decision_id, for_update=True)
            after = Outcome(reward, executed)
            connection.execute(
                update(decisions)
                .where(decisions.c.decision_id == decision_id)
                .values(reward=reward, executed=executed, outcome_at=now)
            )
            subject = Subject(decision_id=decision_id)
            note(connection, subject, asdict(before), asdict(after), reason, principal, now)

    def outcome(self, decision_id: str) -> tuple[Outcome, list[Correction]]:
        """What came of a decision, and how that was corrected.

        Raises:
            UnknownDecision: there is none by that id.
        """
        with self._database.read() as connection:
            return _outcome(connection, decision_id), history(connection, Subject(decision_id=decision_id))

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
        known = Playbook.of_release(scorer.release).actions
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
        playbook = Playbook.of_release(release)
        policy = playbook.policy
        by_name = {action.name: action for action in policy.actions}
        customer_ids = [score.customer_id for score in scores]
        self._database.lock(connection, "customer", customer_ids)
        if playbook.is_limited:
            self._database.lock(connection, ALLOWANCE)
        now = self._clock()
        touches = playbook.touches(connection, customer_ids, now)
        allowance = playbook.allowance(connection, now)
        experiment = bearing_on_decisions(connection, now)
        drawn: list[Drawn] = []
        for score, effects in zip(scores, playbook.effects(scores), strict=True):
            remaining = allowance.remaining()
            place = assigned(experiment, score.customer_id, holdout=playbook.in_holdout(score.customer_id))
            context = playbook.context(
                score, touches, exclude, now=now, remaining=remaining, arm=place.arm, effects=effects
            )
            # Each decision draws from the operating system's entropy: nobody can tell, or repeat, what is drawn.
            decision, action_dist = policy.ranked_by(place.ranking).draw(context, np.random.default_rng())
            action = by_name.get(decision.action)
            if action is not None:
                allowance.take(action)
                touch_again(touches, score.customer_id, action.name)
            answer = answer_of(score, decision, context, personal_of(release, score, action, context), now)
            drawn.append(Drawn(answer, context, action_dist, score, 0.0 if action is None else action.minutes))
        connection.execute(insert(decisions), [row_of(item, release, principal, now) for item in drawn])
        met = (
            Exposure(item.answer.customer_id, item.context.arm, item.answer.decision_id, item.score.probability)
            for item in drawn
            if item.context.arm is not None
        )
        expose(connection, met, now)
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


def _outcome(connection: Connection, decision_id: str, *, for_update: bool = False) -> Outcome:
    log = decisions.c
    asked = select(log.reward, log.executed).where(log.decision_id == decision_id)
    row = None
    if _is_decision_id(decision_id):
        row = connection.execute(asked.with_for_update() if for_update else asked).one_or_none()
    if row is None:
        raise UnknownDecision(decision_id)
    return Outcome(row.reward, row.executed)


def _is_decision_id(text: str) -> bool:
    return len(text) == 32 and all(character in "0123456789abcdef" for character in text)
