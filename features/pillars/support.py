"""Support: what goes wrong, and how well it is put right."""

from __future__ import annotations

from typing import Any

import ibis

from features.pillars.aggregations import age_of_pillar, counts, events, trend
from features.pillars.data_profile import TICKETS, DataProfile
from features.pillars.exact_sum import exact_mean
from features.schema import Feature, Pillar

# A ticket without an identity is matched by order: a customer's n-th resolution answers the n-th opening.
OPENED = "ticket_opened"


def pillar(evidence: DataProfile) -> Pillar | None:
    """The features of tickets, or None where none is recorded."""
    if not evidence.seen(OPENED):
        return None
    name = "support"
    features = [
        *counts(name, "tickets", "ticket", (OPENED,), (30, 180), direction=1),
        Feature(
            name="tickets_trend",
            pillar=name,
            unit="share",
            sentence="tickets of the last 30 days at {value} of this customer's usual month",
            missing="too few earlier tickets to know what is usual",
            direction=1,
            expression=trend(events(OPENED)),
        ),
    ]
    if evidence.seen("ticket_resolved"):
        features += _resolution(name)
        if evidence.says("ticket_resolved", "first_contact"):
            features.append(
                Feature(
                    name="first_contact_share_180d",
                    pillar=name,
                    unit="share",
                    sentence="{value} of the tickets resolved in the last 180 days were resolved at first contact",
                    missing="no ticket resolved in the last 180 days",
                    direction=-1,
                    expression=_first_contact_share,
                )
            )
    return Pillar(name, (*features, age_of_pillar(name, evidence)))


def _resolution(name: str) -> list[Feature]:
    return [
        Feature(
            name="tickets_open",
            pillar=name,
            unit="count",
            sentence="{value} open ticket{s}",
            direction=1,
            expression=lambda table: table.count(where=_is_open(table)),
        ),
        Feature(
            name="oldest_open_ticket_days",
            pillar=name,
            unit="days",
            sentence="the oldest open ticket waits for {value} day{s}",
            missing="no open ticket",
            direction=1,
            expression=lambda table: table.age.max(where=_is_open(table)),
        ),
        Feature(
            name="resolution_days_mean_180d",
            pillar=name,
            unit="days",
            sentence="tickets of the last 180 days took {value} day{s} to resolve on average",
            missing="no ticket resolved in the last 180 days",
            direction=1,
            expression=lambda table: exact_mean(table, _took(table), _is_resolved(table) & (table.resolved_age <= 180)),
        ),
        Feature(
            name="resolution_days_latest",
            pillar=name,
            unit="days",
            sentence="the ticket resolved last took {value} day{s}",
            missing="no ticket resolved yet",
            direction=1,
            expression=_latest_took,
        ),
    ]


def _is_open(table: Any) -> Any:
    return (table.type == OPENED) & table.resolved_age.isnull()


def _is_resolved(table: Any) -> Any:
    return (table.type == OPENED) & table.resolved_age.notnull()


def _took(table: Any) -> Any:
    return table.age - table.resolved_age


def _latest_took(table: Any) -> Any:
    # Of several that were resolved at one moment, the one that waited longest.
    rank = ibis.struct({"resolved": -table.resolved_age, "age": table.age})
    return _took(table).argmax(rank, where=_is_resolved(table))


def _first_contact_share(table: Any) -> Any:
    resolved = (table.type == "ticket_resolved") & (table.age <= 180) & table.first_contact.notnull()
    at_first = resolved & table.first_contact.lower().isin(("true", "1", "yes"))
    return table.count(where=at_first).cast("float64") / table.count(where=resolved).nullif(0)


def with_resolutions(visible: Any) -> Any:
    """The pillar's visible events, each opening with the `resolved_age` of the resolution that answers it.

    A resolution answers the opening of the same `ticket`, or of the same order where tickets have no identity. An
    opening that comes after its ticket's resolution (reopened) counts as open.
    """

    tickets = visible.filter(visible.type.isin(TICKETS))
    order = ibis.row_number().over(
        group_by=[tickets.cutoff, tickets.customer_id, tickets.type, tickets.ticket], order_by=[tickets.occurred.asc()]
    )
    tickets = tickets.mutate(
        matched_by=tickets.ticket.isnull().ifelse((order + 1).cast("string"), ibis.literal("#") + tickets.ticket)
    )
    resolved = (
        tickets.filter(tickets.type == "ticket_resolved")
        .group_by("cutoff", "customer_id", "matched_by")
        .aggregate(resolved_age=lambda t: t.age.min(), resolved_type=ibis.literal(OPENED))
    )
    joined = tickets.left_join(
        resolved,
        [
            tickets.cutoff == resolved.cutoff,
            tickets.customer_id == resolved.customer_id,
            tickets.matched_by == resolved.matched_by,
            tickets.type == resolved.resolved_type,
            tickets.age >= resolved.resolved_age,
        ],
    )
    return joined.drop("matched_by", "cutoff_right", "customer_id_right", "matched_by_right", "resolved_type")
