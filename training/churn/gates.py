"""What a model must prove before it may serve: each gate has a figure and a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np
import numpy.typing as npt
import onnxruntime

from features.config.environment import user_cache
from models.arrays import Matrix
from models.explanation.explainer import Explainer
from models.inference.calibration import Calibration
from models.inference.onnx_predictor import ChurnPredictor
from models.registry.model_bundle import GateResult
from training.churn.onnx_export import leaf_graph, split_points
from training.evaluation.metrics import EvaluationReport
from training.evaluation.slices import Examination

MEANING = {
    "onnx_leaves": "leaves that differ between LightGBM and ONNX",
    "onnx_parity": "the largest difference between LightGBM's and ONNX's probability",
    "explanation_additivity": "the largest difference between an explanation's sum and the score",
    "log_loss_vs_base_rate": "its log-loss, which must be below that of the base rate",
    "log_loss_proof": "the upper bound (95 %) of its log-loss less that of the base rate, which must be below 0: that it "
    "tells more than the churn rate does is not proven",
    "auc_proof": "the lower bound (95 %) of its AUC, which must be above that of chance: that it tells who leaves from who "
    "stays is not proven",
    "calibration_slope": "its calibration slope, which is 1 where odds can be believed: beyond this limit they mean nothing",
    "ece": "its expected calibration error",
    "better_than_champion": "its log-loss where both models can be judged, against the champion's and the noise",
}
# Every bundle carries these, those of earlier releases too; whether it is better than the champion is asked when it is
# promoted.
REQUIRED = ("onnx_leaves", "onnx_parity", "explanation_additivity", "log_loss_vs_base_rate", "ece")
# A model that fails one of these is not what was tested, and is not registered at all.
TECHNICAL = ("onnx_leaves", "onnx_parity", "explanation_additivity")

PARITY_LIMIT = 1e-6
ADDITIVITY_LIMIT = 1e-6
ECE_LIMIT_OUT_OF_FOLD = 0.03
ECE_LIMIT_TIME = 0.08
# Odds that must be stretched or pressed more than fourfold to fit what happened are no odds.
LEAST_SLOPE = 0.25
MOST_SLOPE = 4.0
# So many rows with a value on a threshold; more thresholds than that are taken evenly over all.
MOST_EDGE_ROWS = 20_000
# An explanation takes a hundred times as long as a score: so many rows are explained, evenly taken from all.
MOST_EXPLAINED_ROWS = 6_000


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The parts of a bundle that answer, before they are one."""

    booster: lightgbm.Booster
    model_text: str
    onnx: bytes
    calibration: Calibration


