"""Following the newest build and the champion: a new release is made ready aside, and taken up by one assignment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from features.errors import FeaturesError, NoGeneration
from features.generation import Generation
from models.errors import ModelsError
from models.registry.registered_model import RegisteredModel
from models.registry.registry import PolicyRegistry, Registry
from serving.errors import NoRelease, ServingError
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings
from serving.releases.release import Release, ReleaseParts, release_key

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The build and the champion that stand now, not yet loaded."""

    generation: Generation
    champion: RegisteredModel
    policy: RegisteredModel | None = None
    """The champion of the learned policies."""

    @property
    def key(self) -> str:
        """The key of the release that this would be."""
        assert self.champion.scorecard is not None
        policy = None if self.policy is None else self.policy.version
        return release_key(self.generation.id, self.champion.version, self.champion.scorecard.version, policy)


class ReleaseSource:
    """Finds and loads what stands in a home: the live generation, and the registry's champion."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.state
        self._registry: Registry | None = None
        self._policies: PolicyRegistry | None = None
        self._generation: Generation | None = None

    def newest(self) -> Candidate:
        """What stands now; cheap enough to poll.

        Raises:
            NoRelease: nothing was built, or no model was promoted; says what to run.
            FeaturesError, ModelsError: the home or the registry cannot be read.
        """
        generation = self._live_generation()
        if self._registry is None:
            self._registry = Registry(self._settings.registry, generation.business)
        champion = self._registry.champion()
        if champion is None:
            raise NoRelease(
                "No model was promoted yet: run 'python -m training run CONFIG', then 'python -m training promote'."
            )
        if champion.scorecard is None:
            raise NoRelease(
                f"Model version {champion.version} has no scorecard: promote it with 'python -m training promote'."
            )
        if self._policies is None:
            self._policies = PolicyRegistry(self._settings.registry, generation.business)
        return Candidate(generation, champion, self._policies.champion())

    def load(self, candidate: Candidate) -> Release:
        """The release of a candidate, with an empty population.

        Raises:
            ReleaseMismatch: build and model do not fit.
            ModelsError: the model cannot be loaded.
        """
        assert self._registry is not None
        assert candidate.champion.scorecard is not None
        bundles = self._home.path / "bundles"
        bundle = self._registry.load(candidate.champion, bundles)
        policy = None
        if candidate.policy is not None:
            assert self._policies is not None
            policy = self._policies.load(candidate.policy, bundles)
            if not policy.is_of_churn:
                _log.warning(
                    "policy of another reward than churn: no decision is made by it", policy=candidate.policy.version
                )
        return Release.load(
            ReleaseParts(
                candidate.generation,
                candidate.champion.version,
                candidate.champion.scorecard,
                bundle,
                stale_after=self._settings.stale_after,
                policy=policy,
                policy_version=None if candidate.policy is None else candidate.policy.version,
            )
        )

    def _live_generation(self) -> Generation:
        if self._generation is None or self._generation.id != self._home.live:
            try:
                self._generation = Generation.current(self._home)
            except NoGeneration as error:
                raise NoRelease(str(error)) from None
        return self._generation


class Follower:
    """Keeps one release current in a background thread; readers take `release` once and stay with what they got.

    Args:
        populate: makes sure that the table of current scores is that of a release, and gives the release with its
            population; it may take long, and raises what the database raises.
    """

    def __init__(
        self,
        source: ReleaseSource,
        populate: Callable[[Release], Release],
        metrics: Metrics,
        poll_seconds: float,
    ) -> None:
        self._source = source
        self._populate = populate
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._release: Release | None = None
        self._reason = "The service has just started and is loading what stands."
        self._failed: str | None = None
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)

    @property
    def release(self) -> Release:
        """The release being served.

        Raises:
            NoRelease: there is none yet; says why.
        """
        release = self._release
        if release is None:
            raise NoRelease(self._reason)
        return release

    @property
    def failed(self) -> str | None:
        """Why the newest build or champion is not being served, None where it is."""
        return self._failed

    def start(self, patience: float = 0.0) -> None:
        """Begin to follow; wait up to `patience` seconds until it has looked once."""
        self._thread.start()
        self._looked.wait(patience)

    def stop(self) -> None:
        """Stop following, after what is being loaded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> bool:
        """Take up what stands now if it is not what is served; whether it was taken up.

        Raises:
            ServingError, FeaturesError, ModelsError: it cannot be; what was served stays.
        """
        candidate = self._source.newest()
        if self._release is not None and self._release.key == candidate.key:
            self._failed = None
            return False
        self._reason = "A model is being loaded."
        release = self._populate(self._source.load(candidate))
        self._release = release
        self._failed = None
        self._metrics.serve(
            release.generation.id,
            release.model_version,
            release.scorecard.version,
            release.generation.as_of,
            release.population.size,
        )
        _log.info("release taken up", release=release.key, customers=release.population.size)
        return True

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self.poll()
            except NoRelease as error:
                self._note(str(error), counts=False)
            except (ServingError, FeaturesError, ModelsError) as error:
                self._note(str(error), counts=True)
            except Exception as error:
                # The thread must outlive whatever a single poll ran into.
                _log.exception("release could not be taken up")
                self._note(f"Loading failed ({type(error).__name__}); the log has the cause.", counts=True)
            self._looked.set()
            self._stop.wait(self._poll_seconds)

    def _note(self, reason: str, *, counts: bool) -> None:
        if self._release is None:
            self._reason = reason
        if reason != self._failed:
            _log.warning("release not taken up", reason=reason)
            if counts:
                self._metrics.release_failures.inc()
        self._failed = reason
