"""The app as a whole: what it says of itself, and how it starts."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from features.errors import ConfigError
from features.generation import Generation
from features.home import Home
from serving.platform.settings import Settings

from .conftest import Running, Shop, build, make_keys, promote, serving, settings_of, train, wait_for


def test_operations_need_no_key_and_say_what_is(running: Running, template: Shop) -> None:
    assert httpx.get(f"{running.url}/livez").json() == {"status": "alive"}
    ready = httpx.get(f"{running.url}/readyz").json()
    assert ready == {
        "status": "ready",
        "generation": Generation.current(template.home).id,
        "model_version": "1",
        "scorecard_version": "1",
        "not_taken_up": None,
    }


def test_champion_is_the_model_that_answers(client: httpx.Client) -> None:
    champion = client.get("/v1/models/champion").json()
    score = client.get("/v1/customers/C00001/score").json()
    assert champion["version"] == score["model_version"]
    assert champion["scorecard"]["version"] == score["scorecard_version"]
    assert champion["scorecard"]["base"] == score["health"]["base"]
    assert champion["horizon_days"] == score["churn"]["horizon_days"]
    assert champion["metrics"] == {"auc": 0.8, "calibration_slope": None}
    assert champion["trained_at"].endswith("Z")
    everything = client.get("/v1/customers/C00001/score", params={"explain": "all"}).json()
    assert {f["name"] for f in champion["features"]} == {reason["feature"] for reason in everything["reasons"]}


def test_metrics_count_by_route_never_by_customer(client: httpx.Client) -> None:
    client.get("/v1/customers/C00001/score")
    client.get("/v1/customers/nobody-at-all/score")
    text = client.get("/metrics").text
    assert re.search(
        r'keepwell_http_requests_total\{method="GET",route="/v1/customers/\{customer_id\}/score",status="200"\} [1-9]',
        text,
    )
    assert 'keepwell_http_request_seconds_bucket{le="0.005"' in text
    assert re.search(r'keepwell_scores_total\{explain="top"\} [1-9]', text)
    assert re.search(r"keepwell_unknown_customers_total [1-9]", text)
    assert re.search(r'keepwell_release\{generation="\w+",model_version="1",scorecard_version="1"\} 1\.0', text)
    assert re.search(r"keepwell_feature_age_seconds [0-9.e+]+", text)
    assert "nobody-at-all" not in text
    assert "C00001" not in text


def test_a_request_keeps_its_id_or_gets_one(client: httpx.Client) -> None:
    for given in ("abc-123", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a" * 128):
        response = client.get("/v1/customers/C00001/score", headers={"X-Request-ID": given})
        assert response.headers["x-request-id"] == given
        assert response.json()["request_id"] == given
    for refused in ("", "a" * 129, "a b", "<script>", "é"):
        response = client.get("/v1/nowhere", headers={b"X-Request-ID": refused.encode()})
        made = response.headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)
        assert response.json()["request_id"] == made


def test_a_body_over_the_limit_is_refused_stated_or_not(shop: Shop) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"customer_ids": ["'
        for _ in range(100):
            yield b"a" * 100
        yield b'"]}'

    with (
        serving(settings_of(shop.home, max_body_bytes=1000)) as running,
        httpx.Client(base_url=running.url, headers=shop.headers()) as client,
    ):
        for content in (b" " * 1001, chunks()):
            response = client.post("/v1/scores", content=content, headers={"Content-Type": "application/json"})
            assert response.status_code == 413
            assert response.json()["type"] == "/docs/problems#body-too-large"
        assert client.post("/v1/scores", json={"customer_ids": ["C00001"] * 50}).status_code == 200


def test_every_operation_documents_its_statuses(running: Running) -> None:
    document = httpx.get(f"{running.url}/openapi.json").json()
    operations = {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert set(operations) == {
        ("GET", "/v1/customers/{customer_id}/score"),
        ("POST", "/v1/scores"),
        ("GET", "/v1/scores"),
        ("POST", "/v1/decisions"),
        ("POST", "/v1/decisions/batch"),
        ("POST", "/v1/decisions/{decision_id}/outcome"),
        ("PUT", "/v1/decisions/{decision_id}/outcome"),
        ("GET", "/v1/decisions/{decision_id}/outcome"),
        ("POST", "/v1/events"),
        ("GET", "/v1/models/champion"),
        ("GET", "/v1/customers/{customer_id}/recommendations"),
        ("GET", "/v1/experiments"),
        ("POST", "/v1/experiments"),
        ("GET", "/v1/experiments/programme"),
        ("GET", "/v1/experiments/{name}"),
        ("POST", "/v1/experiments/{name}/assignments"),
        ("POST", "/v1/experiments/{name}/outcomes"),
        ("PUT", "/v1/experiments/{name}/outcomes"),
        ("GET", "/v1/experiments/{name}/outcomes"),
        ("POST", "/v1/experiments/{name}/stop"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }
    for (method, path), operation in operations.items():
        statuses = set(operation["responses"])
        if path.startswith("/v1/"):
            assert {"401", "403", "429", "503"} <= statuses
            assert operation["security"]
        if method == "POST":
            assert {"413", "422"} <= statuses
        for status, response in operation["responses"].items():
            assert response["description"]
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_a_server_starts_before_there_is_anything_to_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    settings = settings_of(home)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.registry)
    shop = Shop(settings, make_keys(settings))
    with serving(settings, ready=False) as running:

        def refused(part: str) -> bool:
            for path in ("/readyz", "/v1/customers/C00001/score", "/v1/models/champion"):
                response = httpx.get(running.url + path, headers=shop.headers())
                assert response.status_code == 503
                assert response.json()["type"] == "/docs/problems#no-champion"
            return part in response.json()["detail"]

        assert httpx.get(f"{running.url}/livez").status_code == 200
        assert httpx.get(f"{running.url}/v1/scores", headers=shop.headers()).json() == {
            "results": [],
            "next_cursor": None,
        }
        wait_for(lambda: refused("features build"))
        build(home)
        wait_for(lambda: refused("training promote"))
        promote(home, train(home))
        wait_for(running.ready)
        assert httpx.get(f"{running.url}/v1/customers/C00001/score", headers=shop.headers()).status_code == 200


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPWELL_", "MLFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_run_without_a_build_says_what_to_do(tmp_path: Path) -> None:
    done = command("run", KEEPWELL_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path} holds no features yet: run 'python -m features build CONFIG' first.\n"


def test_run_on_a_taken_port_says_so(template: Shop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command("run", KEEPWELL_HOME=str(template.home.path), PORT=str(port))
    assert done.returncode == 2
    assert (
        done.stderr
        == f"Cannot listen on 127.0.0.1:{port} (Address already in use): set HOST or PORT to another address.\n"
    )


@pytest.mark.parametrize("url", ["mysql://root@127.0.0.1/x", "sqlite:////proc/nowhere/keepwell.db", "not a url"])
def test_run_without_a_database_says_so(template: Shop, url: str) -> None:
    done = command("run", KEEPWELL_HOME=str(template.home.path), PORT="0", KEEPWELL_DATABASE_URL=url)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "database" in done.stderr.lower()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PORT": "http"}, "PORT: it should be a whole number"),
        ({"KEEPWELL_ENVIRONMENT": "prod"}, "KEEPWELL_ENVIRONMENT: it should be 'development' or 'production'"),
        ({"KEEPWELL_ENVIRONMENT": "production"}, "KEEPWELL_HOME must be set in production"),
        (
            {"KEEPWELL_ENVIRONMENT": "production", "KEEPWELL_HOME": "/srv/keepwell", "KEEPWELL_RATE_LIMIT": "0"},
            "KEEPWELL_RATE_LIMIT must be above 0 in production",
        ),
        ({"KEEPWELL_ONLINE_STORE": "mysql"}, "KEEPWELL_ONLINE_STORE: "),
        ({"KEEPWELL_STALE_AFTER_DAYS": "inf"}, "KEEPWELL_STALE_AFTER_DAYS: it should be less than or equal to 36500"),
        ({"KEEPWELL_RATE_LIMIT": "inf"}, "KEEPWELL_RATE_LIMIT: it should be a finite number"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str) -> None:
    for name in [name for name in os.environ if name.startswith("KEEPWELL_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        Settings.from_environment()
    assert str(refused.value).startswith(sentence)


def test_settings_come_from_their_own_variables_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("KEEPWELL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    monkeypatch.setenv("ENVIRONMENT", "staging")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment()
    assert settings.state.path == tmp_path / "var"
    assert settings.database == f"sqlite:///{tmp_path}/var/keepwell.db"
    assert settings.registry == f"sqlite:///{tmp_path}/var/mlflow/mlflow.db"
    monkeypatch.setenv("KEEPWELL_DATABASE_URL", "postgresql://here/x")
    assert Settings.from_environment().database == "postgresql://here/x"
