"""What a business's data holds: which features can be declared follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from features.config.data import SURVEYS
from features.schema import DType

PURCHASES = ("purchase",)
SUBSCRIPTION = ("subscription_started", "subscription_renewed", "subscription_changed", "subscription_cancelled")
CONSENTS = ("consent_given", "consent_withdrawn")
PAYMENTS = ("subscription_started", "subscription_renewed")
TICKETS = ("ticket_opened", "ticket_resolved")
TOUCHES = ("touch", "touch_opened", "touch_clicked")

FED_BY: Mapping[str, tuple[str, ...]] = {
    "adoption": ("feature_used",),
    "engagement": ("session", *TOUCHES),
    "sentiment": ("survey_answered", "comment"),
    "support": TICKETS,
    "commercial": (*PURCHASES, "refund", "payment_failed", *PAYMENTS),
    "relationship": (*SUBSCRIPTION, *CONSENTS),
}
"""Pillar -> the canonical event types that feed it, some of them two; any other type feeds "other"."""

PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "action": TOUCHES,
    "feature": ("feature_used",),
    "first_contact": ("ticket_resolved",),
    "item": PURCHASES,
    "mrr": SUBSCRIPTION,
    "plan": SUBSCRIPTION,
    "scope": CONSENTS,
    "survey": ("survey_answered",),
    "ticket": TICKETS,
}
"""The event properties that features read, and of which types."""


@dataclass(frozen=True, slots=True)
class Cap:
    """An action that may be taken `count` times in `days`, so that its touches must be counted."""

    action: str
    days: int


@dataclass(frozen=True, slots=True)
class DataProfile:
    """Event types, properties and attributes that occur at least once in the accepted data, and what decisions need.

    `types` are the event types, `valued` those with a figure, `properties` the (type, property) pairs with a word,
    `surveys` the kinds of survey, `attributes` the customers' own columns (without plan and mrr), `activity` the types
    whose absence means churn, `scopes` the consents and `caps` the touches that actions ask for, `units` what the value of a
    type counts, `overall_days` the window of the cap over all actions.
    """

    types: frozenset[str]
    valued: frozenset[str] = frozenset()
    properties: frozenset[tuple[str, str]] = frozenset()
    surveys: frozenset[str] = frozenset()
    attributes: Mapping[str, DType] = field(default_factory=dict)
    has_plan: bool = False
    has_mrr: bool = False
    activity: frozenset[str] = frozenset()
    currency: str | None = None
    scopes: tuple[str, ...] = ()
    caps: tuple[Cap, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    overall_days: int | None = None

    def seen(self, *types: str) -> bool:
        """Whether any of `types` occurs."""
        return not self.types.isdisjoint(types)

    def says(self, kind: str, name: str) -> bool:
        """Whether events of type `kind` carry the property `name`."""
        return (kind, name) in self.properties

    @property
    def unread(self) -> tuple[str, ...]:
        """What events lack in order to become features, a sentence each."""
        said: list[str] = []
        if self.seen("survey_answered") and self.surveys.isdisjoint(SURVEYS):
            said.append(
                "Events survey_answered become no features: they need the property survey, nps, csat or ces; name its column in "
                'properties, or write properties = { survey = { constant = "csat" } }.'
            )
        elif self.seen("survey_answered") and "survey_answered" not in self.valued:
            said.append("Events survey_answered become no features: they need a value, the answer as a number.")
        lacking = sorted(kind for kind in CONSENTS if self.seen(kind) and not self.says(kind, "scope"))
        if lacking:
            said.append(f"Events {' and '.join(lacking)} allow nothing: they need the property scope.")
        known = {*self.types, *(kind for kinds in FED_BY.values() for kind in kinds)}
        for kind in sorted(self.types):
            meant = re.sub("[ -]+", "_", kind.casefold())
            if meant != kind and meant in known:
                said.append(
                    f"Events {kind!r} are others than {meant!r}, which is written nearly so: write them alike if they are the same."
                )
        return tuple(said)

    def feeding(self, pillar: str) -> tuple[str, ...]:
        """The event types in the data that feed `pillar`."""
        if pillar in FED_BY:
            return tuple(kind for kind in FED_BY[pillar] if kind in self.types)
        known = {kind for kinds in FED_BY.values() for kind in kinds}
        return tuple(sorted(self.types - known))
