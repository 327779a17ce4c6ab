"""What the machine did while a model was trained, in MLflow's own system metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.registry.mlflow_store import quiet_mlflow


@dataclass(frozen=True, slots=True)
class SystemFigures:
    """What the machine did at a moment, in milliseconds since 1970."""

    at: int
    figures: Mapping[str, float]


class SystemWatch:
    """Samples processor, memory, disk and network in a thread, as MLflow's system metrics, while the context lasts.

    A run is only opened once there is something to track: until then the figures are kept here.
    """

    def __init__(self, uri: str, every: float = 5.0) -> None:
        self._uri = uri
        self._every = every
        self._monitors: list[Any] = []
        self._found: list[SystemFigures] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="system-figures", daemon=True)

    def __enter__(self) -> SystemWatch:
        # Imported here and not in the thread: other libraries look into modules that are only half imported.
        quiet_mlflow(self._uri)
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def figures(self) -> tuple[SystemFigures, ...]:
        """The samples so far, oldest first."""
        return tuple(self._found)

    def _sample(self) -> None:
        while True:
            figures: dict[str, float] = {}
            for monitor in self._monitors:
                monitor.collect_metrics()
                figures |= monitor.aggregate_metrics()
                monitor.clear_metrics()
            self._found.append(SystemFigures(int(time.time() * 1000), figures))
            if self._stop.wait(self._every):
                return
