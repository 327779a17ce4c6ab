"""Two pictures of a run: are the probabilities right, and what moves them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.evaluate import EvaluationReport

# Points in the SHAP summary plot, and features on it.
MOST_ROWS = 2_000
MOST_FEATURES = 20


def plot_calibration(report: EvaluationReport, path: Path) -> None:
    """Draw observed churn over predicted probability in 10 equally full bins, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    predicted = [b.predicted for b in report.calibration]
    observed = [b.observed for b in report.calibration]
    edge = 1.05 * max(*predicted, *observed)
    axes.plot([0, edge], [0, edge], color="grey", linewidth=1, linestyle="--")
    axes.plot(predicted, observed, marker="o")
    axes.set(xlim=(0, edge), ylim=(0, edge), xlabel="predicted churn probability", ylabel="observed churn rate")
    axes.set_title(f"Unseen rows, in ten equal parts: ECE {report.metrics.ece:.3f}", fontsize=11)
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
