"""Relationship: how long it lasts, on which terms, and what they allow us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ibis

from features.pillars.aggregations import age_of_pillar, count, counts, events, gap, recency
from features.pillars.data_profile import CONSENTS, PAYMENTS, SUBSCRIPTION, DataProfile
from features.schema import DType, Feature, Pillar

YEAR_DAYS = 365.0


def pillar(evidence: DataProfile) -> Pillar:
    """Tenure always, and plan, renewals, changes and consents as far as they are recorded."""
    name = "relationship"
    features = [
        Feature(
            name="tenure_days",
            pillar=name,
            unit="days",
            sentence="a customer for {value} day{s}",
            missing="since when a customer is not known",
            direction=-1,
            expression=lambda table: table.customer_tenure.max(),
        ),
    ]
    if evidence.seen(*SUBSCRIPTION):
        # Contracts end, and prices rise, a whole number of years after the start.
        features.append(
            Feature(
                name="anniversary_due_days",
                pillar=name,
                unit="days",
                sentence="{value} day{s} until the next anniversary as a customer",
                missing="since when a customer is not known",
                expression=lambda table: YEAR_DAYS - table.customer_tenure.max() % YEAR_DAYS,
            )
        )
    if evidence.has_plan:
        features.append(
            Feature(
                name="plan",
                pillar=name,
                dtype=DType.STRING,
                sentence="on the plan {value}",
                missing="no plan known",
                expression=lambda table: table.customer_plan.max(),
            )
        )
    if evidence.seen("subscription_renewed"):
        features += _renewals(name)
    if evidence.seen("subscription_changed"):
        features += counts(name, "plan_changes", "change of the subscription", ("subscription_changed",), (180,), 0)
    if evidence.seen("subscription_cancelled"):
        features.append(
            Feature(
                name="cancellations",
                pillar=name,
                unit="count",
                sentence="{value} earlier cancellation{s}",
                direction=1,
                expression=count(events("subscription_cancelled")),
            )
        )
    for scope in evidence.scopes:
        features.append(
            Feature(
                name=f"consent_{scope}",
                pillar=name,
                unit="consent",
                sentence=f"consent for {scope}: {{value}}",
                missing=f"consent for {scope} was never recorded",
                predictive=False,
                expression=_consent(scope),
            )
        )
    fed = evidence.seen(*SUBSCRIPTION, *CONSENTS)
    return Pillar(name, (*features, age_of_pillar(name, evidence)) if fed else tuple(features))


def _renewals(name: str) -> list[Feature]:
    return [
        Feature(
            name="renewals",
            pillar=name,
            unit="count",
            sentence="{value} renewal{s} so far",
            direction=-1,
            expression=count(events("subscription_renewed")),
        ),
        Feature(
            name="renewal_recency_days",
            pillar=name,
            unit="days",
            sentence="{value} day{s} since the subscription was last paid",
            missing="no subscription paid yet",
            expression=recency(events(*PAYMENTS)),
        ),
        Feature(
            name="renewal_due_days",
            pillar=name,
            unit="days",
            sentence="{value} day{s} until the next renewal is due, by this customer's usual period",
            missing="too few renewals to know the period",
            expression=lambda table: gap(events(*PAYMENTS))(table) - recency(events(*PAYMENTS))(table),
        ),
    ]


def _consent(scope: str) -> Callable[[Any], Any]:
    def given(table: Any) -> Any:

        of_scope = table.type.isin(CONSENTS) & (table.scope == scope)
        granted = table.age.min(where=of_scope & (table.type == "consent_given"))
        withdrawn = table.age.min(where=of_scope & (table.type == "consent_withdrawn"))
        # At the same moment the withdrawal holds: nobody is contacted on a doubt.
        allowed = granted.notnull() & (withdrawn.isnull() | (granted < withdrawn))
        known = granted.notnull() | withdrawn.notnull()
        return known.ifelse(allowed.ifelse(1.0, 0.0), ibis.null("float64"))

    return given
