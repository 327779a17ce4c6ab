"""Challenger against champion, by log-loss on rows that neither was fitted on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.errors import SchemaMismatch
from features.home import Home
from features.schema import FeatureSchema
from models.bundle import GateResult, ModelBundle
from models.predictor import ChurnPredictor
from models.registry import RegisteredModel, Registry
from training.evaluate import row_losses
from training.tracking import PREDICTIONS, REPORT, TEST_ROWS, Tracker, read_report

Losses = npt.NDArray[np.float64]

RESAMPLES = 1000
SEED = 42
# With fewer rows in common, two models are not compared.
FEWEST_COMMON = 50
LEAST_COMMON_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger against champion on rows that neither was fitted on; or why they cannot be compared."""

    gate: GateResult | None
    warning: str | None


def compare(home: Home, registry: Registry, challenger: RegisteredModel, champion: RegisteredModel) -> Comparison:
    """Judge both on rows that neither was fitted on, by log-loss.

    Rows that both runs predicted without having been fitted on them are compared as they were predicted. Else, where
    the champion's training windows all end before the challenger's test cutoff, it is asked about the challenger's test
    rows.
    """
    tracker = Tracker(home, registry.model_name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        new = _predictions(tracker, challenger, folder / "challenger")
        if new is None:
            return _not_compared(champion, f"the predictions of version {challenger.version} are gone")
        old = _predictions(tracker, champion, folder / "champion")
        if old is not None:
            common = _in_common(new, old)
            if len(common) >= max(FEWEST_COMMON, LEAST_COMMON_SHARE * len(new)):
                return Comparison(_better(common["y"], common["p"], common["p_champion"]), None)
        cutoffs = read_report(tracker.artifact(challenger.run_id, REPORT, folder / "challenger")).get(
            "test_cutoffs", []
        )
        ends = read_report(tracker.artifact(champion.run_id, REPORT, folder / "champion")).get("training_ends")
        if not cutoffs or ends is None:
            return _not_compared(champion, "they were not tested on the same rows")
        if pd.Timestamp(ends) > min(pd.Timestamp(cutoff) for cutoff in cutoffs):
            return _not_compared(champion, "the champion was trained on what happened in the new test window")
        path = tracker.artifact(challenger.run_id, TEST_ROWS, folder / "challenger")
        if path is None:
            return _not_compared(champion, f"the test rows of version {challenger.version} are gone")
        try:
            p = _ask(registry.load(champion.version, home.path / "bundles"), pd.read_parquet(path))
        except SchemaMismatch as error:
            return _not_compared(champion, f"it reads other features ({str(error).rstrip('.')})")
        return Comparison(_better(new["y"], new["p"], p), None)


def _better(y: npt.ArrayLike, p: npt.ArrayLike, p_champion: npt.ArrayLike) -> GateResult:
    """The challenger's log-loss against the champion's plus what a paired bootstrap (95 %) takes for noise."""
    mine, theirs = row_losses(y, p), row_losses(y, p_champion)
    limit = float(theirs.mean()) + _noise(mine - theirs)
    figure = float(mine.mean())
    return GateResult(figure <= limit, figure, limit)


def _noise(differences: Losses) -> float:
    """1.96 standard deviations of the mean difference over resampled rows; Efron and Tibshirani (1993)."""
    rng = np.random.default_rng(SEED)
    n = len(differences)
    means = [float(differences[rng.integers(0, n, n)].mean()) for _ in range(RESAMPLES)]
    return 1.96 * float(np.std(means))


def _in_common(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """The rows that both runs tested, with the same outcome; a table's moment is that of its build, so it is no key."""
    keys = ["customer_id", "y"]
    if new["event_timestamp"].nunique() > 1 or old["event_timestamp"].nunique() > 1:
        keys.append("event_timestamp")
    elif not new["customer_id"].is_unique or not old["customer_id"].is_unique:
        return new.iloc[:0].assign(p_champion=0.0)
    return new.merge(old[[*keys, "p"]].rename(columns={"p": "p_champion"}), on=keys)


def _predictions(tracker: Tracker, model: RegisteredModel, folder: Path) -> pd.DataFrame | None:
    folder.mkdir(exist_ok=True)
    path = tracker.artifact(model.run_id, PREDICTIONS, folder)
    return None if path is None else pd.read_parquet(path)


def _ask(bundle: ModelBundle, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    schema = FeatureSchema.from_json(bundle.schema)
    columns = {
        name: rows[name].where(rows[name].notna(), None).to_numpy(dtype=object)
        if rows[name].dtype == object
        else rows[name].to_numpy()
        for name in rows.columns
    }
    return ChurnPredictor(bundle.onnx, bundle.calibration).predict(schema.to_matrix(columns, bundle.categories))


def _not_compared(champion: RegisteredModel, why: str) -> Comparison:
    return Comparison(None, f"Not compared with the champion, version {champion.version}: {why}.")
