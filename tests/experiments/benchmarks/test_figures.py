"""Figures beside their peers': who goes first takes turns, and a goal is held against the lower bound."""

from __future__ import annotations

from experiments.benchmarks.figures import Row, interleaved


def row(ours: tuple[float, ...], theirs: tuple[float, ...], goal: float) -> Row:
    return Row("1", "what", "peer", "1/s", goal, ours, theirs, {})


def test_takes_turns_at_who_goes_first() -> None:
    order: list[str] = []

    def ours() -> float:
        order.append("ours")
        return 2.0

    def theirs() -> float:
        order.append("theirs")
        return 1.0

    assert interleaved(3, ours, theirs) == ((2.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    assert order == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_ratio_is_the_median_of_the_rounds() -> None:
    measured = row((10.0, 20.0, 90.0), (1.0, 1.0, 1.0), 10.0)
    assert measured.ratio == 20.0
    assert measured.interval[0] == 10.0
    assert measured.met


def test_a_goal_that_only_the_median_reaches_is_missed() -> None:
    measured = row((9.0, 11.0, 11.0), (1.0, 1.0, 1.0), 10.0)
    assert measured.ratio >= 10.0
    assert not measured.met
    assert measured.to_json()["met"] is False
