"""A tiny real business: features in Feast, two models in MLflow, keys in the database, and servers over them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import lightgbm
import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn

from features.generation import Generation, SourceSummary
from features.home import Home
from features.schema import DType, Feature, FeatureSchema
from features.store.offline import OfflineStore, project_name
from models.inference.calibration import Calibration
from models.inference.coverage import Coverage
from models.inference.survival import Hazard
from models.inference.venn_abers import ProbabilityInterval
from models.registry.mlflow_store import prepare_store
from models.registry.model_bundle import GateResult, ModelBundle
from models.registry.moved_store import follow_home
from models.registry.registered_model import RegisteredModel
from models.registry.registry import Registry
from models.scorecard import Scorecard
from models.value.customer_value import Method, ValueModel
from models.value.segmentation import Figure, Segment, Segments
from serving.app import create_app
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.bounded_connection import BoundedProtocol
from serving.platform.database import Database
from serving.platform.settings import Settings
from training.churn.onnx_export import margin_graph

from ..conftest import wait_for as wait_for
from .tinyshop import BUSINESS as BUSINESS
from .tinyshop import tinyshop

CUSTOMERS = 240
ODD_IDS = ("17850", "a/b c", "50% off?", "größe#1", "x/score", "..")
"""Ids that a path must carry percent-encoded."""
NEWCOMER = "newcomer"
"""Known now, but not yet 30 days ago, and nothing but the contract is known."""

SCHEMA = FeatureSchema(
    (
        Feature("sessions_30d", "engagement", unit="sessions", sentence="{value} session{s} in 30 days", direction=-1),
        Feature(
            "days_since_session", "engagement", unit="days", sentence="last session {value} day{s} ago", direction=1
        ),
        Feature(
            "nps_latest", "sentiment", sentence="latest NPS answer {value}", missing="no NPS answer yet", direction=-1
        ),
        Feature("tickets_open", "support", unit="tickets", sentence="{value} open ticket{s}", direction=1),
        Feature("plan", "commercial", dtype=DType.STRING, sentence="on the plan {value}"),
        Feature("mrr", "commercial", unit="currency", sentence="pays {value} a month"),
        Feature("tenure_days", "relationship", unit="days", sentence="a customer for {value} days", direction=-1),
        Feature("consent_email", "relationship", predictive=False),
        Feature("touches_success_call", "relationship", predictive=False),
    )
)
TOML = tinyshop(
    """[[actions]]
name = "success_call"
channel = "phone"
cost = 8.0
cap = { count = 1, days = 30 }
prior_effect = 0.2
[[actions]]
name = "winback_email"
channel = "email"
cost = 0.1
consent = "email"
prior_effect = 0.05
[training]
budget = "1 trial"
""",
    'currency = "EUR"',
)


def pytest_configure(config: pytest.Config) -> None:
    """MLflow maps its tables by what SQLAlchemy 2.1 deprecates, in whichever test opens a registry first."""
    config.addinivalue_line("filterwarnings", "ignore:The ``noload`` loader strategy is deprecated")


SEGMENTS = Segments(
    figures=(
        Figure("sessions_30d", None, False, 6.0, 0.4),
        Figure("days_since_session", None, True, 2.2, 1.0),
        Figure("plan", "team", False, 0.3, 1.0),
        Figure("tenure_days", None, False, 450.0, 0.004),
    ),
    segments=(
        Segment("1", "few sessions in 30 days, low tenure days"),
        Segment("2", "on the plan team"),
        Segment("4", "many sessions in 30 days"),
    ),
    centroids=((-0.8, 0.5, -0.3, -0.7), (0.0, 0.0, 0.7, 0.2), (0.9, -0.4, -0.3, 0.4)),
)


def midnight() -> datetime:
    """Today's first moment, so that nothing is stale."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def customer_ids(count: int = CUSTOMERS) -> list[str]:
    """Everybody's ids: plain ones, odd ones, and the newcomer's."""
    return [*(f"C{number:05d}" for number in range(1, count + 1)), *ODD_IDS, NEWCOMER]


def make_columns(ids: Sequence[str], seed: int) -> dict[str, list[float | str | None]]:
    """Raw features of `ids`, nulls and a −0.0 among them."""
    rng = np.random.default_rng(seed)
    n = len(ids)
    sessions = rng.poisson(6, n).astype(np.float32)
    recency = rng.exponential(12, n).astype(np.float32)
    nps = rng.integers(0, 11, n).astype(np.float32)
    tickets = rng.poisson(0.7, n).astype(np.float32)
    mrr = (20 + 80 * rng.random(n)).astype(np.float32)
    tenure = rng.integers(5, 900, n).astype(np.float32)
    sessions[0] = -0.0
    columns: dict[str, list[float | str | None]] = {
        "sessions_30d": sessions.tolist(),
        "days_since_session": [None if rng.random() < 0.1 else float(value) for value in recency],
        "nps_latest": [None if rng.random() < 0.4 else float(value) for value in nps],
        "tickets_open": tickets.tolist(),
        "plan": [str(plan) for plan in rng.choice(["basic", "pro", "team"], n)],
        "mrr": mrr.tolist(),
        "tenure_days": tenure.tolist(),
        "consent_email": [None if rng.random() < 0.3 else float(rng.random() < 0.7) for _ in range(n)],
        "touches_success_call": [float(rng.random() < 0.2) for _ in range(n)],
    }
    if NEWCOMER in ids:
        for name in set(columns) - {"plan", "mrr", "consent_email", "touches_success_call"}:
            columns[name][list(ids).index(NEWCOMER)] = None
    return columns


