from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from features.config.environment import Environment, inherited, user_cache
from features.errors import ConfigError
from features.home import Home

ROOT = Path(__file__).parents[3]
PACKAGES = ("features", "models", "training", "serving", "experiments")

READERS = {
    "features/config/environment.py": "the one reading, and the handing on to child processes",
    "models/registry/mlflow_store.py": "sets MLflow's own variables before MLflow reads them; reads none",
    "serving/platform/workers.py": "sets the folder of figures for the workers: Prometheus' client takes no argument for it",
    "serving/platform/metrics.py": "a worker learns that folder from its supervisor, who starts it without arguments",
    "experiments/benchmarks/mistakes/judge.py": "gives a command that runs in this process the environment of its case",
    "experiments/benchmarks/peers/constant.py": "a program that uvicorn starts by name is told its file so",
    "experiments/benchmarks/peers/obvious.py": "a program that uvicorn starts by name is told its folder so",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KEEPWELL_", "MLFLOW_"))]:
        monkeypatch.delenv(name)


def test_the_environment_is_read_in_one_place() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    reading = {
        str(path.relative_to(ROOT)) for path in files if re.search(r"\b(environb?|getenvb?)\b", path.read_text())
    }
    assert reading == set(READERS)


def test_by_default_all_is_in_the_folder_var(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = Environment.from_environment()
    assert found.state == Home(tmp_path / "var")
    assert found.state.tracking_uri == f"sqlite:///{tmp_path}/var/mlflow/mlflow.db"
    assert (found.online_store, found.database_url) == ("embedded", None)
    assert "home" not in found.model_fields_set


def test_what_is_set_is_read_and_what_is_empty_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://models:5000")
    monkeypatch.setenv("KEEPWELL_DATABASE_URL", "")
    found = Environment.from_environment()
    assert found.state == Home(tmp_path, "http://models:5000")
    assert found.state.tracking_uri == "http://models:5000"
    assert found.database_url is None


@pytest.mark.parametrize(
    ("setting", "log"),
    [
        ("", "sqlite:///{home}/events.db"),
        ("sqlite:////elsewhere/keepwell.db", "sqlite:///{home}/events.db"),
        ("postgresql://user:secret@host/name", "postgresql://user:secret@host/name"),
    ],
)
def test_live_events_are_in_a_file_of_their_own_or_in_postgresql(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, log: str
) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    monkeypatch.setenv("KEEPWELL_DATABASE_URL", setting)
    assert Environment.from_environment().event_log == log.format(home=tmp_path)


@pytest.mark.parametrize(
    ("setting", "store"),
    [("sqlite", "embedded"), ("embedded", "embedded"), ("", "embedded"), ("redis://h:1/2", "redis://h:1/2")],
)
def test_the_online_store_is_embedded_or_a_redis(monkeypatch: pytest.MonkeyPatch, setting: str, store: str) -> None:
    monkeypatch.setenv("KEEPWELL_ONLINE_STORE", setting)
    assert Environment.from_environment().online_store == store


@pytest.mark.parametrize("setting", ["memcached://x", "localhost:6379", "redis://", "mysql"])
def test_another_kind_of_store_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("KEEPWELL_ONLINE_STORE", setting)
    with pytest.raises(ConfigError, match="KEEPWELL_ONLINE_STORE: ") as refused:
        Environment.from_environment()
    assert "\n" not in str(refused.value)


def test_a_home_that_is_given_goes_before_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", "/elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    monkeypatch.setenv("KEEPWELL_ONLINE_STORE", "redis://there/1")
    for home in (Home(tmp_path), Home(tmp_path, "http://models:5000")):
        found = Environment.from_environment(home)
        assert found.state == replace(home, online_store="redis://there/1")
        assert found.online_store == "redis://there/1"
        assert "redis" not in repr(found.state), "its password would stand in a log"


def test_a_process_that_is_started_inherits_all_but_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "0")
    assert inherited(ONE="1") == {**os.environ, "ONE": "1"}


def test_the_user_cache_is_where_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "keepwell"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "keepwell"


@pytest.mark.parametrize(
    "setting",
    [
        "/models",
        "models",
        "./models",
        "file:///models",
        "file:models",
        "postgres://a:pw@b/c",
        "sqlite://",
        "sqlite:///100%.db",
    ],
)
def test_a_registry_that_cannot_work_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", setting)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI: ") as refused:
        Environment.from_environment()
    assert "\n" not in str(refused.value)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize(
    "setting", ["https://models", "sqlite:////x/m.db", "sqlite:///m.db", "postgresql+psycopg://a:b@c/d", "mysql://c/d"]
)
def test_servers_and_databases_are_registries(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", setting)
    assert Environment.from_environment().tracking_uri == setting


@pytest.mark.parametrize("name", ["100%25 off", "a?b", "it's", 'a"b', "a#b", "a\\b", "a*b", "a\nb", "a\udcffb"])
def test_a_home_whose_path_databases_take_amiss_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path / name))
    with pytest.raises(ConfigError, match="KEEPWELL_HOME: ") as refused:
        Environment.from_environment()
    assert "\n" not in str(refused.value)
    str(refused.value).encode()


@pytest.mark.parametrize("name", ["[2024] churn", "größe & co", "a b,c;d(e)", "客户"])
def test_other_characters_are_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path / name))
    assert Environment.from_environment().state.path == tmp_path / name


@pytest.mark.parametrize("path", ["/", "/tmp/.."])
def test_the_root_is_no_home(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", path)
    with pytest.raises(ConfigError, match=r"KEEPWELL_HOME: .* is the whole machine's; choose a folder of its own"):
        Environment.from_environment()


def test_a_home_below_more_folders_than_python_can_make_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path) + "/a" * 1500)
    with pytest.raises(ConfigError, match=r"KEEPWELL_HOME: .* is 15\d\d folders deep; choose a folder nearer the root"):
        Environment.from_environment()
