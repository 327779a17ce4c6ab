"""A training run in MLflow: what went in, what came out, and the pictures; data only, never code."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from features.home import Home
from models.registry.mlflow_store import prepare_store, quiet_mlflow, reason_of
from models.registry.model_bundle import ModelBundle
from models.registry.moved_store import follow_home
from models.registry.policy_bundle import PolicyBundle
from models.registry.registry import PolicyRegistry, Registry
from training.errors import TrainingError
from training.tracking.flavor import describe
from training.tracking.system_metrics import SystemFigures

if TYPE_CHECKING:
    import pandas as pd

BUNDLE = "bundle"
PREDICTIONS = "predictions.parquet"
TEST_ROWS = "test_rows.parquet"
WORTH = "worth.json"
REPORT = "report.json"
SNAPSHOT = "snapshot.json"

_LOCK = Path(__file__).parents[2] / "requirements.lock"
_PARENT = "mlflow.parentRunId"
# MLflow refuses longer batches.
_MOST_METRICS = 1000
# MLflow refuses longer parameters.
_LONGEST_PARAMETER = 500
# So many rows show a schema.
_ENOUGH = 100


def git_commit() -> str | None:
    """The commit of the code that runs, with "-dirty" where it was changed since; None outside a repository."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def lock_fingerprint() -> str:
    """SHA-256 of the lock file; of the installed packages' versions where the code runs without one."""
    if _LOCK.exists():
        return hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    installed = sorted(f"{d.name}=={d.version}" for d in importlib.metadata.distributions())
    return hashlib.sha256("\n".join(installed).encode()).hexdigest()


def read_report(path: Path | None) -> dict[str, Any]:
    """A run's report, empty where there is none."""
    if path is None:
        return {}
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@dataclass(frozen=True, slots=True)
class RunArtifacts:
    """What a run leaves behind, beside its bundle: a folder of files, logged as it is."""

    folder: Path

    def write_json(self, name: str, content: object) -> None:
        """Write one JSON file."""
        path = self.folder / name
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write one file of text."""
        (self.folder / name).write_text(text)

    def write_table(self, name: str, table: Any) -> None:
        """Write one Arrow table as Parquet."""
        pq.write_table(table, self.folder / name)


class Tracker:
    """One business's runs: the experiment that is named as its model, `keepwell-<business>`.

    Nothing is opened before `start`.
    """

    def __init__(self, home: Home, experiment: str) -> None:
        self._home = home
        self._uri = home.tracking_uri
        self.experiment = experiment

    def start(self, params: Mapping[str, object], tags: Mapping[str, str | None]) -> TrackedRun:
        """A new run with its parameters, still running."""
        prepare_store(self._uri)
        client = self._client()
        with _translated(self._uri):
            experiment = self._experiment_id(client)
            run = client.create_run(experiment, tags=_run_tags())
            tracked = TrackedRun(client, str(run.info.run_id), self._uri)
            tracked.log_params(params)
            for name, value in tags.items():
                if value is not None:
                    client.set_tag(tracked.run_id, name, value)
        return tracked

    def artifact(self, run_id: str, name: str, folder: Path) -> Path | None:
        """One file of an earlier run, downloaded into `folder`; None where the run has none of that name."""
        client = self._client()
        from mlflow.exceptions import MlflowException

        try:
            listed = {entry.path for entry in client.list_artifacts(run_id)}
            return Path(client.download_artifacts(run_id, name, str(folder))) if name in listed else None
        except (MlflowException, OSError):
            return None

    def started(self, run_id: str) -> int:
        """When a run began, in milliseconds since 1970; 0 where there is none."""
        from mlflow.exceptions import MlflowException

        try:
            return int(self._client().get_run(run_id).info.start_time)
        except MlflowException:
            return 0

    def find(self, prefix: str) -> str | None:
        """The id of the one run of this experiment whose id or name begins so; None where there is none, or several."""
        client = self._client()
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None or not prefix:
            return None
        token: str | None = None
        found: list[str] = []
        while True:
            page = client.search_runs([experiment.experiment_id], page_token=token)
            found += [
                str(run.info.run_id)
                for run in page
                if str(run.info.run_id).startswith(prefix) or str(run.info.run_name or "") == prefix
            ]
            token = page.token
            if not token:
                break
        return found[0] if len(found) == 1 else None

    def _client(self) -> Any:
        quiet_mlflow(self._uri)
        follow_home(self._uri)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def _experiment_id(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            # A server knows where its artifacts go; a database in this home keeps them beside it.
            local = not self._uri.startswith(("http://", "https://", "databricks"))
            location = (self._home.mlflow / "artifacts" / self.experiment).as_uri() if local else None
            try:
                return str(client.create_experiment(self.experiment, artifact_location=location))
            except MlflowException:
                found = client.get_experiment_by_name(self.experiment)  # another run was faster
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


class TrackedRun:
    """A run that is being written; `finish` or `fail` ends it."""

    def __init__(self, client: Any, run_id: str, uri: str) -> None:
        self._client = client
        self._uri = uri
        self.run_id = run_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log parameters, each cut to what MLflow takes."""
        from mlflow.entities import Param

        with _translated(self._uri):
            self._client.log_batch(
                self.run_id, params=[Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in params.items()]
            )

    def log_metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Log figures; those that are not defined are left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        known = {name: value for name, value in metrics.items() if value is not None}
        with _translated(self._uri):
            self._client.log_batch(
                self.run_id, metrics=[Metric(name, float(value), now, 0) for name, value in known.items()]
            )

    def log_folder(self, folder: Path) -> None:
        """Log a folder's files at the root of the run's artifacts."""
        with _translated(self._uri):
            self._client.log_artifacts(self.run_id, str(folder))

    def log_dataset(self, name: str, rows: pd.DataFrame, outcome: str, fingerprint: str, source: str, use: str) -> None:
        """Log the rows that were used, by `mlflow.data`: their schema, number, fingerprint and source, not themselves.

        MLflow takes datasets of one name and digest for one, so the use is in the name.

        Args:
            outcome: the column that was to be predicted.
            use: "training" or "testing".
        """
        from mlflow.data.pandas_dataset import from_pandas
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = {"num_rows": len(rows), "num_elements": rows.size}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints on integer columns and local sources
            # MLflow takes digests of up to 36 characters.
            dataset = from_pandas(
                _typical(rows), source=source, targets=outcome, name=f"{name}-{use}", digest=fingerprint[:32]
            )
            entity = Dataset(**{**dataset.to_dict(), "profile": json.dumps(profile)})
        with _translated(self._uri):
            self._client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", use)])])

    def log_trials(self, trials: Sequence[TrackedTrial]) -> None:
        """Log the trials of a search as nested runs, in their order, each ended."""
        from mlflow.entities import Metric, Param

        with _translated(self._uri):
            parent = self._client.get_run(self.run_id).info
            for number, trial in enumerate(trials):
                began = int(parent.start_time if trial.began is None else trial.began.timestamp() * 1000)
                run = self._client.create_run(
                    parent.experiment_id,
                    start_time=began,
                    run_name=f"trial {number}",
                    tags={_PARENT: self.run_id, **_run_tags()},
                )
                self._client.log_batch(
                    run.info.run_id,
                    metrics=[Metric(name, float(value), began, 0) for name, value in trial.metrics.items()],
                    params=[Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in trial.parameters.items()],
                )
                ended = began + int(1000 * trial.seconds)
                self._client.set_terminated(run.info.run_id, "FINISHED" if trial.finished else "KILLED", ended)

    def log_system(self, figures: Sequence[SystemFigures]) -> None:
        """Log what the machine did meanwhile, under MLflow's own names of system metrics."""
        from mlflow.entities import Metric

        metrics = [
            Metric(f"system/{name}", float(value), one.at, step)
            for step, one in enumerate(figures)
            for name, value in one.figures.items()
        ]
        with _translated(self._uri):
            for start in range(0, len(metrics), _MOST_METRICS):
                self._client.log_batch(self.run_id, metrics=metrics[start : start + _MOST_METRICS])

    def log_bundle(self, bundle: ModelBundle | PolicyBundle) -> None:
        """Log a bundle as the folder that the registry loads; a churn model with its signature and an input example."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / BUNDLE
            bundle.save(path)
            if isinstance(bundle, ModelBundle):
                describe(bundle, path, BUNDLE, self.run_id)
            with _translated(self._uri):
                self._client.log_artifacts(self.run_id, str(path), BUNDLE)

    def finish(self) -> None:
        """End the run as done."""
        with _translated(self._uri):
            self._client.set_terminated(self.run_id, "FINISHED")

    def fail(self) -> None:
        """End the run as failed, if that can be recorded: what it failed of is what its caller should hear."""
        with contextlib.suppress(Exception):
            self._client.set_terminated(self.run_id, "FAILED")

    def register(self, registry: Registry | PolicyRegistry, bundle: ModelBundle | PolicyBundle) -> str:
        """Make the logged bundle the business's newest version, alias `challenger`; return its number."""
        return registry.register(self.run_id, BUNDLE, bundle_hash=bundle.hash).version


