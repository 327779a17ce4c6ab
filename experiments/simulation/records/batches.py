"""EventBatch: many events of one type, as arrays, before they become rows of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from experiments.simulation.behaviour.history import History
from experiments.simulation.customers.population import Flags, Floats, Integers, Population

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one type.

    `customer` holds indices, `at` days from the window's start, `value` NaN for none; `text`, `channel` and the arrays
    of `properties` hold strings or None.
    """

    type: str
    customer: Integers
    at: Floats
    value: Floats | None = None
    channel: Texts | str | None = None
    text: Texts | None = None
    properties: Mapping[str, Texts] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return int(self.customer.size)

    def keep(self, flags: Flags) -> EventBatch:
        """The events where `flags` is true."""
        return EventBatch(
            self.type,
            self.customer[flags],
            self.at[flags],
            None if self.value is None else self.value[flags],
            self.channel[flags] if isinstance(self.channel, np.ndarray) else self.channel,
            None if self.text is None else self.text[flags],
            {name: values[flags] for name, values in self.properties.items()},
        )


def within_life(batch: EventBatch, population: Population, history: History) -> EventBatch:
    """The events that happened while the customer was one, and before the window's end."""
    gone = np.where(np.isnan(history.cancelled_at), history.active.shape[0], history.cancelled_at)[batch.customer]
    last = batch.at <= gone if batch.type == "subscription_cancelled" else batch.at < gone
    return batch.keep((batch.at >= population.joined_at[batch.customer]) & last)


def working_hours(size: int, rng: np.random.Generator) -> Floats:
    """Times of the day as shares of it: mostly from 8 to 18 o'clock, with a dip at noon."""
    peak = np.where(rng.random(size) < 0.55, 10.0, 15.0)
    hour = peak + 1.9 * rng.standard_normal(size)
    anytime = rng.random(size) < 0.08
    hour = np.where(anytime | (hour < 0) | (hour >= 24), 24 * rng.random(size), hour)
    return np.asarray(hour / 24)


def texts(values: npt.NDArray[np.generic] | list[str]) -> Texts:
    """An array of Python strings."""
    array = np.empty(len(values), dtype=np.object_)
    array[:] = [str(value) for value in values]
    return array