def build(
    home: Home,
    *,
    as_of: datetime | None = None,
    seed: int = 1,
    ids: Sequence[str] | None = None,
    online_store: str = "sqlite",
) -> Generation:
    """A new live generation, as a build leaves it: snapshots now and 30 days ago, in Feast, materialized."""
    now = datetime.now(UTC)
    moment = as_of or midnight()
    before = moment - timedelta(days=30)
    generation_id = Generation.new_id(now)
    people = list(ids or customer_ids())
    generation = Generation(
        id=generation_id,
        path=home.generations / generation_id,
        business=BUSINESS,
        kind="events",
        as_of=moment,
        before=before,
        cutoffs=(),
        horizon_days=60,
        schema=SCHEMA,
        project=project_name(BUSINESS, generation_id),
        online_store=online_store,
        sources=SourceSummary(0, 0, 0, {}, None, None, len(people)),
        fingerprint=f"{seed:064x}",
        configuration="0" * 64,
    )
    generation.path.mkdir(parents=True)
    (generation.path / "business.toml").write_text(TOML)
    home.claim(BUSINESS)
    earlier = [customer_id for customer_id in people if customer_id != NEWCOMER]
    blocks = [(moment, people, make_columns(people, seed)), (before, earlier, make_columns(earlier, seed + 1000))]
    stored_as = SCHEMA.stored_as
    for pillar in SCHEMA.pillars:
        tables = []
        for at, who, columns in blocks:
            stamp = pa.array([at] * len(who), pa.timestamp("us", "UTC"))
            fields: dict[str, pa.Array] = {
                "customer_id": pa.array(who, pa.string()),
                "event_timestamp": stamp,
                "created_timestamp": stamp,
            }
            for feature in pillar.features:
                kind = pa.string() if feature.dtype is DType.STRING else pa.float32()
                fields[stored_as[feature.name]] = pa.array(columns[feature.name], kind)
            tables.append(pa.table(fields))
        path = generation.snapshot_file(pillar.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables(tables), path)
    store = OfflineStore(generation)
    store.apply()
    store.materialize()
    generation.write()
    generation.commit(home)
    return generation


def make_bundle(seed: int = 1) -> ModelBundle:
    """A bundle of a real booster of a few trees."""
    schema = SCHEMA.predictive
    ids = [f"T{number}" for number in range(1500)]
    columns = make_columns(ids, seed + 50)
    categories = {"plan": ("pro", "team", "basic")}
    matrix = schema.to_matrix(columns, categories)
    rng = np.random.default_rng(seed)
    sessions, recency, tickets = matrix[:, 0], np.nan_to_num(matrix[:, 1], nan=30.0), matrix[:, 3]
    margin = -1.2 - 0.25 * (sessions - 6) + 0.04 * (recency - 12) + 0.8 * tickets + 0.3 * matrix[:, 4]
    y = (rng.random(len(ids)) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 6, "learning_rate": 0.15, "num_threads": 1, "verbosity": -1,
         "deterministic": True, "seed": seed, "min_data_in_leaf": 20},
        lightgbm.Dataset(matrix, y, feature_name=[f"f{column}" for column in range(matrix.shape[1])]),
        num_boost_round=30,
    )  # fmt: skip
    typical: dict[str, float | str | None] = {"plan": "pro"}
    for column, feature in enumerate(schema):
        if feature.name != "plan":
            typical[feature.name] = float(np.nanmedian(matrix[:, column]))
    rate = float(y.mean())
    calibration = Calibration.fit(booster.predict(matrix, raw_score=True), y)
    p = calibration.apply(booster.predict(matrix, raw_score=True))
    when = rng.exponential(-60.0 / np.log1p(-p))
    return ModelBundle(
        business=BUSINESS,
        horizon_days=60,
        schema=schema.to_json(),
        feature_names=schema.names,
        categories=categories,
        typical=typical,
        prior=rate,
        model_text=booster.model_to_string(),
        onnx=margin_graph(booster),
        calibration=calibration,
        scorecard_proposal=Scorecard("1", rate, 10.0),
        metrics={"auc": 0.8, "calibration_slope": None},
        gates={"ece": GateResult(True, 0.01, 0.08)},
        data_fingerprint="ab" * 32,
        trained_at=datetime.now(UTC),
        interval=ProbabilityInterval.fit(p, y, np.arange(len(y)), np.random.default_rng(seed)),
        horizons=Hazard.fit(p, when, np.full(len(y), 400.0), 60),
        coverage=Coverage.fit(matrix, schema.witnesses),
        value=ValueModel(Method.PRICE),
        segments=SEGMENTS,
    )


