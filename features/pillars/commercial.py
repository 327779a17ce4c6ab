"""Commercial: what they pay, and whether the payments arrive."""

from __future__ import annotations

from typing import Any

from features.pillars.aggregations import (
    active_days,
    age_of_pillar,
    counts,
    days_active,
    distinct,
    events,
    first,
    recency,
    rhythm,
    since,
    total,
)
from features.pillars.data_profile import PAYMENTS, PURCHASES, DataProfile
from features.pillars.exact_sum import exact_sum
from features.schema import Feature, Pillar


def pillar(evidence: DataProfile) -> Pillar | None:
    """The features of purchases, refunds, failed payments and mrr, or None where none of them is recorded."""
    name = "commercial"
    money = f"{{value}} {evidence.currency}" if evidence.currency else "{value}"
    features: list[Feature] = []
    if evidence.has_mrr:
        features.append(
            Feature(
                name="mrr",
                pillar=name,
                unit=evidence.currency or "",
                sentence=f"pays {money} a month",
                missing="no monthly revenue known",
                expression=lambda table: table.customer_mrr.max(),
            )
        )
    if evidence.seen(*PURCHASES):
        features += _purchases(name, evidence, money)
    if evidence.seen("refund"):
        features += counts(name, "refunds", "refund", ("refund",), (180,), direction=0)
        if "refund" in evidence.valued:
            features.append(
                Feature(
                    name="refunded_180d",
                    pillar=name,
                    unit=evidence.currency or "",
                    sentence=f"{money} refunded in the last 180 days",
                    expression=total(events("refund", days=180)),
                )
            )
    if evidence.seen("payment_failed"):
        features += counts(name, "payment_failures", "failed payment", ("payment_failed",), (180,), direction=1)
        features.append(since(name, "payment_failure", "failed payment", ("payment_failed",), direction=-1))
        if evidence.seen(*PAYMENTS):
            features.append(
                Feature(
                    name="payment_unpaid",
                    pillar=name,
                    unit="count",
                    sentence="unpaid bills: {value}",
                    direction=1,
                    expression=_unpaid,
                )
            )
    if not features:
        return None
    if evidence.feeding(name):
        features.append(age_of_pillar(name, evidence, repeats="purchase"))
    return Pillar(name, tuple(features))


def _unpaid(table: Any) -> Any:
    failed = recency(events("payment_failed"))(table)
    paid = recency(events(*PAYMENTS))(table)
    # A payment that failed is open until a later one arrives.
    is_open = failed.notnull() & (paid.isnull() | (failed < paid))
    return is_open.ifelse(1.0, 0.0)


def _purchases(name: str, evidence: DataProfile, money: str) -> list[Feature]:
    # A file of order lines has many rows a purchase: distinct days are the purchases that a person would count.
    features = [
        *counts(name, "purchases", "purchase", PURCHASES, (180,)),
        *days_active(name, "purchase", "purchase", PURCHASES, (30, 90, 180)),
        Feature(
            name="purchase_days",
            pillar=name,
            unit="days",
            sentence="{value} day{s} with a purchase in all",
            direction=-1,
            expression=active_days(events(*PURCHASES)),
        ),
        *rhythm(name, "purchase", "purchase", PURCHASES),
        # What a customer is worth depends on it; to the churn model, tenure says the same.
        Feature(
            name="purchase_first_days",
            pillar=name,
            unit="days",
            sentence="{value} day{s} since the first purchase",
            missing="no purchase yet",
            predictive=False,
            expression=first(events(*PURCHASES)),
        ),
    ]
    if "purchase" in evidence.valued:
        features += [
            Feature(
                name="spend_90d",
                pillar=name,
                unit=evidence.currency or "",
                sentence=f"{money} spent in the last 90 days",
                direction=-1,
                expression=total(events(*PURCHASES, days=90)),
            ),
            Feature(
                name="spend_total",
                pillar=name,
                unit=evidence.currency or "",
                sentence=f"{money} spent in all",
                direction=-1,
                expression=total(events(*PURCHASES)),
            ),
            Feature(
                name="spend_per_day_mean",
                pillar=name,
                unit=evidence.currency or "",
                sentence=f"a day with a purchase brings {money} on average",
                missing="no purchase yet",
                expression=lambda table: (
                    exact_sum(table, table.value, events(*PURCHASES).among(table))
                    / active_days(events(*PURCHASES))(table).nullif(0)
                ),
            ),
        ]
    if evidence.says("purchase", "item"):
        features += [
            Feature(
                name="items_distinct_180d",
                pillar=name,
                unit="count",
                sentence="{value} different item{s} bought in the last 180 days",
                direction=-1,
                expression=distinct(events(*PURCHASES, days=180), "item"),
            )
        ]
    return features
