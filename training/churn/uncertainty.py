"""How sure a model's answers are: the interval of a probability, and what is typically known of a customer."""

from __future__ import annotations

import numpy as np

from models.inference.coverage import Coverage
from models.inference.venn_abers import ProbabilityInterval
from training.churn.fit import FittedModel
from training.dataset.prepare import Prepared
from training.dataset.split import SEED
from training.evaluation.held_out import HeldOutPredictions


def learned_interval(prepared: Prepared, model: FittedModel, tested: HeldOutPredictions) -> ProbabilityInterval:
    """What the tested rows, which no part of the model saw, say of the rate at each score: out of fold, or of the test window.

    What windows in time leave open of the next one's level is added.
    """
    labels = prepared.data.labels
    rng = np.random.default_rng(SEED)
    interval = ProbabilityInterval.fit(tested.p, labels.y[tested.rows], labels.group[tested.rows], rng)
    return interval if model.level is None else interval.widened(model.level.deviation)


def learned_coverage(prepared: Prepared, model: FittedModel) -> Coverage:
    """What is typically known of the customers that the model was trained on."""
    data = prepared.data
    return Coverage.fit(data.X(prepared.train, model.categories), data.schema.witnesses)
