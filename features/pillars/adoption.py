"""Adoption: how much of what was bought is used."""

from __future__ import annotations

from features.pillars.aggregations import age_of_pillar, counts, distinct, events, rhythm
from features.pillars.data_profile import DataProfile
from features.schema import Feature, Pillar

USES = ("feature_used",)


def pillar(evidence: DataProfile) -> Pillar | None:
    """The features of use, or None where no use is recorded."""
    if not evidence.seen(*USES):
        return None
    name = "adoption"
    features = [
        *counts(name, "feature_uses", "feature use", USES, (30, 90)),
        *rhythm(name, "feature_use", "feature use", USES),
    ]
    if evidence.says("feature_used", "feature"):
        features.append(
            Feature(
                name="features_distinct_90d",
                pillar=name,
                unit="count",
                sentence="{value} different feature{s} used in the last 90 days",
                direction=-1,
                expression=distinct(events(*USES, days=90), "feature"),
            )
        )
    return Pillar(name, (*features, age_of_pillar(name, evidence, repeats="feature_used")))
