"""The registry, against a real MLflow on SQLite."""

from __future__ import annotations

import gc
import itertools
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import sqlalchemy

from models.errors import BundleError, RegistryError, RegistryUnavailable
from models.registry.mlflow_store import prepare_store, store_exists
from models.registry.model_bundle import ModelBundle
from models.registry.registered_model import RegisteredModel
from models.registry.registry import Registry
from models.scorecard import Scorecard

# Noise of MLflow and of what it imports, none of it ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CARD = Scorecard("1", 0.3, 9.0)
_names = (f"shop-{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "mlflow"
    prepare_store(uri(folder))
    client = mlflow.MlflowClient(uri(folder))
    client.create_experiment("tests", artifact_location=str(folder / "artifacts"))
    return folder


@pytest.fixture
def registry(home: Path) -> Registry:
    return Registry(uri(home), next(_names))


MakeBundle = Callable[..., ModelBundle]
Train = Callable[..., RegisteredModel]


@pytest.fixture
def train(home: Path, registry: Registry, make_bundle: MakeBundle, tmp_path: Path) -> Train:
    """Log a bundle in a run of its own and register it."""

    def trained(**changes: object) -> RegisteredModel:
        client = mlflow.MlflowClient(uri(home))
        experiment = client.get_experiment_by_name("tests")
        assert experiment is not None
        run = client.create_run(experiment.experiment_id)
        bundle = make_bundle(**changes)
        folder = tmp_path / run.info.run_id
        bundle.save(folder)
        client.log_artifacts(run.info.run_id, str(folder), "bundle")
        return registry.register(run.info.run_id, bundle_hash=bundle.hash)

    return trained


def uri(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def test_a_home_without_a_run_has_no_models_and_gets_no_database_by_asking(tmp_path: Path) -> None:
    registry = Registry(uri(tmp_path / "mlflow"), "acme")
    assert registry.champion() is None
    assert registry.challenger() is None
    assert registry.history() == ()
    with pytest.raises(RegistryError, match="has no version 1"):
        registry.version(1)
    with pytest.raises(RegistryError, match="promote a version first"):
        registry.rollback()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_registry_has_no_champion(registry: Registry) -> None:
    assert registry.champion() is None
    assert registry.history() == ()
    with pytest.raises(RegistryError, match="has no version 3"):
        registry.version(3)
    with pytest.raises(RegistryError, match="has no version x"):
        registry.version("x")


def test_registering_makes_a_challenger_and_no_champion(registry: Registry, train: Train) -> None:
    first = train()
    second = train(horizon_days=30)
    assert (first.version, second.version) == ("1", "2")
    challenger = registry.challenger()
    assert challenger is not None
    assert challenger.version == "2"
    assert challenger.aliases == {"challenger"}
    assert challenger.name == registry.model_name
    assert registry.champion() is None
    assert [m.version for m in registry.history()] == ["2", "1"]


def test_a_run_that_does_not_exist_cannot_be_registered(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="Run nosuchrun cannot be registered"):
        registry.register("nosuchrun")


def test_promote_and_roll_back_along_the_chain(registry: Registry, train: Train) -> None:
    for days in (30, 60, 90):
        train(horizon_days=days)
    with pytest.raises(RegistryError, match="promote a version first"):
        registry.rollback()
    assert registry.promote("1", CARD).previous is None
    with pytest.raises(RegistryError, match="first champion"):
        registry.rollback()
    registry.promote(2, CARD)
    other = Scorecard("2", 0.2, 8.0)
    third = registry.promote("3", other)
    assert (third.previous, third.scorecard, "champion" in third.aliases) == ("2", other, True)
    assert registry.champion() == third

    back = registry.rollback()
    assert (back.version, back.scorecard) == ("2", CARD)
    champion = registry.champion()
    assert champion is not None
    assert champion.version == "2"
    assert registry.rollback().version == "1"
    with pytest.raises(RegistryError, match="first champion"):
        registry.rollback()
    with pytest.raises(RegistryError, match="has no version 9"):
        registry.promote(9, CARD)


def test_promoting_the_champion_again_gives_it_a_scorecard_but_no_way_back_to_itself(
    registry: Registry, train: Train
) -> None:
    train()
    train(horizon_days=30)
    registry.promote(1, CARD)
    registry.promote(2, CARD)
    again = registry.promote(2, Scorecard("2", 0.1))
    assert (again.previous, again.scorecard) == ("1", Scorecard("2", 0.1))


def test_every_reader_sees_a_champion_with_its_own_scorecard_and_predecessor(
    registry: Registry, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias moves last: whatever the moment of a kill, the champion is whole."""
    train()
    train(horizon_days=30)
    registry.promote(1, CARD)
    new = Scorecard("2", 0.1)
    client = registry._client()
    seen = []
    for call in ("set_model_version_tag", "delete_model_version_tag", "set_registered_model_alias"):
        original = getattr(client, call)

        def watched(*args: object, original: Callable[..., object] = original) -> None:
            seen.append(registry.champion())
            original(*args)
            seen.append(registry.champion())

        monkeypatch.setattr(client, call, watched)
    registry.promote(2, new)
    states = [(m.version, m.scorecard, m.previous) for m in seen if m is not None]
    assert len(states) == len(seen) == 6
    assert set(states) == {("1", CARD, None), ("2", new, "1")}
    assert states == sorted(states, key=lambda state: state[0])


def test_load_verifies_caches_and_repairs(home: Path, registry: Registry, train: Train, tmp_path: Path) -> None:
    version = train(horizon_days=45).version
    cache = tmp_path / "cache"
    bundle = registry.load(version, cache)
    assert bundle.horizon_days == 45
    (copy,) = cache.iterdir()
    inode = copy.stat().st_ino
    assert registry.load(version, cache) == bundle
    assert copy.stat().st_ino == inode, "the copy is used again"

    (copy / "model.txt").write_text("cut off")
    assert registry.load(version, cache) == bundle
    assert [path.name for path in cache.iterdir()] == [copy.name], "nothing is left lying about"

    run = registry.version(version).run_id
    artifact = home / "artifacts" / run / "artifacts" / "bundle"
    (artifact / "model.onnx").write_bytes(b"changed")
    assert registry.load(version, cache) == bundle, "what is loaded and verified stays good"
    with pytest.raises(BundleError, match="changed after training"):
        registry.load(version, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_bundle_that_is_not_the_registered_one_is_refused(
    home: Path, registry: Registry, train: Train, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    model = train()
    artifact = home / "artifacts" / model.run_id / "artifacts" / "bundle"
    artifact.rename(artifact.with_name("old"))
    make_bundle(horizon_days=7).save(artifact)
    with pytest.raises(BundleError, match="not what was registered"):
        registry.load(model.version, tmp_path / "cache")


def test_an_artifact_that_is_gone_is_one_sentence(home: Path, registry: Registry, train: Train, tmp_path: Path) -> None:
    model = train()
    (home / "artifacts" / model.run_id).rename(home / "gone")
    with pytest.raises(RegistryError, match="cannot be downloaded"):
        registry.load(model.version, tmp_path / "cache")


def test_a_full_disk_is_said_to_be_that(
    registry: Registry, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(**_: object) -> str:
        raise mlflow.MlflowException("Please ensure that the path is correct.")

    model = train()
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", download)
    with pytest.raises(RegistryError, match="cannot be downloaded: Please ensure"):
        registry.load(model, tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(RegistryError, match=r"cannot be downloaded: the disk is full\.$"):
        registry.load(model, tmp_path / "cache")


def test_polling_is_cheap_and_does_not_leak(registry: Registry, train: Train) -> None:
    train()
    registry.promote(1, CARD)
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    for _ in range(50):
        registry.champion()
    gc.collect()
    descriptors, objects = len(list(Path("/proc/self/fd").iterdir())), len(gc.get_objects())
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        for _ in range(100):
            registry.champion()
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    assert len(statements) <= 100 * 10
    statements.clear()
    gc.collect()
    opened = len(list(Path("/proc/self/fd").iterdir())) - descriptors
    assert opened < 50, "less than one descriptor in two polls stays: MLflow opens a few of its own at any time"
    assert len(gc.get_objects()) - objects < 100, "less than one object a poll stays"


@pytest.mark.slow
def test_a_server_that_is_down_is_unavailable_after_two_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    registry = Registry(f"http://127.0.0.1:{port}", "acme")
    with pytest.raises(RegistryUnavailable, match="does not answer"):
        registry.champion()
    tries = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            nonlocal tries
            while True:
                connection, _ = listener.accept()
                with connection:
                    if not connection.recv(1):
                        return  # nobody asks: the test is over
                    tries += 1

        port = listener.getsockname()[1]
        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        try:
            with pytest.raises(RegistryUnavailable, match="does not answer"):
                Registry(f"http://127.0.0.1:{port}", "acme").champion()
        finally:
            socket.create_connection(("127.0.0.1", port)).close()
            hanging_up.join()
    assert tries == 2


def test_a_database_that_is_none_is_a_registry_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but as long as one would be" * 50)
    with pytest.raises(RegistryError):
        Registry(uri(tmp_path), "acme").champion()


def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot name a model"):
        Registry(uri(tmp_path), "a/b")


KILLED_MAKING = """
import os, signal, sys
import sqlalchemy
from models.registry.mlflow_store import prepare_store

made = 0


def kill_amid(_connection, _cursor, statement, *_):
    global made
    made += statement.lstrip().startswith("CREATE TABLE")
    if made == 15:
        os.kill(os.getpid(), signal.SIGKILL)


sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", kill_amid)
prepare_store(sys.argv[1])
"""


@pytest.mark.slow
def test_the_database_appears_whole_though_its_making_was_killed(tmp_path: Path) -> None:
    store = uri(tmp_path / "mlflow")
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED_MAKING, store], cwd=Path(__file__).parents[3], check=False
    )
    assert made.returncode == -signal.SIGKILL
    aside = tmp_path / "mlflow" / ".mlflow.db.new"
    assert aside.exists()
    assert not store_exists(store)
    assert Registry(store, "acme").champion() is None
    prepare_store(store)
    assert Registry(store, "acme").champion() is None
    assert store_exists(store)
    assert not aside.exists()
