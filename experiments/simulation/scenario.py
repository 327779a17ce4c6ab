"""Scenario: what to simulate, and when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from experiments.simulation.errors import SimulationError

HORIZON_DAYS = 90
"""The outcome window of a churn label, in days."""

WINDOW_DAYS = 548
"""The length of the event log: 18 months."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One simulated business; equal scenarios give equal files.

    Attributes:
        customers: how many customers the business ever had in the window, those who left included.
        seed: of every random draw.
        end: midnight UTC after the last simulated day.
        effect_spread: multiplies how much the actions' effects differ between customers; 0 makes them all alike.
        truth_rollouts: simulated futures behind each true probability.

    Raises:
        SimulationError: a figure is out of range, or `end` is not a midnight in UTC.
    """

    customers: int
    seed: int
    end: datetime
    effect_spread: float = 1.0
    truth_rollouts: int = 64

    def __post_init__(self) -> None:
        if not 50 <= self.customers <= 500_000:
            raise SimulationError(f"--customers is {self.customers}: give a number from 50 to 500000.")
        if self.seed < 0:
            raise SimulationError(f"--seed is {self.seed}: give a whole number that is not negative.")
        if not (math.isfinite(self.effect_spread) and 0 <= self.effect_spread <= 10):
            raise SimulationError(f"--effect-spread is {self.effect_spread}: give a number from 0 to 10.")
        if self.truth_rollouts < 1:
            raise SimulationError(f"truth_rollouts is {self.truth_rollouts}: give at least 1.")
        if self.end.tzinfo is None or self.end != datetime.combine(
            self.end.astimezone(UTC).date(), datetime.min.time(), UTC
        ):
            raise SimulationError(f"The end {self.end.isoformat()} is not a midnight in UTC: give a date.")

    @property
    def start(self) -> datetime:
        """Midnight UTC of the first simulated day."""
        return self.end - timedelta(days=WINDOW_DAYS)

    @property
    def test_cutoff(self) -> datetime:
        """The newest cutoff whose outcome window is complete."""
        return self.end - timedelta(days=HORIZON_DAYS)

    def day(self, moment: datetime) -> int:
        """The index of the day that starts at `moment`; 0 is the first simulated day."""
        return (moment - self.start).days

    def truth_cutoffs(self) -> tuple[datetime, ...]:
        """The cutoffs at which the truth is told: the three newest month starts whose outcome is complete, the test cutoff and the end."""
        cutoffs = {self.test_cutoff, self.end}
        month = self.test_cutoff.date().replace(day=1)
        for _ in range(3):
            cutoffs.add(datetime(month.year, month.month, 1, tzinfo=UTC))
            month = _previous_month(month)
        return tuple(sorted(cutoffs))

    @property
    def first_weekday(self) -> int:
        """The weekday of the first simulated day, Monday 0."""
        return self.start.weekday()

    @property
    def first_day_of_year(self) -> int:
        """The day of the year of the first simulated day, from 0."""
        return self.start.timetuple().tm_yday - 1


def _previous_month(first: date) -> date:
    return (first - timedelta(days=1)).replace(day=1)
