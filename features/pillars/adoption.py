"""Adoption: how much of what was bought is used."""

from __future__ import annotations

from features.pillars.evidence import Evidence
from features.pillars.measures import age_of_pillar, counts, days_active, distinct, events, rhythm
from features.schema import Feature, Pillar

USES = ("feature_used",)


def pillar(evidence: Evidence) -> Pillar | None:
    """The features of use, or None where no use is recorded."""
    if not evidence.seen(*USES):
        return None
    name = "adoption"
    features = [
        *counts(name, "feature_uses", "feature use", USES),
        *days_active(name, "feature", "feature used", USES, (30, 90)),
        *rhythm(name, "feature_use", "feature use", USES),
    ]
    if evidence.says("feature_used", "feature"):
        features += [
            Feature(
                name=f"features_distinct_{days}d",
                pillar=name,
                unit="count",
                sentence=f"{{value}} different feature{{s}} used in the last {days} days",
                direction=-1,
                expression=distinct(events(*USES, days=days), "feature"),
            )
            for days in (30, 90)
        ]
    return Pillar(name, (*features, age_of_pillar(name, evidence)))
