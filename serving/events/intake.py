"""What comes in live, on its way to the log: for a business that has one, counted."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence

from features.errors import DatabaseUnavailable, HomeError
from features.event_log.log import EventLog, Verdict
from features.generation import Generation
from features.home import Home
from serving.errors import NoEventLog, NoRelease
from serving.platform.metrics import Metrics


class Intake:
    """The log of one business's live events, and the books on what came in."""

    def __init__(self, home: Home, log: EventLog, metrics: Metrics) -> None:
        self._home = home
        self._log = log
        self._metrics = metrics
        self._asked: str | None = None
        """The build of which the kind of business was asked last."""
        self._has_log = False

    def start(self) -> None:
        """Make the log ready, if it can be now: scores are answered without it, and the first events try again."""
        with contextlib.suppress(DatabaseUnavailable):
            self._log.prepare()

    def stop(self) -> None:
        """Give back all connections."""
        self._log.close()

    def take(self, said: Sequence[object]) -> tuple[Verdict, ...]:
        """Put events, as JSON values, into the log: a verdict for each, in order, all of them durable.

        Raises:
            NoEventLog: the business is a table.
            NoRelease: nothing was built yet, so that nobody knows what it is.
            DatabaseUnavailable: none of them was taken.
        """
        self._refuse_tables()
        verdicts = self._log.append(said)
        for status, count in Counter(verdict.status for verdict in verdicts).items():
            self._metrics.events.labels(status.value).inc(count)
        return verdicts

    def _refuse_tables(self) -> None:
        live = self._home.live
        if live is None or live != self._asked:
            try:
                self._has_log = Generation.current(self._home).kind == "events"
            except HomeError:
                raise NoRelease("Nothing that can be read was built here yet: events come after a build.") from None
            self._asked = live
        if not self._has_log:
            raise NoEventLog
