"""The public trial: effects that order customers, and a policy that is never worse than the best e-mail for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.config.business import Business
from models.decisions.off_policy import interval
from training.policy.report import PolicyReport
from training.policy.train import Learned, learn, value
from training.policy.trial import read_trial

CONFIG = Path(__file__).parents[3] / "experiments" / "hillstrom.toml"

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.fixture(scope="module")
def hillstrom() -> tuple[Learned, PolicyReport]:
    business = Business.load(CONFIG)
    assert business.decisions is not None
    if not business.decisions.path.exists():
        pytest.skip(f"{business.decisions.path} is not there: this needs the public data")
    learned = learn(read_trial(business), {})
    return learned, value(business.name, learned)


def test_the_womens_mail_is_ordered_by_effect(hillstrom: tuple[Learned, PolicyReport]) -> None:
    curve = hillstrom[1].actions["Womens E-Mail"].curve
    assert curve is not None
    assert curve.qini.value >= 6.4e-3
    assert curve.qini.low > 0


def test_what_is_served_is_no_worse_than_the_mens_mail_for_all(hillstrom: tuple[Learned, PolicyReport]) -> None:
    learned, report = hillstrom
    mens = report.policies["Mens E-Mail"].dr.value
    assert report.policies[report.served].dr.value >= mens
    assert mens == pytest.approx(0.1824, abs=0.002)
    assert report.policies["Womens E-Mail"].dr.value == pytest.approx(0.1514, abs=0.002)
    assert report.policies["No E-Mail"].dr.value == pytest.approx(0.1062, abs=0.002)
    # The average effects are those of the arms' plain means.
    trials = learned.found.trials
    for arm, name in enumerate(learned.log.actions, start=1):
        plain = trials.y[trials.action == arm].mean() - trials.y[trials.action == 0].mean()
        average = report.actions[name].average
        assert average is not None
        assert average.value == pytest.approx(plain, abs=0.002)
        assert average.low <= plain <= average.high
    assert interval(trials.y, trials.group).value == pytest.approx(trials.y.mean())
