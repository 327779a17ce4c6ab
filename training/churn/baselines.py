"""What a model has to beat: the churn rate, and a logistic regression of the raw columns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

Columns = Mapping[str, npt.NDArray[Any]]

# A category of fewer rows shares one column with other rare ones.
RARE = 10
_MISSING = "\0missing"


@dataclass(frozen=True, slots=True)
class LogisticBaseline:
    """Logistic regression on raw columns: medians and missing flags for numbers, one column a category, all scaled."""

    numbers: tuple[str, ...]
    words: Mapping[str, pd.Index[str]]
    """Those that were learned from, in order, by column."""
    pipeline: Pipeline

    @classmethod
    def fit(
        cls, columns: Columns, numbers: Sequence[str], strings: Sequence[str], y: npt.NDArray[np.int8]
    ) -> LogisticBaseline:
        """Fit on the columns named; float columns with NaN, object columns of str with None."""
        present = tuple(name for name in numbers if not np.isnan(np.asarray(columns[name], dtype=np.float64)).all())
        transformers: list[tuple[str, Any, list[str]]] = []
        if present:
            numeric = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
            transformers.append(("numbers", numeric, list(present)))
        if strings:
            onehot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE)
            transformers.append(("strings", onehot, list(strings)))
        pipeline = Pipeline(
            [("columns", ColumnTransformer(transformers)), ("model", LogisticRegression(max_iter=1000, solver="lbfgs"))]
        )
        baseline = cls(present, {name: _words(columns[name]) for name in strings}, pipeline)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline that has nearly converged is one
            pipeline.fit(baseline._table(columns), y)
        return baseline

    def predict(self, columns: Columns) -> npt.NDArray[np.float64]:
        """Probabilities of churn, shape (n,)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found unknown categories", category=UserWarning)
            return np.asarray(self.pipeline.predict_proba(self._table(columns))[:, 1], dtype=np.float64)

    def _table(self, columns: Columns) -> pd.DataFrame:
        """Numbers, and codes of words, −1 for one that was not learned from: words themselves take seconds to compare."""
        numbers = {name: np.asarray(columns[name], dtype=np.float64) for name in self.numbers}
        codes = {name: known.get_indexer(pd.Index(_present(columns[name]))) for name, known in self.words.items()}
        return pd.DataFrame(numbers | codes)


def _words(column: npt.NDArray[Any]) -> pd.Index[str]:
    words: list[str] = sorted(pd.unique(_present(column)))
    return pd.Index(words, dtype=object)


def _present(column: npt.NDArray[Any]) -> npt.NDArray[np.object_]:
    return np.array([_MISSING if word is None else word for word in column], dtype=object)
