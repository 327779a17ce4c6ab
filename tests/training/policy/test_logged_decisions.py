"""What pscores can be, and what they are called where they are something else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from features.schema import DType, Feature, FeatureSchema
from models.decisions.reference import Reference
from training.errors import DecisionLogError
from training.policy.logged_decisions import DecisionLog, check

N = 400
ACTION = np.arange(N, dtype=np.int64) % 2


def log(pscore: NDArray[np.float64]) -> DecisionLog:
    """Every other customer got a mail."""
    return DecisionLog(
        unit="reward",
        schema=FeatureSchema((Feature("x", "other", DType.FLOAT),)),
        columns={"x": np.arange(N, dtype=np.float64)},
        actions=("mail",),
        reference=Reference("nothing", "nothing"),
        row=np.arange(N, dtype=np.int64),
        action=ACTION,
        reward=np.arange(N, dtype=np.float64) % 3,
        pscore=pscore,
        eligible=np.ones((N, 2), dtype=np.bool_),
        customer_id=np.array([f"C{number}" for number in range(N)], dtype=object),
        response=None,
        fingerprint="",
        warnings=(),
    )


@pytest.mark.parametrize(
    ("pscore", "message"),
    [
        (ACTION.astype(np.float64), "hold only 0 and 1: a flag of what was done"),
        (np.where(np.arange(N) % 3 == 0, 0.0, 0.5), "are 0 for what was done in 34% of the decisions"),
        (np.full(N, 50.0), "go up to 50, above 1: divide per cent by 100"),
        (np.full(N, 500.0), "go up to 500, above 1: divide per mille by 1000"),
        (
            np.where(np.arange(N) % 8 == 0, 4.0, 1.5),
            "go up to 4, above 1: they look like 1/pscore, so give the inverse",
        ),
        (np.full(N, np.log(0.5)), "go down to -0.693147, below 0: if they are logarithms, give their exponential"),
        (np.ones(N), "are all 1, as if nothing had been drawn, or a flag of what was done"),
    ],
)
def test_what_is_no_probability_is_named(pscore: NDArray[np.float64], message: str) -> None:
    with pytest.raises(DecisionLogError, match=message):
        check(log(pscore), "trial.csv")


def test_probabilities_are_taken_and_a_few_that_cannot_be_are_told() -> None:
    assert check(log(np.full(N, 0.5)), "trial.csv") == ()
    few = np.where(np.arange(N) < 10, 0.0, 0.5)
    assert any("10 of 400 decisions lack" in sentence for sentence in check(log(few), "trial.csv"))
