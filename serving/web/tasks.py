"""Plays: what people did about what was recommended, and what they noted beside the score."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from models.decisions.policy import NO_ACTION, Decision
from models.scorecard import COLOURS
from serving.auth.api_keys import Principal
from serving.decisions.playbook import Playbook
from serving.decisions.service import DecisionService
from serving.errors import FormInvalid
from serving.platform.database import Database
from serving.platform.tables import notes, plays
from serving.scores.scorer import CustomerScore, Scorer

LONGEST_TEXT = 10_000
WRONG_FOR = timedelta(days=90)
"""How long an action that somebody called wrong for a customer is not suggested again."""


class Status(StrEnum):
    """What was done about a recommendation."""

    ACCEPTED = "accepted"
    HELD_BACK = "held_back"
    NOT_NOW = "not_now"
    WRONG = "wrong"


class Outcome(StrEnum):
    """What came of an action, with its reward in the decision log."""

    HELPED = "helped"
    NO_CHANGE = "no_change"
    NOT_DONE = "not_done"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is recommended for a customer now, without drawing or logging anything; `put_off_until` silences it."""

    decision: Decision
    excluded: tuple[str, ...]
    put_off_until: datetime | None


class Plays:
    """The plays of one database; decisions are drawn and logged by `DecisionService` alone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def suggest(self, connection: Connection, score: CustomerScore, playbook: Playbook) -> Suggestion:
        """The best allowed action, without those that somebody called wrong for this customer."""
        now = datetime.now(UTC)
        excluded = self._excluded(connection, score.customer_id, now, playbook)
        touches = playbook.touches(connection, [score.customer_id], now)
        decision = playbook.policy.best(playbook.context(score, touches, excluded))
        until = connection.scalar(
            select(plays.c.until)
            .where(
                plays.c.customer_id == score.customer_id, plays.c.status == Status.NOT_NOW.value, plays.c.until > now
            )
            .order_by(plays.c.until.desc())
            .limit(1)
        )
        return Suggestion(decision, excluded, until)

    def history(self, connection: Connection, customer_id: str) -> list[Row[Any]]:
        """All plays of a customer, newest first."""
        found = connection.execute(
            select(plays).where(plays.c.customer_id == customer_id).order_by(plays.c.created_at.desc()).limit(50)
        )
        return list(found)

    def accept(
        self, scorer: Scorer, customer_id: str, owner: str | None, action: str, principal: Principal, form_id: str
    ) -> Status:
        """Take an action on: the decision is drawn among it and doing nothing, logged with its pscore, and binds.

        For the small share in which doing nothing is drawn, the account is left alone so that the team page can say what
        actions earn. The same `form_id` again changes nothing.

        Raises:
            FormInvalid: the business has no such action, or it is not allowed for this customer any more.
        """
        actions = Playbook.of_release(scorer.release).actions
        if action not in actions:
            raise FormInvalid(f"There is no action '{action}'.")
        others = [name for name in actions if name != action]
        decision = DecisionService(self._database).decide(scorer, customer_id, principal, others, f"play {form_id}")
        blocked = next((one.blocked_by for one in decision.alternatives if one.action == action), None)
        if blocked is not None:
            raise FormInvalid(f"This action is not possible for this customer any more: {blocked}.")
        status = Status.HELD_BACK if decision.action == NO_ACTION else Status.ACCEPTED
        with self._database.begin() as connection:
            if connection.scalar(select(plays.c.play_id).where(plays.c.decision_id == decision.decision_id)) is None:
                _add(connection, customer_id, owner, action, status, principal, decision_id=decision.decision_id)
        return status

    def put_off(self, customer_id: str, owner: str | None, action: str, days: int, principal: Principal) -> None:
        """Not now: nothing is suggested for this customer for some days."""
        until = datetime.now(UTC) + timedelta(days=days)
        with self._database.begin() as connection:
            _add(connection, customer_id, owner, action, Status.NOT_NOW, principal, until=until)

    def call_wrong(self, customer_id: str, owner: str | None, action: str, reason: str, principal: Principal) -> None:
        """Wrong: the action is not suggested again for this customer for a quarter.

        Raises:
            FormInvalid: no reason is given.
        """
        until = datetime.now(UTC) + WRONG_FOR
        with self._database.begin() as connection:
            _add(
                connection,
                customer_id,
                owner,
                action,
                Status.WRONG,
                principal,
                until=until,
                reason=_text(reason, "why"),
            )

    def close(self, play_id: str, customer_id: str, outcome: Outcome, principal: Principal) -> None:
        """Record what came of an action, here and in the decision log; the first outcome stands.

        Raises:
            FormInvalid: this customer has no such open action.
            OutcomeConflict: a program recorded another outcome.
        """
        with self._database.read() as connection:
            play = connection.execute(
                select(plays).where(
                    plays.c.play_id == play_id,
                    plays.c.customer_id == customer_id,
                    plays.c.status == Status.ACCEPTED.value,
                )
            ).one_or_none()
        if play is None or (play.closed_at is not None and play.outcome != outcome.value):
            raise FormInvalid("This action is not open any more; load the page again.")
        DecisionService(self._database).record_outcome(
            play.decision_id, 1.0 if outcome is Outcome.HELPED else 0.0, outcome is not Outcome.NOT_DONE
        )
        with self._database.begin() as connection:
            connection.execute(
                update(plays)
                .where(plays.c.play_id == play_id, plays.c.closed_at.is_(None))
                .values(outcome=outcome.value, closed_by=principal.name, closed_at=datetime.now(UTC))
            )

    def _excluded(self, connection: Connection, customer_id: str, now: datetime, playbook: Playbook) -> tuple[str, ...]:
        wrong = connection.scalars(
            select(plays.c.action).where(
                plays.c.customer_id == customer_id, plays.c.status == Status.WRONG.value, plays.c.until > now
            )
        )
        return tuple(sorted({action for action in wrong if action in playbook.actions}))


class Notes:
    """Notes and overrides: what people know that the score does not; both are shown beside it, and neither changes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, connection: Connection, customer_id: str) -> list[Row[Any]]:
        """What is noted about a customer and stands, newest first."""
        now = datetime.now(UTC)
        found = connection.execute(
            select(notes)
            .where(
                notes.c.customer_id == customer_id,
                notes.c.withdrawn_at.is_(None),
                or_(notes.c.expires_at.is_(None), and_(notes.c.expires_at > now)),
            )
            .order_by(notes.c.created_at.desc())
            .limit(100)
        )
        return list(found)

    def add(self, customer_id: str, text: str, principal: Principal) -> None:
        """Note something.

        Raises:
            FormInvalid: the text is empty or too long.
        """
        self._insert(customer_id, "note", _text(text, "what you want to note"), principal, None, None)

    def override(self, customer_id: str, band: str, reason: str, days: int, principal: Principal) -> None:
        """Say that the band is another, for some days; an earlier override of this customer ends.

        Raises:
            FormInvalid: there is no such band, or no reason.
        """
        if band not in [known.value for known in COLOURS]:
            raise FormInvalid("Choose the health that you would give: red, yellow or green.")
        text = _text(reason, "why")
        with self._database.begin() as connection:
            connection.execute(
                update(notes)
                .where(notes.c.customer_id == customer_id, notes.c.kind == "override", notes.c.withdrawn_at.is_(None))
                .values(withdrawn_at=datetime.now(UTC), withdrawn_by=principal.name)
            )
        self._insert(customer_id, "override", text, principal, band, datetime.now(UTC) + timedelta(days=days))

    def withdraw(self, note_id: str, customer_id: str, principal: Principal) -> None:
        """Take a note or an override back; it stays in the table, and is shown no more."""
        with self._database.begin() as connection:
            connection.execute(
                update(notes)
                .where(notes.c.note_id == note_id, notes.c.customer_id == customer_id, notes.c.withdrawn_at.is_(None))
                .values(withdrawn_at=datetime.now(UTC), withdrawn_by=principal.name)
            )

    def _insert(
        self,
        customer_id: str,
        kind: str,
        text: str,
        principal: Principal,
        band: str | None,
        expires_at: datetime | None,
    ) -> None:
        with self._database.begin() as connection:
            connection.execute(
                insert(notes).values(
                    note_id=uuid.uuid4().hex,
                    customer_id=customer_id,
                    kind=kind,
                    band=band,
                    text=text,
                    author=principal.name,
                    created_at=datetime.now(UTC),
                    expires_at=expires_at,
                )
            )


def _add(
    connection: Connection,
    customer_id: str,
    owner: str | None,
    action: str,
    status: Status,
    principal: Principal,
    *,
    decision_id: str | None = None,
    until: datetime | None = None,
    reason: str | None = None,
) -> None:
    connection.execute(
        insert(plays).values(
            play_id=uuid.uuid4().hex,
            customer_id=customer_id,
            owner=owner,
            action=action,
            status=status.value,
            decision_id=decision_id,
            reason=reason,
            until=until,
            author=principal.name,
            created_at=datetime.now(UTC),
        )
    )


def one_of(days: Collection[int], given: str) -> int:
    """A number of days from a form's choices.

    Raises:
        FormInvalid: it is none of them.
    """
    if given not in [str(choice) for choice in days]:
        raise FormInvalid("Choose for how long.")
    return int(given)


def _text(text: str, what: str) -> str:
    if not text.strip():
        raise FormInvalid(f"Write {what}: the field is empty.")
    if len(text) > LONGEST_TEXT:
        raise FormInvalid(f"That is too long: at most {LONGEST_TEXT:,} characters.")
    # PostgreSQL keeps no NUL in a text.
    return text.strip().replace("\x00", "")
