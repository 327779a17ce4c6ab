"""A home that was moved or copied finds its own models, and writes to its own files."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from models.registry.mlflow_store import prepare_store
from models.registry.moved_store import follow_home

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def registry(home: Path) -> str:
    return f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"


def run_in(home: Path, experiment: str, content: str) -> str:
    """The id of a new run that logged a file, and was registered."""
    client = mlflow.MlflowClient(registry(home))
    found = client.get_experiment_by_name(experiment)
    location = (home / "mlflow" / "artifacts" / experiment).as_uri()
    experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifact_location=location)
    run = client.create_run(experiment_id)
    client.log_text(run.info.run_id, content, "said.txt")
    source = f"{client.get_run(run.info.run_id).info.artifact_uri}/said.txt"
    if not client.search_registered_models():
        client.create_registered_model("model")
    client.create_model_version("model", source, run_id=run.info.run_id)
    return str(run.info.run_id)


def said(home: Path, run_id: str, folder: Path) -> str:
    client = mlflow.MlflowClient(registry(home))
    return Path(client.download_artifacts(run_id, "said.txt", str(folder))).read_text()


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with one run, in a place with odd letters, and the run's id."""
    home = tmp_path_factory.mktemp("made") / "old [home] 50% größe"
    prepare_store(registry(home))
    (home / "business.json").write_text('{"name": "shop"}')
    return home, run_in(home, "keepwell-shop", "first")


@pytest.fixture
def original(made: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """The home of a test's own, where it was made: what it says of itself is true."""
    home, run_id = made
    shutil.copytree(home, tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "original")
    follow_home(registry(tmp_path / "original"))
    return tmp_path / "original", run_id


def test_a_moved_home_finds_what_it_has(original: tuple[Path, str], tmp_path: Path) -> None:
    home, run_id = original
    moved = tmp_path / "elsewhere" / "new home, 100%"
    moved.parent.mkdir()
    home.rename(moved)
    follow_home(registry(moved))
    assert said(moved, run_id, tmp_path) == "first"
    another = run_in(moved, "keepwell-shop", "second")
    assert not home.exists()
    assert said(moved, another, tmp_path) == "second"
    client = mlflow.MlflowClient(registry(moved))
    locations = [
        run.info.artifact_uri for run in client.search_runs([e.experiment_id for e in client.search_experiments()])
    ]
    locations += [str(version.source) for version in client.search_model_versions("name = 'model'")]
    assert len(locations) == 4
    assert all(location.startswith((moved / "mlflow" / "artifacts").as_uri()) for location in locations)


def test_a_copy_writes_nothing_into_its_original(original: tuple[Path, str], tmp_path: Path) -> None:
    home, run_id = original
    before = files(home)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    follow_home(registry(copy))
    another = run_in(copy, "keepwell-shop", "second")
    assert run_in(copy, "a new one", "third")
    assert files(home) == before
    shutil.rmtree(home)
    assert [said(copy, run, tmp_path) for run in (run_id, another)] == ["first", "second"]


def test_a_home_by_another_name_and_one_that_stayed_are_left_alone(original: tuple[Path, str], tmp_path: Path) -> None:
    home, run_id = original
    before = files(home)
    (tmp_path / "link").symlink_to(home)
    follow_home(registry(tmp_path / "link"))
    follow_home(registry(home))
    assert files(home) == before
    assert said(tmp_path / "link", run_id, tmp_path) == "first"


def test_a_registry_of_no_home_is_left_alone(original: tuple[Path, str], tmp_path: Path) -> None:
    home, _ = original
    (home / "business.json").unlink()
    moved = tmp_path / "moved"
    home.rename(moved)
    before = files(moved)
    for uri in (registry(moved), "sqlite:///nowhere/mlflow/mlflow.db", "http://localhost:5000", "postgresql://h/n"):
        follow_home(uri)
    assert files(moved) == before
