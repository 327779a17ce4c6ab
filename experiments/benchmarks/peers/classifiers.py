"""What a data scientist would try instead: each as its documentation starts, on the raw columns."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.benchmarks.errors import BenchmarkError
from models.arrays import FloatArray
from models.value.pareto_nbd import PurchaseHistories, PurchaseProcess
from training.churn.baselines import LogisticBaseline
from training.dataset.split import Fold
from training.dataset.training_set import TrainingSet

PARETO_NBD = "Pareto/NBD"
_MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class Task:
    """Rows to learn from and to be judged on; `seconds` are what keepwell took for such a fold.

    `histories` are what all rows' customers had bought at their cutoff, where who buys no more is who churns.
    """

    data: TrainingSet
    fold: Fold
    horizon_days: int
    seconds: float
    histories: PurchaseHistories | None = None

    def frames(self, *, as_text: bool = False) -> tuple[pd.DataFrame, pd.DataFrame, npt.NDArray[np.int8]]:
        """The raw columns of both sides, words as pandas categories or as text, and the outcomes to learn from."""
        data = self.data
        frame = pd.DataFrame({name: data.columns[name] for name in data.schema.names})
        for name in data.strings():
            frame[name] = frame[name].fillna(_MISSING).astype(str) if as_text else frame[name].astype("category")
        # LightGBM refuses some characters that columns have.
        frame.columns = [f"f{place}" for place in range(frame.shape[1])]
        return frame.iloc[self.fold.train], frame.iloc[self.fold.test], data.y[self.fold.train]

    @property
    def words(self) -> list[str]:
        """The frame's names of the columns that hold words."""
        return [f"f{self.data.schema.names.index(name)}" for name in self.data.strings()]


def lightgbm_default(task: Task) -> FloatArray:
    """`LGBMClassifier()`, words as pandas categories."""
    train, test, y = task.frames()
    model = lightgbm.LGBMClassifier(n_jobs=1, verbosity=-1).fit(train, y)
    return np.asarray(model.predict_proba(test)[:, 1], dtype=np.float64)


def logistic_regression(task: Task) -> FloatArray:
    """Medians, missing flags, one column a category, all scaled."""
    data, fold = task.data, task.fold
    baseline = LogisticBaseline.fit(data.take(fold.train), data.numbers(), data.strings(), data.y[fold.train])
    return baseline.predict(data.take(fold.test))


def catboost_default(task: Task) -> FloatArray:
    """`CatBoostClassifier()`, words as its categorical features."""
    try:
        from catboost import CatBoostClassifier
    except ImportError:
        raise BenchmarkError("CatBoost is not installed: run 'make bench' once, which installs the peers.") from None
    train, test, y = task.frames(as_text=True)
    model = CatBoostClassifier(
        cat_features=task.words, verbose=False, thread_count=2, allow_writing_files=False, random_seed=42
    ).fit(train, y)
    return np.asarray(model.predict_proba(test)[:, 1], dtype=np.float64)


def flaml(task: Task) -> FloatArray:
    """`AutoML` for log-loss, with as many seconds as keepwell took for a fold."""
    try:
        from flaml import AutoML
    except ImportError:
        raise BenchmarkError("FLAML is not installed: run 'make bench' once, which installs the peers.") from None
    train, test, y = task.frames()
    logging.getLogger("flaml").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model = AutoML()
        model.fit(
            train, y, task="classification", metric="log_loss", time_budget=max(5.0, task.seconds), n_jobs=2, verbose=0, seed=42,
            estimator_list=["lgbm", "xgboost", "catboost", "rf", "extra_tree", "lrl1"],
        )  # fmt: skip
        return np.asarray(model.predict_proba(test)[:, 1], dtype=np.float64)


def pareto_nbd(task: Task) -> FloatArray:
    """One minus the probability of any purchase, by the process that is fitted to what the judged customers had bought.

    Who only sent things back gets the mean of the others.
    """
    assert task.histories is not None
    bought = task.histories.count[task.fold.test] > 0.0
    buyers = task.histories.of_rows(task.fold.test[bought])
    churned = 1.0 - PurchaseProcess.fit(buyers).any_purchase(buyers, task.horizon_days)
    p = np.full(len(bought), churned.mean())
    p[bought] = churned
    return p


PEERS: Mapping[str, Callable[[Task], FloatArray]] = MappingProxyType(
    {
        "LightGBM default": lightgbm_default,
        "logistic regression": logistic_regression,
        "CatBoost default": catboost_default,
        "FLAML in the same time": flaml,
        PARETO_NBD: pareto_nbd,
    }
)


def applies(peer: str, histories: PurchaseHistories | None) -> bool:
    """Whether a peer can say anything: a purchase process needs purchases."""
    return peer != PARETO_NBD or histories is not None
