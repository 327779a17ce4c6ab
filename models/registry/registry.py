"""Models in and out of MLflow's registry, where one alias says which version serves."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import sqlalchemy

from models.errors import BundleError, RegistryError, RegistryUnavailable
from models.registry.champion_cache import ChampionCache
from models.registry.mlflow_store import (
    over_http,
    prepare_store,
    quiet_mlflow,
    reason_of,
    sqlite_file,
    store_exists,
    without_password,
)
from models.registry.model_bundle import ModelBundle
from models.registry.moved_store import follow_home
from models.registry.policy_bundle import PolicyBundle
from models.registry.registered_model import RegisteredModel
from models.scorecard import Scorecard

CHAMPION = "champion"
CHALLENGER = "challenger"

_SCORECARD = "scorecard"
_PREVIOUS = "previous_champion"
_ARTIFACT_PATH = "artifact_path"
_BUNDLE_HASH = "bundle_hash"
_LEAST_ROOM = 4 * 2**20
"""Bytes that a disk has left that is not full, or as good as that."""

Bundle = TypeVar("Bundle", ModelBundle, PolicyBundle)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]*\Z")
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST"})
_NO_ANSWER = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})
# Also what MLflow calls a server that it cannot reach.
_NO_ANSWER_OVER_HTTP = _NO_ANSWER | {"INTERNAL_ERROR"}


class _Versions(Generic[Bundle]):
    """The versions of one registered model; the alias `champion` is the only switch.

    Nothing is opened or created before the first call. It may be used from several threads.

    Args:
        tracking_uri: MLflow's tracking and registry store: a SQLAlchemy URL or an HTTP server.

    Raises:
        RegistryError: the business's name cannot name a model.
    """

    _suffix: ClassVar[str]
    _command: ClassVar[str]
    """What registers the first version."""

    def __init__(self, tracking_uri: str, business: str) -> None:
        if not _NAME.match(business):
            raise RegistryError(
                f"The business '{business}' cannot name a model: use letters, digits, '.', '_' and '-'."
            )
        self.tracking_uri = tracking_uri
        self.model_name = f"keepwell-{business}{self._suffix}"
        self._opened: Any = None
        self._cache = ChampionCache(
            sqlite_file(tracking_uri), self.model_name, RegisteredModel.to_json, RegisteredModel.of_json
        )

    def champion(self) -> RegisteredModel | None:
        """The version that serves, or None before the first promotion; cheap enough to poll, and creates nothing.

        Raises:
            RegistryUnavailable: the registry does not answer.
        """
        if not store_exists(self.tracking_uri):
            return None
        return self._cache.champion(lambda: self._by_alias(CHAMPION))

    def challenger(self) -> RegisteredModel | None:
        """The version that the newest training run registered, or None before the first."""
        return self._by_alias(CHALLENGER)

    def version(self, version: str | int) -> RegisteredModel:
        """One version.

        Raises:
            RegistryError: there is no such version.
        """
        missing = f"{self.model_name} has no version {version}"
        if not store_exists(self.tracking_uri) or not str(version).isdecimal():
            raise RegistryError(f"{missing}: see `{self._command}`.")
        with self._translated(missing):
            return self._model(self._client().get_model_version(self.model_name, str(version)))

    def history(self) -> tuple[RegisteredModel, ...]:
        """All versions, the newest first."""
        if not store_exists(self.tracking_uri):
            return ()
        versions: list[Any] = []
        token: str | None = None
        with self._translated(f"The versions of {self.model_name} cannot be listed"):
            while True:
                page = self._client().search_model_versions(f"name = '{self.model_name}'", page_token=token)
                versions.extend(page)
                token = page.token
                if not token:
                    break
        return tuple(sorted((self._model(version) for version in versions), key=lambda m: int(m.version), reverse=True))

    def register(
        self, run_id: str, artifact_path: str = "bundle", *, bundle_hash: str | None = None
    ) -> RegisteredModel:
        """Make a run's logged bundle the newest version, under the alias `challenger`.

        Args:
            run_id: the MLflow run that logged the bundle.
            artifact_path: the folder within the run's artifacts that `ModelBundle.save` wrote.
            bundle_hash: `ModelBundle.hash`, checked at every `load`.

        Raises:
            RegistryError: there is no such run.
        """
        prepare_store(self.tracking_uri)
        follow_home(self.tracking_uri)
        tags = {_ARTIFACT_PATH: artifact_path} | ({_BUNDLE_HASH: bundle_hash} if bundle_hash else {})
        with self._translated(f"Run {run_id} cannot be registered as {self.model_name}"):
            client = self._client()
            source = f"{client.get_run(run_id).info.artifact_uri.rstrip('/')}/{artifact_path}"
            try:
                client.get_registered_model(self.model_name)
            except Exception as error:
                if _code(error) not in _ABSENT:
                    raise
                client.create_registered_model(self.model_name)
            created = client.create_model_version(self.model_name, source, run_id=run_id, tags=tags)
            client.set_registered_model_alias(self.model_name, CHALLENGER, created.version)
            return self._model(client.get_model_version(self.model_name, created.version))

    def promote(self, version: str | int, scorecard: Scorecard | None) -> RegisteredModel:
        """Make `version` the champion, scoring health by `scorecard`; a policy has none.

        What the version needs is written first and the alias moves last, so that a reader, or a kill, sees the old
        champion or the new one with all that belongs to it.

        Raises:
            RegistryError: there is no such version.
        """
        model = self.version(version)
        champion = self.champion()
        with self._translated(f"Version {version} of {self.model_name} cannot be promoted"):
            client = self._client()
            if champion is None:
                if model.previous is not None:
                    client.delete_model_version_tag(self.model_name, model.version, _PREVIOUS)
            elif champion.version != model.version:
                client.set_model_version_tag(self.model_name, model.version, _PREVIOUS, champion.version)
            if scorecard is not None and model.scorecard != scorecard:
                client.set_model_version_tag(self.model_name, model.version, _SCORECARD, scorecard.to_json())
            if champion is None or champion.version != model.version:
                client.set_registered_model_alias(self.model_name, CHAMPION, model.version)
        return self._new_champion(version)

    def tag(self, version: str | int, tags: Mapping[str, str]) -> None:
        """Write on a version what people should know of it; none of it changes what is served.

        Raises:
            RegistryError: there is no such version.
        """
        with self._translated(f"Version {version} of {self.model_name} cannot be tagged"):
            for name, value in tags.items():
                self._client().set_model_version_tag(self.model_name, str(version), name, value)

    def rollback(self) -> RegisteredModel:
        """Make the version that served before the champion serve again, by its own scorecard.

        Raises:
            RegistryError: nothing serves, or nothing served before.
        """
        champion = self.champion()
        if champion is None:
            raise RegistryError(f"{self.model_name} has no champion to roll back: promote a version first.")
        if champion.previous is None:
            raise RegistryError(
                f"Version {champion.version} is the first champion of {self.model_name}: there is none to go back to."
            )
        target = self.version(champion.previous)
        with self._translated(f"{self.model_name} cannot be rolled back to version {target.version}"):
            self._client().set_registered_model_alias(self.model_name, CHAMPION, target.version)
        return self._new_champion(target.version)

    def _new_champion(self, version: str | int) -> RegisteredModel:
        """The version that was just made champion; a server that starts next need not ask MLflow for it."""
        self._cache.settle()
        self.champion()
        return self.version(version)

    def load(self, version: str | int | RegisteredModel, cache_dir: Path) -> Bundle:
        """The bundle of a version, verified; downloaded into `cache_dir` unless a whole copy is there.

        Raises:
            RegistryError: there is no such version, or its artifact is gone.
            RegistryUnavailable: the registry does not answer.
            BundleError: the artifact is damaged, or not what was registered.
        """
        model = version if isinstance(version, RegisteredModel) else self.version(version)
        copy = cache_dir / f"{self.model_name}-{model.version}-{model.run_id}"
        try:
            return self._verified(copy, model)
        except BundleError:
            # Absent, or a damaged copy: the artifact itself decides.
            self._download(model, copy)
            return self._verified(copy, model)

    def _download(self, model: RegisteredModel, copy: Path) -> None:
        """Put the version's artifact into place as `copy`, whole."""
        aside = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}")
        failed = f"The bundle of version {model.version} of {self.model_name} cannot be downloaded"
        try:
            with self._translated(failed):
                follow_home(self.tracking_uri)
                self._client()
                from mlflow.artifacts import download_artifacts

                aside.mkdir(parents=True)
                downloaded = Path(
                    download_artifacts(
                        run_id=model.run_id,
                        artifact_path=model.artifact_path,
                        dst_path=str(aside),
                        tracking_uri=self.tracking_uri,
                    )
                )
            self._verified(downloaded, model)
            if copy.exists():
                copy.rename(aside / "damaged")
            try:
                downloaded.rename(copy)
            except OSError:
                # Another process was faster; what it put there is verified by the caller.
                if not copy.exists():
                    raise
        except OSError as error:
            raise RegistryError(f"{failed}: {error}.") from error
        except RegistryError as error:
            # MLflow asks whether the path is right, whatever kept it from writing.
            if copy.parent.exists() and shutil.disk_usage(copy.parent).free < _LEAST_ROOM:
                raise RegistryError(f"{failed}: the disk is full.") from error
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @staticmethod
    def _load(path: Path) -> Bundle:
        """What was saved in a folder, verified against its own hash."""
        raise NotImplementedError

    def _verified(self, path: Path, model: RegisteredModel) -> Bundle:
        bundle = self._load(path)
        if model.bundle_hash is not None and bundle.hash != model.bundle_hash:
            raise BundleError(
                f"The bundle in {path} is not what was registered as version {model.version}: "
                f"its hash is {bundle.hash[:12]}, not {model.bundle_hash[:12]}."
            )
        return bundle

    def _by_alias(self, alias: str) -> RegisteredModel | None:
        if not store_exists(self.tracking_uri):
            return None
        with self._translated(f"The {alias} of {self.model_name} cannot be read"):
            try:
                return self._model(self._client().get_model_version_by_alias(self.model_name, alias))
            except Exception as error:
                if _code(error) in _ABSENT or (_code(error) == "INVALID_PARAMETER_VALUE" and "not found" in str(error)):
                    return None
                raise

    def _model(self, version: Any) -> RegisteredModel:
        tags: dict[str, str] = version.tags
        scorecard = tags.get(_SCORECARD)
        return RegisteredModel(
            name=self.model_name,
            version=str(version.version),
            run_id=str(version.run_id),
            artifact_path=tags.get(_ARTIFACT_PATH, "bundle"),
            bundle_hash=tags.get(_BUNDLE_HASH),
            scorecard=None if scorecard is None else Scorecard.from_json(scorecard),
            previous=tags.get(_PREVIOUS),
            aliases=frozenset(version.aliases),
            registered_at=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
        )

    def _client(self) -> Any:
        if self._opened is None:
            quiet_mlflow(self.tracking_uri)
            from mlflow import MlflowClient

            self._opened = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        return self._opened

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Raise MLflow's errors as ours; `what` is the start of the sentence."""
        try:
            yield
        except (RegistryError, BundleError):
            raise
        except Exception as error:
            code = _code(error)
            unreachable = code is None and isinstance(error, (sqlalchemy.exc.OperationalError, ConnectionError))
            if unreachable or code in (_NO_ANSWER_OVER_HTTP if over_http(self.tracking_uri) else _NO_ANSWER):
                raise RegistryUnavailable(
                    f"The model registry at {without_password(self.tracking_uri)} does not answer."
                ) from error
            if code is None and not isinstance(error, (OSError, sqlalchemy.exc.SQLAlchemyError)):
                raise
            raise RegistryError(f"{what}: {reason_of(error)}") from error


class Registry(_Versions[ModelBundle]):
    """The versions of `keepwell-<business>`, the churn model."""

    _suffix = ""
    _command = "python -m training run"

    @staticmethod
    def _load(path: Path) -> ModelBundle:
        return ModelBundle.load(path)


class PolicyRegistry(_Versions[PolicyBundle]):
    """The versions of `keepwell-<business>-policy`: learned effects and what they are proven good for."""

    _suffix = "-policy"
    _command = "python -m training policy"

    @staticmethod
    def _load(path: Path) -> PolicyBundle:
        return PolicyBundle.load(path)


def _code(error: Exception) -> str | None:
    """MLflow's error code, None for anything that MLflow did not raise."""
    return getattr(error, "error_code", None)
