"""The reference of every figure: a model of 300 trees × 31 leaves × 40 features, in a home made of the real parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.generation import EMBEDDED, Generation, SourceSummary
from features.home import Home
from features.schema import PILLARS, DType, Feature, FeatureSchema
from features.store.offline import OfflineStore, project_name
from models.inference.calibration import Calibration
from models.registry.model_bundle import GateResult, ModelBundle
from models.registry.registry import Registry
from models.scorecard import Scorecard
from training.churn.onnx_export import margin_graph
from training.tracking.runs import Tracker

BUSINESS = "reference"
TREES, LEAVES, FEATURES = 300, 31, 40
HORIZON_DAYS = 90
_TRAINING_ROWS = 20_000
_WORDS_EVERY = 7
"""Each seventh feature is a category."""
_MISSING = 0.12

TOML = f"""
[business]
name = "{BUSINESS}"
[data]
kind = "events"
[[data.events]]
path = "events.csv"
[churn]
definition = "event"
event = "subscription_cancelled"
horizon_days = {HORIZON_DAYS}
"""
TABLE_TOML = f"""
[business]
name = "{BUSINESS}"
[data]
kind = "table"
path = "customers.csv"
customer_id = "customer_id"
outcome = "churned"
churned = "yes"
[churn]
horizon_days = {HORIZON_DAYS}
"""

Columns = dict[str, NDArray[np.float32] | list[str | None]]


def _feature(number: int) -> Feature:
    pillar = PILLARS[number * len(PILLARS) // FEATURES]
    if number % _WORDS_EVERY == _WORDS_EVERY - 1:
        return Feature(f"kind_{number:02}", pillar, dtype=DType.STRING, sentence="is of the kind {value}")
    return Feature(f"figure_{number:02}", pillar, unit="events", sentence="{value} event{s} of sort " + str(number))


SCHEMA = FeatureSchema(tuple(_feature(number) for number in range(FEATURES)))


def customer_ids(count: int) -> list[str]:
    """The customers' ids, in order."""
    return [f"C{number:07}" for number in range(count)]


def draw(count: int, seed: int) -> Columns:
    """Raw features of so many customers: counts, amounts and words, an eighth of them missing."""
    rng = np.random.default_rng(seed)
    columns: Columns = {}
    for number, feature in enumerate(SCHEMA):
        missing = rng.random(count) < _MISSING
        if feature.dtype is DType.STRING:
            words = [f"word {n}" for n in range(3 + number % 11)]
            drawn = rng.integers(0, len(words), count)
            columns[feature.name] = [
                None if gone else words[n] for n, gone in zip(drawn.tolist(), missing.tolist(), strict=True)
            ]
            continue
        if number % 3 == 0:
            values = rng.poisson(2 + number % 5, count).astype(np.float32)
        elif number % 3 == 1:
            values = np.round(rng.lognormal(2.0, 1.0, count), 2).astype(np.float32)
        else:
            values = rng.normal(0.0, 10.0, count).astype(np.float32)
        values[missing] = np.nan
        columns[feature.name] = values
    return columns


def categories() -> dict[str, tuple[str, ...]]:
    """Each category's words in the order of their codes."""
    return {
        feature.name: tuple(f"word {n}" for n in range(3 + number % 11))
        for number, feature in enumerate(SCHEMA)
        if feature.dtype is DType.STRING
    }


def arrow(ids: Sequence[str], columns: Columns, names: Sequence[str]) -> dict[str, pa.Array]:
    """The columns as a file holds them: float32 with nulls, and strings."""
    held: dict[str, pa.Array] = {"customer_id": pa.array(ids, pa.string())}
    for name in names:
        kind = pa.string() if SCHEMA[name].dtype is DType.STRING else pa.float32()
        held[name] = pa.array(columns[name], kind, from_pandas=True)
    return held


@dataclass(frozen=True, slots=True)
class Reference:
    """The trained model with its bundle; the same for every home that is made of it."""

    booster: lightgbm.Booster
    bundle: ModelBundle

    @property
    def size(self) -> dict[str, int]:
        """What the model is made of."""
        dump = self.booster.dump_model()["tree_info"]
        return {
            "trees": len(dump),
            "leaves": max(tree["num_leaves"] for tree in dump),
            "features": self.booster.num_feature(),
            "bytes": len(self.bundle.model_text),
        }

    def matrix(self, columns: Columns) -> NDArray[np.float32]:
        """The model's matrix of raw columns."""
        return SCHEMA.to_matrix(columns, self.bundle.categories)


