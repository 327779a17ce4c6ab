"""What in the data a person should look at before believing the model, leaks aside: one sentence each."""

from __future__ import annotations

import re
from datetime import datetime

import numpy as np

from models.arrays import Rows
from training.dataset.split import Split
from training.dataset.training_set import TrainingSet

FEW_CHURNERS = 100
FEW_TEST_ROWS = 500
# More words than this of one column, each of so few rows on average, may be what customers are called by.
MANY_CATEGORIES = 100
FEW_ROWS = 20
DRIFT = 0.05

_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}")


def warning_signs(data: TrainingSet, split: Split, train: Rows, leave_out: str) -> list[str]:
    """Sentences about features and outcomes that are often a mistake, or make the figures uncertain.

    Args:
        train: the training rows; nothing else of the features is looked at.
        leave_out: the key of the TOML that leaves a column out.
    """
    return [*_outcome_signs(data, split), *_text_signs(data, train, leave_out)]


def _outcome_signs(data: TrainingSet, split: Split) -> list[str]:
    signs = []
    tested = np.unique(np.concatenate([fold.test for fold in split.folds]))
    churned = int(data.y.sum())
    if churned < FEW_CHURNERS:
        signs.append(f"Only {churned} of {len(data)} labelled rows churned: the figures are uncertain.")
    if split.is_time:
        if len(tested) < FEW_TEST_ROWS:
            signs.append(f"The test window has only {len(tested)} rows: its figures are uncertain.")
        before, after = data.y[split.folds[0].train].mean(), data.y[tested].mean()
        if abs(after - before) > DRIFT:
            signs.append(
                f"The churn rate moved from {before:.1%} in the training rows to {after:.1%} in the test window: "
                f"probabilities may be off by as much."
            )
    return signs


def _text_signs(data: TrainingSet, train: Rows, leave_out: str) -> list[str]:
    signs = []
    for name in data.strings():
        words = [word for word in data.columns[name][train].tolist() if word is not None]
        distinct = set(words)
        if len(distinct) > 1 and sum(_is_date(word) for word in distinct) > 0.95 * len(distinct):
            signs.append(
                f"Column '{name}' holds dates as text, which are used as mere categories: give ages in days instead."
            )
        elif len(distinct) > MANY_CATEGORIES and len(words) < FEW_ROWS * len(distinct):
            signs.append(
                f"Column '{name}' has {len(distinct)} different words: if it identifies customers, add it to {leave_out}."
            )
    return signs


def _is_date(word: str) -> bool:
    if _DATE.match(word):
        return True
    try:
        datetime.fromisoformat(word)
    except ValueError:
        return False
    return not word.isdigit()
