"""Several models on rows that none of them was fitted on: what each run predicted, or what its model says when asked."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.errors import SchemaMismatch
from models.arrays import FloatArray
from models.errors import BundleError
from models.registry.model_bundle import ModelBundle
from training.churn.prediction import predict_raw
from training.errors import NotComparable
from training.tracking.runs import BUNDLE, PREDICTIONS, REPORT, TEST_ROWS, Tracker, read_report

# With fewer rows in common, models are not compared.
FEWEST_COMMON = 50
LEAST_COMMON_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Contestant:
    """A run whose model is compared, and what to call it."""

    name: str
    run_id: str


@dataclass(frozen=True, slots=True)
class AlignedPredictions:
    """Outcomes of some rows, and what each contestant, in order, gave for them; all shapes (n,)."""

    y: npt.NDArray[np.int64]
    customers: npt.NDArray[np.int64]
    """The same number for rows of one customer."""
    p: tuple[FloatArray, ...]
    rows_of: str
    """Whose test rows they are."""
    called: float | None = None
    """The share of them that a team can call, as that run was told."""


def align_predictions(tracker: Tracker, contestants: Sequence[Contestant]) -> AlignedPredictions:
    """All contestants on the test rows of the one that was trained last.

    Rows that another run predicted too, without having been fitted on them, are taken as they were predicted. Else,
    where its training windows all end before those rows' cutoffs, its model is asked about them.

    Raises:
        NotComparable: there are no such rows; says why, and for whom.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folders = {contestant.run_id: Path(scratch) / str(n) for n, contestant in enumerate(contestants)}
        for folder in folders.values():
            folder.mkdir()
        newest = max(contestants, key=lambda contestant: tracker.started(contestant.run_id))
        rows = _Rows.of(tracker, newest, folders[newest.run_id])
        kept = np.ones(len(rows.frame), dtype=np.bool_)
        found: list[FloatArray] = []
        for contestant in contestants:
            folder = folders[contestant.run_id]
            p = rows.own if contestant.run_id == newest.run_id else _of_another(tracker, contestant, folder, rows)
            kept &= ~np.isnan(p)
            found.append(p)
        if kept.sum() < max(FEWEST_COMMON, LEAST_COMMON_SHARE * len(kept)):
            raise NotComparable(newest.name, "too few rows were tested by all of them")
        return AlignedPredictions(
            y=rows.frame["y"].to_numpy(dtype=np.int64)[kept],
            customers=np.unique(rows.frame["customer_id"].to_numpy(dtype=str)[kept], return_inverse=True)[1].astype(
                np.int64
            ),
            p=tuple(p[kept] for p in found),
            rows_of=newest.name,
            called=rows.called,
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The test rows of the newest run: who, when, what happened, what it predicted, and where the raw features are."""

    frame: pd.DataFrame
    features: Path | None
    cutoffs: tuple[pd.Timestamp, ...]
    called: float | None

    @classmethod
    def of(cls, tracker: Tracker, newest: Contestant, folder: Path) -> _Rows:
        frame = _predictions(tracker, newest, folder)
        if frame is None:
            raise NotComparable(newest.name, "its predictions are gone")
        report = read_report(tracker.artifact(newest.run_id, REPORT, folder))
        cutoffs = tuple(pd.Timestamp(cutoff) for cutoff in report.get("test_cutoffs", []))
        top = report.get("top_k")
        return cls(
            frame=frame,
            features=tracker.artifact(newest.run_id, TEST_ROWS, folder),
            cutoffs=cutoffs,
            called=None if top is None else top["k"] / max(1, report["n_test"]),
        )

    @property
    def own(self) -> FloatArray:
        return self.frame["p"].to_numpy(dtype=np.float64)


def _of_another(tracker: Tracker, contestant: Contestant, folder: Path, rows: _Rows) -> FloatArray:
    """What another run's model gives for the rows, NaN where that would not be fair."""
    theirs = _predictions(tracker, contestant, folder)
    if theirs is not None:
        p = _in_common(rows.frame, theirs)
        if np.isfinite(p).sum() >= max(FEWEST_COMMON, LEAST_COMMON_SHARE * len(p)):
            return p
    ends = read_report(tracker.artifact(contestant.run_id, REPORT, folder)).get("training_ends")
    if not rows.cutoffs or ends is None:
        raise NotComparable(contestant.name, "they were not tested on the same rows")
    if pd.Timestamp(ends) > min(rows.cutoffs):
        raise NotComparable(contestant.name, "it was trained on what happened in the new test window")
    if rows.features is None:
        raise NotComparable(contestant.name, "the test rows are gone")
    path = tracker.artifact(contestant.run_id, BUNDLE, folder)
    if path is None:
        raise NotComparable(contestant.name, "its bundle is gone")
    try:
        return predict_raw(ModelBundle.load(path), pd.read_parquet(rows.features))
    except SchemaMismatch as error:
        raise NotComparable(contestant.name, f"it reads other features ({str(error).rstrip('.')})") from error
    except BundleError as error:
        raise NotComparable(contestant.name, f"its bundle cannot be read ({str(error).rstrip('.')})") from error


def _in_common(new: pd.DataFrame, old: pd.DataFrame) -> FloatArray:
    """What the other run predicted for the rows that both tested, with the same outcome; NaN for the others.

    A table's moment is that of its build, so it is no key.
    """
    keys = ["customer_id", "y"]
    if new["event_timestamp"].nunique() > 1 or old["event_timestamp"].nunique() > 1:
        keys.append("event_timestamp")
    elif not new["customer_id"].is_unique or not old["customer_id"].is_unique:
        return np.full(len(new), np.nan)
    theirs = old[[*keys, "p"]].rename(columns={"p": "p_theirs"}).drop_duplicates(keys)
    return new.merge(theirs, on=keys, how="left")["p_theirs"].to_numpy(dtype=np.float64)


def _predictions(tracker: Tracker, contestant: Contestant, folder: Path) -> pd.DataFrame | None:
    path = tracker.artifact(contestant.run_id, PREDICTIONS, folder)
    return None if path is None else pd.read_parquet(path)
