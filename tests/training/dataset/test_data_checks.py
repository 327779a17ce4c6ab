"""What is often a mistake in a table, said in sentences."""

from __future__ import annotations

import numpy as np
import pytest

from features.schema import DType, Feature, FeatureSchema
from training.dataset.data_checks import warning_signs
from training.dataset.split import in_folds
from training.dataset.training_set import Labels, TrainingSet


def _said(words: list[str]) -> list[str]:
    """The warnings about a table whose one column has these words; half of the rows churned."""
    n = len(words)
    y = np.arange(n, dtype=np.int8) % 2
    ids = np.array([str(i) for i in range(n)], dtype=object)
    labels = Labels(ids, np.zeros(n, dtype="datetime64[us]"), y, np.arange(n), None)
    schema = FeatureSchema((Feature("plan", "other", DType.STRING),))
    data = TrainingSet(schema, {"plan": np.array(words, dtype=object)}, labels)
    return warning_signs(data, in_folds(y, labels.group), np.arange(n), "[data] drop")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"customer {i // 5}" for i in range(1000)], ["Column 'plan' has 200 different words"]),
        ([f"town {i % 200}" for i in range(8000)], []),
        ([f"plan {i % 3}" for i in range(300)], []),
        ([f"2024-01-{i % 28 + 1:02}" for i in range(300)], ["Column 'plan' holds dates as text"]),
    ],
)
def test_words_that_may_be_ids_or_dates_are_named(words: list[str], said: list[str]) -> None:
    found = _said(words)
    assert len(found) == len(said)
    assert all(one.startswith(beginning) for one, beginning in zip(found, said, strict=True))
