"""Words as ordered numbers: each string feature's categories, from the least to the most churn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from features.schema import DType, FeatureSchema

Categories = dict[str, tuple[str, ...]]

# A rarer category gets no code: it is encoded like one that was never seen, so that the model learns what that means.
RARE = 10
# So many rows at the average rate are added to each category before its rate is ranked (Micci-Barreca 2001).
SMOOTHING = 20.0


def fit_categories(
    schema: FeatureSchema, columns: Mapping[str, npt.NDArray[Any]], y: npt.NDArray[np.int8], rows: npt.NDArray[np.int64]
) -> Categories:
    """The categories of each string feature, ordered by smoothed churn rate and then by name.

    An ordinary split on the code then divides categories by risk, so trees need no categorical splits.

    Args:
        columns: raw columns by name, each (n,).
        y: outcomes, (n,).
        rows: the training rows; nothing else is looked at.
    """
    outcome = y[rows].tolist()
    prior = sum(outcome) / len(outcome)
    fitted: Categories = {}
    for feature in schema:
        if feature.dtype is not DType.STRING:
            continue
        words = columns[feature.name][rows].tolist()
        seen = Counter(word for word in words if word is not None)
        churned = Counter(word for word, value in zip(words, outcome, strict=True) if value and word is not None)
        rate = {word: (churned[word] + SMOOTHING * prior) / (count + SMOOTHING) for word, count in seen.items()}
        fitted[feature.name] = tuple(sorted((w for w in seen if seen[w] >= RARE), key=lambda w: (rate[w], w)))
    return fitted
