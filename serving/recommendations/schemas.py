"""The shapes of recommendations over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from models.recommender import Why
from serving.api.schemas import Query
from serving.recommendations.service import RECOMMENDATION_LACKED_CODES, Recommendation
from serving.releases.release import Release


class RecommendationsQuery(Query):
    """How many."""

    k: int = Field(10, ge=1, le=100, description="Items, at most.", examples=[10])


class RecommendedModel(BaseModel):
    """An item."""

    item: str
    score: float = Field(
        ge=0, le=1,
        description="The probability that the customer buys it within `window_days`; among popular items, the share of "
        "lately active customers who did.",
    )  # fmt: skip
    why: Literal["bought_before", "bought_with", "popular"] = Field(
        description="What speaks for it: bought before; bought by those who bought `because`; popular."
    )
    because: str | None


class RecommendationsModel(BaseModel):
    """The best first."""

    customer_id: str
    recommendations: list[RecommendedModel]
    personal: bool = Field(description="Whether they are made from what the customer bought.")
    window_days: int | None
    lacked: list[str] = Field(
        description="; ".join(f"`{code}`: {meaning}" for code, meaning in RECOMMENDATION_LACKED_CODES.items()),
        json_schema_extra={"items": {"type": "string", "enum": list(RECOMMENDATION_LACKED_CODES)}},
    )
    model_version: str
    features_as_of: datetime


def recommendation_json(found: Recommendation, release: Release) -> dict[str, object]:
    """Recommendations as `RecommendationsModel` documents them."""
    return {
        "customer_id": found.customer_id,
        "recommendations": [
            {"item": one.item, "score": one.score, "why": Why(one.why).value, "because": one.because}
            for one in found.items
        ],
        "personal": found.personal,
        "window_days": None if release.recommender is None else release.recommender.window_days,
        "lacked": list(found.lacked),
        "model_version": release.model_version,
        "features_as_of": release.generation.as_of,
    }
