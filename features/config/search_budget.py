"""How much a search for a model may cost: trials, or time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from features.words import shown

_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*(trials?|minutes?|min|seconds?|s)", re.IGNORECASE)
_MOST_TRIALS = 10_000
_MOST_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Budget:
    """Either so many trials a search, or so many minutes for all searches of a run together."""

    trials: int | None = None
    minutes: float | None = None

    def __str__(self) -> str:
        number, unit = (self.trials, "trial") if self.trials is not None else (self.minutes, "minute")
        return f"{number:g} {unit}{'' if number == 1 else 's'}"

    def shared(self, searches: int) -> Budget:
        """What each of so many searches may cost: minutes are divided, trials are not."""
        return self if self.minutes is None else Budget(minutes=self.minutes / searches)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as people write it: "10 trials", "3 minutes", "90 seconds".

        Raises:
            ValueError: it is not written like that, or nothing could be tried for it.
        """
        written = _WRITTEN.fullmatch(text.strip())
        if written is None:
            raise ValueError(f'{shown(text)} is no budget: write it as "10 trials", "3 minutes" or "90 seconds"')
        number, unit = float(written[1]), written[2].lower()
        if unit.startswith("trial"):
            if number != int(number) or not 1 <= number <= _MOST_TRIALS:
                raise ValueError(f"{shown(text)} is no budget: trials are a whole number from 1 to {_MOST_TRIALS:,}")
            return cls(trials=int(number))
        minutes = number / 60.0 if unit.startswith("s") else number
        if not 0.0 < minutes <= _MOST_MINUTES:
            raise ValueError(f"{shown(text)} is no budget: give more than no time, and at most a day")
        return cls(minutes=minutes)