def train(home: Home, seed: int = 1) -> RegisteredModel:
    """Log a bundle in a run of its own, and register it as a training run does."""
    uri = home.tracking_uri
    prepare_store(uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tests")
    experiment_id = (
        client.create_experiment("tests", artifact_location=str(home.mlflow / "artifacts"))
        if experiment is None
        else experiment.experiment_id
    )
    run_id = str(client.create_run(experiment_id).info.run_id)
    bundle = make_bundle(seed)
    folder = home.path / "trained" / run_id
    bundle.save(folder)
    client.log_artifacts(run_id, str(folder), "bundle")
    shutil.rmtree(folder)
    return Registry(uri, BUSINESS).register(run_id, bundle_hash=bundle.hash)


def promote(home: Home, model: RegisteredModel, scorecard: Scorecard | None = None) -> None:
    """Make a registered model the champion, under the scorecard that stands or the first one's proposal."""
    registry = Registry(home.tracking_uri, BUSINESS)
    champion = registry.champion()
    standing = champion.scorecard if champion is not None else None
    registry.promote(model.version, scorecard or standing or Scorecard("1", 0.35, 10.0))


@dataclass(frozen=True, slots=True)
class Shop:
    """A home with a build, a champion, and one key per role."""

    settings: Settings
    keys: dict[Role, str]

    @property
    def home(self) -> Home:
        return self.settings.state

    def headers(self, role: Role = Role.SCORER) -> dict[str, str]:
        """The Authorization header of a role's key."""
        return {"Authorization": f"Bearer {self.keys[role]}"}


def settings_of(home: Home, **changes: object) -> Settings:
    """Settings of a home, whatever the environment says."""
    fields: dict[str, object] = {
        "home": home.path,
        "poll_seconds": 0.1,
        "port": 0,
        "database_url": f"sqlite:///{home.database}",
        "tracking_uri": f"sqlite:///{home.mlflow / 'mlflow.db'}",
        "log_level": "warning",
    }
    return Settings(**(fields | changes))  # type: ignore[arg-type]


def make_keys(settings: Settings) -> dict[Role, str]:
    """One key per role, in the home's database."""
    database = Database(settings.database)
    database.migrate()
    keys = ApiKeys(database)
    secrets = {role: keys.add(f"test-{role.value}", role) for role in Role}
    database.close()
    return secrets


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database of one's own, with all tables and nothing in them."""
    database = Database(f"sqlite:///{tmp_path / 'keepwell.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that nobody opens: copy it."""
    home = Home(tmp_path_factory.mktemp("untouched") / "home")
    build(home)
    promote(home, train(home))
    settings = settings_of(home)
    return Shop(settings, make_keys(settings))


def copy_of(untouched: Shop, path: Path) -> Shop:
    """A copy of a shop, with models of its own.

    Only of one that is not open: a process that closes any file of a database gives up its locks on it, and others then take
    the log of the database, which is in use, for left behind, and delete it.
    """
    shutil.copytree(untouched.home.path, path)
    settings = settings_of(Home(path))
    # For tests that ask MLflow itself; keepwell's own commands see to it.
    follow_home(settings.registry)
    return replace(untouched, settings=settings)


@pytest.fixture(scope="session")
def template(untouched: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that nobody changes: read it."""
    return copy_of(untouched, tmp_path_factory.mktemp("shop") / "home")


@pytest.fixture
def shop(untouched: Shop, tmp_path: Path) -> Shop:
    """A shop of one's own."""
    return copy_of(untouched, tmp_path / "home")


class Running:
    """A server over a shop on a port of its own, in this process."""

    def __init__(self, settings: Settings) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.app = create_app(settings)
        self._server = uvicorn.Server(uvicorn.Config(self.app, http=BoundedProtocol, log_config=None, access_log=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._thread.start()
        wait_for(lambda: self._server.started)

    def stop(self) -> None:
        """Stop, after the requests that are under way."""
        self._server.should_exit = True
        self._thread.join(30)
        self._listener.close()

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return httpx.get(f"{self.url}/readyz").status_code == 200


@contextlib.contextmanager
def serving(settings: Settings, *, ready: bool = True) -> Iterator[Running]:
    """A running server; with `ready`, one that has taken up a release."""
    running = Running(settings)
    running.start()
    try:
        if ready:
            wait_for(running.ready)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def running(template: Shop) -> Iterator[Running]:
    """The template being served; do not change what it serves."""
    with serving(template.settings) as server:
        yield server


@pytest.fixture
def client(running: Running, template: Shop) -> Iterator[httpx.Client]:
    """A caller with a scorer's key."""
    with httpx.Client(base_url=running.url, headers=template.headers()) as session:
        yield session
