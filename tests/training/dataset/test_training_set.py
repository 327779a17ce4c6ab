"""Categories, typical values and what is left out come from training rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from features.schema import DType, Feature, FeatureSchema
from training.dataset.training_set import Labels, TrainingSet, check_labels, informative
from training.errors import LabelError


def _labels(y: npt.ArrayLike) -> Labels:
    outcome = np.asarray(y, dtype=np.int8)
    n = len(outcome)
    ids = np.array([str(i) for i in range(n)], dtype=object)
    return Labels(ids, np.zeros(n, dtype="datetime64[us]"), outcome, np.arange(n), None)


def _set(y: npt.ArrayLike, **columns: list[Any]) -> TrainingSet:
    features = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, values in columns.items():
        is_string = any(isinstance(value, str) for value in values)
        features.append(Feature(name, "other", DType.STRING if is_string else DType.FLOAT))
        arrays[name] = np.array(values, dtype=object if is_string else np.float64)
    return TrainingSet(FeatureSchema(tuple(features)), arrays, _labels(y))


PLAN = ["a"] * 20 + ["b"] * 20 + ["c"] * 20 + ["rare"] * 3 + [None] * 2
OUTCOME = [1, 0] * 10 + [1] * 20 + [0] * 20 + [1] * 5


def test_categories_are_ordered_by_churn_and_rare_ones_have_no_code() -> None:
    data = _set(OUTCOME, plan=PLAN)
    rows = np.arange(65)
    categories = data.categories(rows)
    assert categories == {"plan": ("c", "a", "b")}
    codes = data.X(rows, categories)[:, 0]
    assert codes[:1] == [1.0]
    assert np.isnan(codes[60:]).all()


def test_categories_never_look_at_other_rows() -> None:
    data = _set(OUTCOME, plan=PLAN)
    flipped = _set([*OUTCOME[:40], *([1] * 25)], plan=[*PLAN[:40], *(["zzz"] * 25)])
    rows = np.arange(40)
    assert data.categories(rows) == flipped.categories(rows)


def test_typical_is_the_median_or_the_mode() -> None:
    data = _set([0, 1, 0, 1], calls=[1.0, 2.0, 10.0, np.nan], plan=["b", "a", "b", "a"], empty=[np.nan] * 4)
    assert data.typical(np.arange(4)) == {"calls": 2.0, "plan": "a", "empty": None}


def test_what_says_nothing_is_left_out_with_a_reason() -> None:
    n = 60
    data = _set(
        [0, 1] * 30,
        calls=list(range(n)),
        one=[7.0] * n,
        none=[np.nan] * n,
        name=[f"customer {i}" for i in range(n)],
        flag=[1.0, np.nan] * 30,
    )
    kept, notes = informative(data, np.arange(n))
    assert kept.schema.names == ("calls", "flag")
    assert set(kept.columns) == {"calls", "flag"}
    missing, constant, scattered = notes
    assert "'none'" in missing
    assert "'one'" in constant
    assert "'name'" in scattered


def test_a_table_without_any_difference_is_refused() -> None:
    with pytest.raises(LabelError, match="No feature"):
        informative(_set([0, 1] * 30, one=[7.0] * 60), np.arange(60))


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        ([0, 1] * 10, "20 rows"),
        ([0] * 100, "All 100 rows stayed"),
        ([1] * 100, "All 100 rows churned"),
        ([1] * 9 + [0] * 91, "Only 9 of 100"),
    ],
)
def test_what_cannot_be_learned_is_said_in_one_sentence(y: list[int], sentence: str) -> None:
    with pytest.raises(LabelError, match=sentence):
        check_labels(_labels(y), np.arange(len(y)), "rows")
