"""Recommendations for one customer: items from what they bought, as far as they allow it, or from what all buy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.config.business import Business
from features.config.policy import Recommendations
from features.errors import UnknownCustomer
from features.snapshots.purchases import Purchases, day_of
from models.decisions.eligibility import consent_of
from models.recommender import OwnHistory, Recommended, Recommender
from serving.releases.release import Release

NO_ITEMS, NO_PURCHASES, NO_CONSENT, TOO_LITTLE = "items", "purchases", "consent", "enough_purchases"
RECOMMENDATION_LACKED_CODES: Mapping[str, str] = {
    NO_ITEMS: "No purchase of this business names an item: nothing is recommended.",
    NO_PURCHASES: "The customer bought nothing that is known: what is popular is recommended.",
    NO_CONSENT: "The customer did not consent to recommendations of their own: what is popular is recommended.",
    TOO_LITTLE: "Too few customers bought twice to learn from: what is popular is recommended.",
}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What is recommended to one customer, the best first."""

    customer_id: str
    items: tuple[Recommended, ...]
    personal: bool
    """Whether it is made from the customer's own purchases."""
    lacked: tuple[str, ...]


def recommend(release: Release, customer_id: str, k: int) -> Recommendation:
    """The `k` items that suit a customer best; what they just bought and nobody buys twice is not among them.

    Raises:
        UnknownCustomer: nobody by that id.
        StoreUnavailable: the feature store does not answer.
    """
    read = release.store.read([customer_id])
    if read.unknown:
        raise UnknownCustomer((customer_id,))
    features = {name: column[0] for name, column in read.columns.items()}
    return recommend_known(release, customer_id, features, k)


def recommend_known(release: Release, customer_id: str, features: Mapping[str, Any], k: int) -> Recommendation:
    """The same for a customer whose features were read already."""
    recommender = release.recommender
    if recommender is None:
        return Recommendation(customer_id, (), False, (NO_ITEMS,))
    settings = Business.of(release.generation).recommendations
    lacked = None
    if settings.consent is not None and consent_of(features.get(f"consent_{settings.consent}")) != 1.0:
        lacked = NO_CONSENT
    elif recommender.weights is None:
        lacked = TOO_LITTLE
    if lacked is None:
        history = _history(release, recommender, customer_id)
        if len(history.items):
            found = recommender.rank(history, k, _left_out(recommender, history, settings))
            return Recommendation(customer_id, tuple(found), True, ())
        lacked = NO_PURCHASES
    return Recommendation(customer_id, tuple(recommender.popular(k)), False, (lacked,))


def _history(release: Release, recommender: Recommender, customer_id: str) -> OwnHistory:
    """What the customer bought until the features' moment, of the items that the recommender knows."""
    file = release.generation.purchases_file
    if not file.exists():
        return OwnHistory.of(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    purchases = Purchases.read(file)
    item, day = purchases.of(customer_id)
    codes = recommender.codes([purchases.items[place] for place in item.tolist()])
    known = codes >= 0
    return OwnHistory.of(codes[known], np.maximum(0, day_of(release.generation.as_of) - day[known]))


def _left_out(recommender: Recommender, history: OwnHistory, settings: Recommendations) -> np.typing.NDArray[np.int64]:
    return recommender.just_bought(history, settings.exclude_days, settings.repeatable)
