"""Cause: why a customer leaves, and how the troubles behind it come and go.

Six causes compete for every customer, each with a hazard of its own; the sum is the hazard of cancelling. Four begin and
end as a trouble that is there or not; support and payments follow open tickets and unpaid bills.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Cause(IntEnum):
    """Why a customer leaves. Those with a trouble come first, so that a trouble's row is its cause."""

    PRICE = 0
    MISSING_FEATURE = 1
    CONTACT_LEFT = 2
    COMPETITOR = 3
    SUPPORT = 4
    PAYMENTS = 5

    @property
    def label(self) -> str:
        """The name in files."""
        return self.name.lower()


LABELS = tuple(cause.label for cause in Cause)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What drives a cause while it lasts.

    Attributes:
        begins: its rate a day for who is averagely exposed to the cause.
        ends: its rate a day.
        weight: what it adds to the cause's log-hazard.
        mood: what its beginning takes from satisfaction.
    """

    begins: float
    ends: float
    weight: float
    mood: float


TROUBLES = {
    Cause.PRICE: Trouble(begins=1 / 2500, ends=1 / 170, weight=6.6, mood=0.45),
    Cause.MISSING_FEATURE: Trouble(begins=1 / 1700, ends=1 / 190, weight=6.6, mood=0.45),
    Cause.CONTACT_LEFT: Trouble(begins=1 / 1900, ends=1 / 150, weight=6.8, mood=0.0),
    Cause.COMPETITOR: Trouble(begins=1 / 2300, ends=1 / 160, weight=6.6, mood=0.35),
}
