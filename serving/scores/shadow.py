"""The challenger on live traffic: a sample of the customers who are asked about is scored again, behind the answers."""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import structlog

from features.errors import FeaturesError
from features.schema import FeatureSchema
from models.errors import ModelsError
from models.inference.onnx_predictor import ChurnPredictor
from models.inference_log import SHADOW_SCORES, ShadowScore
from models.registry.model_bundle import ModelBundle
from models.registry.registered_model import RegisteredModel
from models.registry.registry import Registry
from serving.errors import ServingError
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings
from serving.releases.follower import Follower

_log = structlog.get_logger(__name__)

MOST_WAITING = 1_000
"""Customers who wait to be scored in the shadow; more are dropped, and counted."""
MOST_AT_ONCE = 100
MOST_BYTES = 64 * 1024 * 1024
"""Of one worker's file of one day: what comes after is dropped, and counted."""
PAUSE = 1.0
LOOK_EVERY = 30.0


@dataclass(frozen=True, slots=True)
class _Challenger:
    model: RegisteredModel
    bundle: ModelBundle
    schema: FeatureSchema
    predictor: ChurnPredictor


class Shadow:
    """Takes note of a share of the customers who were answered, and scores them by champion and challenger in a thread.

    Taking note costs a random number and an append; the thread reads features, scores, and writes a line of JSON for
    each customer into a file of this worker. Whatever goes wrong there is counted and logged, and never reaches an answer.

    Args:
        share: of the answered customers, 0 to 1.
    """

    def __init__(self, settings: Settings, follower: Follower, metrics: Metrics, share: float) -> None:
        self._share = share
        self._home = settings.state
        self._uri = settings.registry
        self._follower = follower
        self._metrics = metrics
        self._waiting: deque[str] = deque()
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._registry: Registry | None = None
        self._challenger: _Challenger | None = None
        self._champion: RegisteredModel | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def note(self, customer_id: str) -> None:
        """A customer was answered."""
        if random.random() >= self._share:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._metrics.shadow_dropped.inc()
            return
        self._waiting.append(customer_id)

    def start(self) -> None:
        """Begin to score what is noted."""
        self._thread.start()

    def stop(self) -> None:
        """End after what is being scored; what waits is dropped."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    def flush(self) -> int:
        """Score up to a hundred of those who wait; how many lines were written.

        Raises:
            ServingError, FeaturesError, ModelsError, OSError: nothing stands to score by, or to write to.
        """
        asked = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
        if not asked:
            return 0
        challenger, champion = self._challenger, self._champion
        release = self._follower.release
        if challenger is None or champion is None or champion.version != release.model_version:
            self._metrics.shadow_dropped.inc(len(asked))
            return 0
        wanted = list(dict.fromkeys(asked))
        rows = release.store.read(wanted)
        first = release.predictor.predict(rows.matrix(release.schema, release.bundle.categories)).tolist()
        second = challenger.predictor.predict(rows.matrix(challenger.schema, challenger.bundle.categories)).tolist()
        unknown = set(rows.unknown)
        at = datetime.now(UTC).isoformat()
        lines = [
            orjson.dumps(
                ShadowScore(
                    at=at,
                    customer_id=customer_id,
                    champion=champion.version,
                    champion_run=champion.run_id,
                    challenger=challenger.model.version,
                    challenger_run=challenger.model.run_id,
                    p_champion=p_champion,
                    p_challenger=p_challenger,
                )
            )
            for customer_id, p_champion, p_challenger in zip(wanted, first, second, strict=True)
            if customer_id not in unknown
        ]
        path = self._file()
        if path.exists() and path.stat().st_size > MOST_BYTES:
            self._metrics.shadow_dropped.inc(len(lines))
            return 0
        with path.open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
        self._metrics.shadow_scores.inc(len(lines))
        return len(lines)

    def look(self) -> None:
        """Take up the challenger that stands now; none where the newest version is the champion, or does not fit.

        Raises:
            FeaturesError, ModelsError: the home or the registry cannot be read.
        """
        release = self._follower.release
        if self._registry is None:
            self._registry = Registry(self._uri, release.generation.business)
        champion, model = self._registry.champion(), self._registry.challenger()
        self._champion = champion
        if model is None or champion is None or model.version == champion.version:
            self._challenger = None
            return
        if self._challenger is None or self._challenger.model.version != model.version:
            bundle = self._registry.load(model, self._home.path / "bundles")
            schema = FeatureSchema.from_json(bundle.schema).select(bundle.feature_names)
            predictor = ChurnPredictor(bundle.onnx, bundle.calibration)
            self._challenger = _Challenger(model, bundle, schema, predictor)
            _log.info("challenger scores in the shadow", version=model.version, share=self._share)

    def _run(self) -> None:
        waited = LOOK_EVERY
        while not self._stop.wait(PAUSE):
            waited += PAUSE
            try:
                if waited >= LOOK_EVERY and self._waiting:
                    waited = 0.0
                    self.look()
                self.flush()
            except (ServingError, FeaturesError, ModelsError, OSError) as error:
                self._metrics.shadow_failures.inc()
                _log.warning("shadow failed", reason=str(error))
            except Exception:
                # The thread must outlive whatever a single batch ran into.
                self._metrics.shadow_failures.inc()
                _log.exception("shadow failed")

    def _file(self) -> Path:
        folder = self._home.path / SHADOW_SCORES
        folder.mkdir(exist_ok=True)
        return folder / f"{datetime.now(UTC):%Y%m%d}-{self._worker}.jsonl"
