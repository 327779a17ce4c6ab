"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.platform.workers import SHARED_FIGURES

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class _OfAllWorkers(Collector):
    """Our figures, added up over the workers who count in `folder`."""

    def __init__(self, folder: str) -> None:
        self._everything = MultiProcessCollector(None, path=folder)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        # Feast counts in the same folder.
        metrics: Iterable[Metric] = self._everything.collect()  # type: ignore[no-untyped-call]
        return [metric for metric in metrics if metric.name.startswith("keepwell_")]


class Metrics:
    """The counters of one app, in a registry of its own; with several workers, added up over all of them at the scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "keepwell_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "keepwell_http_request_seconds", "Time to answer.", ("method", "route"), buckets=_SECONDS, registry=registry
        )
        self.scores = Counter("keepwell_scores", "Customers scored over HTTP.", ("explain",), registry=registry)
        self.degraded = Counter(
            "keepwell_degraded_scores", "Scores answered as degraded.", ("code",), registry=registry
        )
        remembered = Counter(
            "keepwell_remembered_scores",
            "Scores of the short way, by whether the answer was remembered from an earlier request.",
            ("remembered",),
            registry=registry,
        )
        self._remembered = {known: remembered.labels(str(known).lower()) for known in (False, True)}
        self.unknown_customers = Counter(
            "keepwell_unknown_customers", "Customers asked for whom nobody knows.", registry=registry
        )
        self.events = Counter(
            "keepwell_events", "Events that came in, by what became of them.", ("status",), registry=registry
        )
        self.dropped_scores = Counter(
            "keepwell_dropped_score_history", "Scores that were told, but could not be kept.", registry=registry
        )
        self.shed = Counter(
            "keepwell_requests_shed", "Requests refused because they would have waited.", registry=registry
        )
        self.shadow_scores = Counter(
            "keepwell_shadow_scores", "Customers scored by the challenger behind an answer.", registry=registry
        )
        self.shadow_dropped = Counter(
            "keepwell_shadow_dropped", "Customers noted for the challenger and not scored.", registry=registry
        )
        self.shadow_failures = Counter(
            "keepwell_shadow_failures", "Batches that the challenger could not score.", registry=registry
        )
        self.releases = Counter("keepwell_release_loads", "Releases taken up.", registry=registry)
        self.release_failures = Counter(
            "keepwell_release_failures", "Releases that could not be taken up; the old one stays.", registry=registry
        )
        self._release = Gauge(
            "keepwell_release",
            "1 for the release being served.",
            ("generation", "model_version", "scorecard_version"),
            registry=registry,
            multiprocess_mode="max",
        )
        self._as_of = Gauge(
            "keepwell_features_as_of_seconds",
            "Moment of the features being served, in Unix seconds.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._population = Gauge(
            "keepwell_population_customers",
            "Customers in the current population.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._age = Gauge(
            "keepwell_feature_age_seconds",
            "Age of the features being served.",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        # Looking a labelled counter up costs more than counting.
        self._scores: dict[str, Counter] = {}
        self._requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._moment: datetime | None = None
        self._labels: tuple[str, str, str] | None = None

    def serve(
        self, generation: str, model_version: str, scorecard_version: str, as_of: datetime, customers: int
    ) -> None:
        """Say which release is being served from now on."""
        labels = (generation, model_version, scorecard_version)
        if self._labels is not None and self._labels != labels:
            self._release.labels(*self._labels).set(0)
        self._release.labels(*labels).set(1)
        self._labels = labels
        self._moment = as_of
        self._as_of.set(as_of.timestamp())
        self._population.set(customers)
        self.releases.inc()

    def count_score(self, explain: str, degraded: Sequence[str]) -> None:
        """A customer was scored."""
        of_kind = self._scores.get(explain)
        if of_kind is None:
            of_kind = self._scores[explain] = self.scores.labels(explain)
        of_kind.inc()
        for code in degraded:
            self.degraded.labels(code).inc()

    def count_remembered(self, known: bool) -> None:
        """A customer's score was remembered, or had to be made."""
        self._remembered[known].inc()

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = (method, route, status)
        counted = self._requests.get(key)
        if counted is None:
            counted = self._requests[key] = (
                self.requests.labels(method, route, str(status)),
                self.request_seconds.labels(method, route),
            )
        counted[0].inc()
        counted[1].observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        if self._moment is not None:
            self._age.set((datetime.now(UTC) - self._moment).total_seconds())
        folder = os.environ.get(SHARED_FIGURES)
        if folder is None:
            return generate_latest(self._registry)
        of_all = CollectorRegistry()
        of_all.register(_OfAllWorkers(folder))
        return generate_latest(of_all)