def edge_rows(booster: lightgbm.Booster, rows: Matrix) -> Matrix:
    """Rows that differ from real ones in one value: on a threshold, one float32 above or below it, NaN, 0.0 or −0.0.

    NaN is also the code of a category that was never seen. A last row has nothing but NaN.

    Args:
        rows: real rows to start from, shape (n, d), n ≥ 1.
    """
    points = list(split_points(booster))
    points = points[:: max(1, -(-len(points) * 6 // MOST_EDGE_ROWS))]
    made = rows[np.arange(len(points) * 6) % len(rows)].copy()
    for position, (feature, threshold) in enumerate(points):
        with np.errstate(over="ignore", under="ignore"):
            on = np.clip(np.float32(threshold), np.finfo(np.float32).min, np.finfo(np.float32).max)
            around = (on, np.nextafter(on, np.float32(np.inf)), np.nextafter(on, np.float32(-np.inf)))
        made[6 * position : 6 * position + 6, feature] = [*around, np.nan, 0.0, -0.0]
    # An infinite value never gets this far: ingest puts it in quarantine.
    made[np.isinf(made)] = np.nan
    return np.vstack([made, np.full((1, rows.shape[1]), np.nan, dtype=np.float32)])


def model_gates(model: ServedModel, rows: Matrix) -> dict[str, GateResult]:
    """That ONNX takes LightGBM's branches and gives its probabilities, and that explanations sum to the score.

    Args:
        rows: the test set, encoded, shape (n, d); rows on every threshold are added.
    """
    tested = np.ascontiguousarray(np.vstack([rows, edge_rows(model.booster, rows)]))
    margins = np.asarray(model.booster.predict(tested, raw_score=True, num_threads=1), dtype=np.float64)
    return {
        "onnx_leaves": at_most(float(_different_leaves(model.booster, tested)), 0.0),
        "onnx_parity": at_most(_parity(model, tested, margins), PARITY_LIMIT),
        "explanation_additivity": at_most(_additivity(model, tested, margins), ADDITIVITY_LIMIT),
    }


def quality_gates(report: EvaluationReport, examination: Examination, *, time_split: bool) -> dict[str, GateResult]:
    """That the model tells more than the churn rate does, by more than chance, and that its probabilities can be believed.

    A slope that is not defined is not asked for: constant probabilities have no AUC above chance, and those that part
    all churners from all others are right.
    """
    base_rate = report.baselines["base_rate"].log_loss
    figure, slope = report.metrics.log_loss, report.metrics.calibration_slope
    return {
        "log_loss_vs_base_rate": GateResult(figure < base_rate, figure, base_rate),
        **_proof(examination),
        **({} if slope is None else {"calibration_slope": _believable(slope)}),
        "ece": _calibrated(report, ECE_LIMIT_TIME if time_split else ECE_LIMIT_OUT_OF_FOLD),
    }


def at_most(figure: float, limit: float) -> GateResult:
    """A gate that is passed up to its limit, and never by NaN."""
    return GateResult(bool(figure <= limit), figure, limit)


def refused(gates: Mapping[str, GateResult]) -> list[str]:
    """The names of the gates that were not passed, the technical ones first."""
    return [name for name in MEANING if name in gates and not gates[name].passed]


def lacking(gates: Mapping[str, GateResult]) -> list[str]:
    """The names of the gates that were never asked."""
    return [name for name in REQUIRED if name not in gates]


def _proof(examination: Examination) -> dict[str, GateResult]:
    """Whether chance is ruled out: a figure without an interval proves nothing."""
    worse = examination.over_base_rate.high
    auc = examination.intervals["model"]["auc"]
    least = 0.0 if auc is None else auc.low
    return {
        "log_loss_proof": GateResult(worse < 0.0, worse, 0.0),
        "auc_proof": GateResult(least > 0.5, least, 0.5),
    }


def _believable(slope: float) -> GateResult:
    """The slope against the limit on its side of 1."""
    return GateResult(LEAST_SLOPE <= slope <= MOST_SLOPE, slope, LEAST_SLOPE if slope < 1.0 else MOST_SLOPE)


def _calibrated(report: EvaluationReport, limit: float) -> GateResult:
    """The ECE against its limit; on so few rows that perfect probabilities would exceed it, against theirs."""
    if report.metrics.ece > limit:
        limit = max(limit, report.ece_of_chance)
    return at_most(report.metrics.ece, limit)


def _different_leaves(booster: lightgbm.Booster, rows: Matrix) -> int:
    expected = np.asarray(booster.predict(rows, pred_leaf=True, num_threads=1)).reshape(len(rows), -1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(leaf_graph(booster), options, providers=["CPUExecutionProvider"])
    (leaves,) = session.run(None, {"features": rows})
    return int((leaves != expected).sum())


def _parity(model: ServedModel, rows: Matrix, margins: npt.NDArray[np.float64]) -> float:
    served = ChurnPredictor(model.onnx, model.calibration).predict(rows)
    return float(np.abs(served - model.calibration.apply(margins)).max())


def _additivity(model: ServedModel, rows: Matrix, margins: npt.NDArray[np.float64]) -> float:
    every = max(1, -(-len(rows) // MOST_EXPLAINED_ROWS))
    contributions = Explainer(model.model_text, cache=user_cache()).contributions(rows[::every])
    return float(np.abs(contributions.sum(axis=1) - margins[::every]).max())
