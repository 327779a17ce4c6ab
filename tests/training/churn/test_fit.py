"""How a model is fitted: by later windows where there are any, and by a blend where nothing tells what lasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from features.config.search_budget import Budget
from features.generation import Generation
from training.churn.fit import fit, fit_and_test
from training.churn.tuning import BLEND, FIRST, Tuner
from training.dataset.prepare import prepare
from training.errors import TrainingError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_where_no_window_had_ended_when_another_began_a_blend_is_taken(log: Any) -> None:
    prepared = prepare(Generation.current(log.home), log.business)
    windows = prepared.windows
    assert windows is not None
    assert windows.folds(prepared.data.y[prepared.train])
    overlapping = replace(windows, ended=tuple(() for _ in windows.ended))
    calls: list[None] = []
    tuner = Tuner(Budget(trials=2))
    blend = fit(prepared.data, prepared.train, overlapping, tuner, lambda: calls.append(None))
    assert [trial.parameters for trial in blend.tuned.trials] == [BLEND]
    assert len(calls) == 1
    assert blend.level is not None
    searched = fit(prepared.data, prepared.train, windows, tuner)
    assert [trial.parameters for trial in searched.tuned.trials] == list(FIRST[:2])


def test_folds_are_fitted_side_by_side_as_one_after_the_other(table: Any) -> None:
    prepared = prepare(Generation.current(table.home), table.business)
    calls: list[None] = []

    def tested(threads: int) -> Any:
        tuner = Tuner(Budget(trials=2), threads=threads)
        model, _, held_out = fit_and_test(prepared.data, prepared.split, None, lambda: calls.append(None), tuner)
        return held_out.p, held_out.p_logistic, model.classifier.booster_.model_to_string()

    alone, together = tested(1), tested(2)
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(alone[1], together[1])
    assert alone[2] == together[2]
    assert len(calls) == 2 * 2 * (len(prepared.split.folds) + 1)


def test_what_is_broken_off_goes_no_further_than_the_trials_that_run(table: Any) -> None:
    prepared = prepare(Generation.current(table.home), table.business)
    calls: list[None] = []

    def third() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise TrainingError("No more.")

    with pytest.raises(TrainingError, match="No more"):
        fit_and_test(prepared.data, prepared.split, None, third, Tuner(Budget(trials=10)))
    assert len(calls) < 10
