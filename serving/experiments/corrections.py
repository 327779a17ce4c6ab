"""Outcomes that were recorded wrongly: corrected by an admin, with what they said before, who changed it, and why."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from serving.auth.api_keys import Principal
from serving.platform.tables import outcome_corrections


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose outcome: a decision's, or a customer's in an experiment."""

    decision_id: str | None = None
    experiment: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Correction:
    """One change; `before` and `after` are the figures of an outcome by name."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    reason: str
    corrected_by: str
    corrected_at: datetime


def note(
    connection: Connection,
    subject: Subject,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str,
    principal: Principal,
    now: datetime,
) -> None:
    """Keep a correction, in the transaction that makes it; one that changes nothing is none."""
    if before == after:
        return
    connection.execute(
        insert(outcome_corrections).values(
            correction_id=uuid.uuid4().hex,
            decision_id=subject.decision_id,
            experiment=subject.experiment,
            customer_id=subject.customer_id,
            before=dict(before),
            after=dict(after),
            reason=reason,
            corrected_by=principal.name,
            corrected_at=now,
        )
    )


def history(connection: Connection, subject: Subject) -> list[Correction]:
    """All corrections of an outcome, the first one first."""
    kept = outcome_corrections.c
    rows = connection.execute(
        select(kept.before, kept.after, kept.reason, kept.corrected_by, kept.corrected_at)
        .where(
            kept.decision_id.is_not_distinct_from(subject.decision_id),
            kept.experiment.is_not_distinct_from(subject.experiment),
            kept.customer_id.is_not_distinct_from(subject.customer_id),
        )
        .order_by(kept.corrected_at)
    )
    return [Correction(*row) for row in rows]
