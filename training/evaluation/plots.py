"""Three pictures of a run: are the probabilities right, whom do they find, and what moves them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.inference.interval import wilson
from training.evaluation.metrics import EvaluationReport
from training.evaluation.slices import TopK

# Points in the SHAP summary plot, and features on it.
MOST_ROWS = 2_000
MOST_FEATURES = 20


def plot_calibration(report: EvaluationReport, p: npt.NDArray[np.float64], path: Path) -> None:
    """Draw observed churn over predicted probability in 10 equally full bins, with 95 % intervals, as a PNG.

    Below it stands how often each probability occurs. The intervals are Wilson's (1927).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    predicted = np.array([b.predicted for b in report.calibration])
    observed = np.array([b.observed for b in report.calibration])
    low, high = wilson(observed, np.array([b.rows for b in report.calibration], dtype=np.float64))
    edge = min(1.0, 1.05 * max(float(predicted.max()), float(high.max())))
    axes.plot([0, edge], [0, edge], color="grey", linewidth=1, linestyle="--")
    off = np.maximum(np.vstack([observed - low, high - observed]), 0.0)
    axes.errorbar(predicted, observed, yerr=off, marker="o", capsize=2)
    axes.set(xlim=(0, edge), ylim=(0, edge), ylabel="observed churn rate")
    axes.set_title(f"Unseen rows, in ten equal parts: ECE {report.metrics.ece:.3f}", fontsize=11)
    below.hist(p, bins=40, color="grey")
    below.set(xlabel="predicted churn probability", ylabel="rows")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def plot_gains(gains: Sequence[tuple[float, float]], top: TopK, rows: int, path: Path) -> None:
    """Draw the cumulative gains curve and the lift curve, with the top that a team can call marked, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    gain, lift = figure.subplots(1, 2)
    share, caught = np.array(gains).T
    called = top.k / rows
    gain.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    gain.plot(share, caught)
    gain.plot([called], [top.recall], marker="o", color="C1")
    gain.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="share of customers called, riskiest first", ylabel="share of churners reached"
    )
    gain.set_title(f"The top {top.k:,} reach {top.recall:.0%} of who left", fontsize=11)
    lift.axhline(1.0, color="grey", linewidth=1, linestyle="--")
    lift.plot(share[1:], caught[1:] / share[1:])
    lift.axvline(called, color="C1", linewidth=1)
    lift.set(xlim=(0, 1), ylim=(0, None), xlabel="share of customers called, riskiest first", ylabel="lift")
    lift.set_title(f"{top.precision:.0%} of the top {top.k:,} left", fontsize=11)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def plot_shap_summary(
    contributions: npt.NDArray[np.float64], X: npt.NDArray[np.float32], features: Sequence[str], path: Path
) -> None:
    """Draw SHAP's beeswarm of the exact contributions that explain scores, as a PNG.

    Args:
        contributions: (n, d + 1) of `Explainer.contributions`, in log-odds, the base value last.
        X: the same rows, (n, d).
    """
    import matplotlib as mpl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap's and its dependencies' own deprecations
        with mpl.rc_context():
            mpl.use("Agg")
            import matplotlib.pyplot as plt
            import shap

            values = shap.Explanation(
                values=contributions[:, :-1], base_values=contributions[:, -1], data=X, feature_names=list(features)
            )
            try:
                shap.plots.beeswarm(values, max_display=MOST_FEATURES, show=False, plot_size=(9, 7))
                plt.xlabel("contribution to churn risk (log-odds)")
                plt.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
            finally:
                plt.close("all")