def train(seed: int = 5) -> Reference:
    """The reference model, trained; deterministic."""
    columns = draw(_TRAINING_ROWS, seed)
    matrix = SCHEMA.to_matrix(columns, categories())
    rng = np.random.default_rng(seed)
    known = np.nan_to_num(matrix)
    scaled = (known - known.mean(axis=0)) / known.std(axis=0)
    weights = rng.normal(0.0, 0.5, FEATURES)
    margin = scaled @ weights - 1.0 + 0.5 * scaled[:, :10].clip(-2, 2) @ weights[10:20] * scaled[:, 20]
    margin += np.where(np.isnan(matrix[:, ::3]), 0.3, 0.0).sum(axis=1)
    y = (rng.random(_TRAINING_ROWS) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.05, "verbosity": -1, "seed": seed,
         "deterministic": True, "min_data_in_leaf": 20, "feature_fraction": 0.8, "num_threads": 1},
        lightgbm.Dataset(matrix, y, feature_name=[f"f{column}" for column in range(FEATURES)]),
        num_boost_round=TREES,
    )  # fmt: skip
    rate = float(y.mean())
    typical: dict[str, float | str | None] = {
        feature.name: "word 0" if feature.dtype is DType.STRING else float(np.nanmedian(matrix[:, column]))
        for column, feature in enumerate(SCHEMA)
    }
    bundle = ModelBundle(
        business=BUSINESS,
        horizon_days=HORIZON_DAYS,
        schema=SCHEMA.to_json(),
        feature_names=SCHEMA.names,
        categories=categories(),
        typical=typical,
        prior=rate,
        model_text=booster.model_to_string(),
        onnx=margin_graph(booster),
        calibration=Calibration(0.8, -0.1),
        scorecard_proposal=Scorecard("1", rate, 10.0),
        metrics={"auc": None},
        gates={"reference": GateResult(True, 0.0, 0.0)},
        data_fingerprint="0" * 64,
        trained_at=datetime.now(UTC),
    )
    return Reference(booster, bundle)


def snapshots(generation: Generation, moments: Sequence[tuple[datetime, list[str], Columns]]) -> None:
    """Write each pillar's snapshot file as a build does."""
    for pillar in SCHEMA.pillars:
        path = generation.snapshot_file(pillar.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = []
        for moment, ids, columns in moments:
            stamp = pa.array(np.full(len(ids), np.datetime64(moment.replace(tzinfo=None), "us"))).cast(
                pa.timestamp("us", "UTC")
            )
            held = arrow(ids, columns, [feature.name for feature in pillar.features])
            tables.append(pa.table({**held, "event_timestamp": stamp, "created_timestamp": stamp}))
        pq.write_table(pa.concat_tables(tables), path)


def new_generation(home: Home, customers: int, *, table: bool = False, online_store: str = EMBEDDED) -> Generation:
    """A generation's folder without its features: with a comparison 30 days ago, or of a table."""
    now = datetime.now(UTC)
    moment = now.replace(hour=0, minute=0, second=0, microsecond=0)
    generation_id = Generation.new_id(now)
    generation = Generation(
        id=generation_id,
        path=home.generations / generation_id,
        business=BUSINESS,
        kind="table" if table else "events",
        as_of=moment,
        before=None if table else moment - timedelta(days=30),
        cutoffs=(),
        horizon_days=HORIZON_DAYS,
        schema=SCHEMA,
        project=project_name(BUSINESS, generation_id),
        online_store=online_store,
        sources=SourceSummary(0, 0, 0, {}, None, None, customers),
        fingerprint="0" * 64,
        configuration="0" * 64,
    )
    generation.path.mkdir(parents=True)
    generation.business_file.write_text(TABLE_TOML if table else TOML)
    return generation


def build(home: Home, customers: int, *, table: bool = False, online_store: str = EMBEDDED) -> Generation:
    """A live generation of so many customers: snapshots, Feast's registry, packed online rows."""
    home.claim(BUSINESS)
    generation = new_generation(home, customers, table=table, online_store=online_store)
    ids = customer_ids(customers)
    moments = [(generation.as_of, ids, draw(customers, 1))]
    if generation.before is not None:
        moments.append((generation.before, ids, draw(customers, 2)))
    snapshots(generation, moments)
    store = OfflineStore(generation)
    store.apply()
    store.materialize()
    generation.write()
    generation.commit(home)
    return generation


def promote(home: Home, reference: Reference) -> None:
    """Log, register and promote the reference model as a training run and `training promote` do."""
    run = Tracker(home, f"keepwell-{BUSINESS}").start({}, {})
    run.log_bundle(reference.bundle)
    run.finish()
    registry = Registry(home.tracking_uri, BUSINESS)
    registry.promote(run.register(registry, reference.bundle), reference.bundle.scorecard_proposal)