def environment_tags() -> dict[str, str | None]:
    """What made this run: commit, lock, versions."""
    return {
        "git_commit": git_commit(),
        "lock_fingerprint": lock_fingerprint(),
        "python": platform.python_version(),
        "lightgbm": importlib.metadata.version("lightgbm"),
        "keepwell": importlib.metadata.version("keepwell"),
    }


@dataclass(frozen=True, slots=True)
class TrackedTrial:
    """One trial of a search, as a nested run shows it; `began` defaults to the parent's start."""

    parameters: Mapping[str, object]
    metrics: Mapping[str, float]
    seconds: float = 0.0
    finished: bool = True
    """False where it was given up before its end."""
    began: datetime | None = None


def _typical(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the same schema, few enough for MLflow, which looks at each word: the first of all, and of each column's nulls."""
    null = rows.isna()
    first = {int(null[name].to_numpy().argmax()) for name in rows.columns if null[name].any()}
    return rows.iloc[sorted(first | set(range(min(len(rows), _ENOUGH))))]


def _run_tags() -> dict[str, str]:
    """What MLflow's own runs carry: who ran what."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    commit = git_commit()
    tags = {"mlflow.user": user, "mlflow.source.name": "python -m training", "mlflow.source.type": "LOCAL"}
    return tags if commit is None else {**tags, "mlflow.source.git.commit": commit.removesuffix("-dirty")}


class _translated:  # reads as a statement: with _translated(uri)
    """Says a store's own errors in one sentence."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from mlflow.exceptions import MlflowException

        if isinstance(error, (MlflowException, OSError)):
            raise TrainingError(
                f"The run cannot be tracked in {self._uri.split('@')[-1]}: {reason_of(error)}"
            ) from error
