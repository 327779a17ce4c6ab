"""How a model is fitted: by later windows where there are any, and by a blend where nothing tells what lasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from features.config.search_budget import Budget
from features.generation import Generation
from training.churn.fit import fit
from training.churn.tuning import BLEND, FIRST, Tuner
from training.dataset.prepare import prepare

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
