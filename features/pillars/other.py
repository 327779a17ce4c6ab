"""Other: event types and customer attributes that no pillar knows, counted and kept under their own names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from features.pillars.aggregations import age_of_pillar, counts, days_active, rhythm, since
from features.pillars.data_profile import DataProfile
from features.schema import OTHER, Feature, Pillar


def pillar(evidence: DataProfile, taken: Collection[str]) -> Pillar | None:
    """Counts and recency of each unknown type, and each attribute; None where there is neither.

    Names that are already `taken` by another pillar's features get a prefix.
    """
    features: list[Feature] = []
    used = {*taken, f"{OTHER}_age_days"}
    types = evidence.feeding(OTHER)
    for kind in types:
        features += _of_type(kind, free_name(safe_name(kind), used), kind in evidence.activity)
        used |= {feature.name for feature in features}
    if types:
        # Each type has its own recency: what is oldest or newest of types that have nothing in common is no reason.
        features.append(replace(age_of_pillar(OTHER, evidence), predictive=False))
    for attribute, dtype in evidence.attributes.items():
        name = attribute if attribute not in used else f"customer {attribute}"
        used.add(name)
        features.append(
            Feature(
                name=name,
                pillar=OTHER,
                dtype=dtype,
                expression=_attribute(attribute),
            )
        )
    return Pillar(OTHER, tuple(features)) if features else None


def safe_name(kind: str) -> str:
    """An event type as the start of a column name: "Coupon Redeemed!" -> "coupon_redeemed"."""
    return re.sub(r"[^0-9a-z]+", "_", kind.lower()).strip("_") or "event"


def free_name(name: str, used: Collection[str]) -> str:
    """`name`, numbered if features of another type already start with it."""
    number, candidate = 1, name
    while any(f"{candidate}{ending}" in used for ending in ("_7d", "_30d", "_90d", "_180d", "_recency_days")):
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _of_type(kind: str, prefix: str, is_activity: bool) -> list[Feature]:
    noun = f"'{kind}' event"
    direction = -1 if is_activity else 0
    features = counts(OTHER, prefix, noun, (kind,), direction=direction)
    if not is_activity:
        return [*features, since(OTHER, prefix, noun, (kind,), direction=0)]
    # Its absence is what churn means here, so its rhythm matters as much as a purchase's.
    return [*features, *days_active(OTHER, prefix, noun, (kind,), (30, 90, 180)), *rhythm(OTHER, prefix, noun, (kind,))]


def _attribute(name: str) -> Callable[[Any], Any]:
    return lambda table: table[f"attribute {name}"].max()
