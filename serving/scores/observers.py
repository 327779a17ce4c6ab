"""Who hears of every score that is answered: metrics, the history, and the challenger in the shadow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from features.errors import UnknownCustomer
from serving.platform.metrics import Metrics
from serving.scores.history import ScoreHistory
from serving.scores.scorer import CustomerScore, Explain
from serving.scores.shadow import Shadow


@dataclass(frozen=True, slots=True)
class ScoreObservers:
    """Told of answers without ever making one wait; from any thread."""

    metrics: Metrics
    history: ScoreHistory
    shadow: Shadow | None = None
    """None where no share of the answers is scored by the challenger too."""

    def start(self) -> None:
        """Begin to keep what is heard."""
        self.history.start()
        if self.shadow is not None:
            self.shadow.start()

    def stop(self) -> None:
        """Keep what waits, and end."""
        if self.shadow is not None:
            self.shadow.stop()
        self.history.stop()

    def note(self, result: CustomerScore | UnknownCustomer) -> None:
        """A caller was given this score, or told that there is none."""
        if isinstance(result, UnknownCustomer):
            self.metrics.unknown_customers.inc()
            return
        self.history.note(
            result.customer_id, result.probability, result.score, result.model_version, result.scorecard_version
        )
        self.count(result.customer_id, result.explain, result.degraded)

    def count(self, customer_id: str, explain: Explain, degraded: Sequence[str]) -> None:
        """A caller was given a score that the history was told of already."""
        self.metrics.count_score(explain.value, degraded)
        if self.shadow is not None:
            self.shadow.note(customer_id)
