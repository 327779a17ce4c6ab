"""Row 11: a training set, joined point in time, beside Feast's own join with its `file` offline store."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureStore, RepoConfig

from experiments.benchmarks.errors import DifferentAnswers
from experiments.benchmarks.figures import Row, interleaved
from experiments.benchmarks.speed import reference
from features.generation import Generation
from features.home import Home
from features.schema import DType
from features.store.offline import OfflineStore

_MOMENTS = 3
_LATE_EVERY = 50
"""Each fiftieth customer has a row that was created after the moment it speaks of."""
_LEAKED = 123_456_789.0
_LEAKED_WORD = "told too late"
_ROUNDS = 3
_CHECKED = 6_000


def joining(home: Home, rounds_wanted: int, rows: int) -> Row:
    """`training_frame` beside `get_historical_features`, of 40 features in 6 views; a long row has three rounds at most.

    Raises:
        DifferentAnswers: the two are not the same, or a value that was not known yet is in them.
    """
    mine, theirs, check = _joins(Home(home.path / "checked"), _CHECKED)
    check(mine(), theirs())
    mine, theirs, check = _joins(home, rows)
    speeds = interleaved(min(rounds_wanted, _ROUNDS), lambda: rows / _seconds(mine), lambda: rows / _seconds(theirs))
    check(mine(), None)
    return Row(
        "11", f"training set of {rows:,} rows, point in time, 6 views", "Feast's file offline store", "rows/s", 4.0,
        *speeds, {"leaked": 0, "late_rows_planted": rows // _LATE_EVERY, "moments": _MOMENTS},
    )  # fmt: skip


def _joins(
    home: Home, rows: int
) -> tuple[Callable[[], pd.DataFrame], Callable[[], pd.DataFrame], Callable[[pd.DataFrame, pd.DataFrame | None], None]]:
    """Our join and Feast's of so many rows, and what holds their answers to what was drawn."""
    generation, entities = _prepare(home, rows // _MOMENTS)
    ours, feast = OfflineStore(generation), _file_store(generation)
    ours.apply()
    stored_as = generation.schema.stored_as
    names = [f"{feature.pillar}:{stored_as[feature.name]}" for feature in generation.schema]
    asked = entities.assign(place=range(len(entities)))

    def theirs() -> pd.DataFrame:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            job = feast.get_historical_features(entity_df=asked, features=names, filter_by_created_timestamp=True)
            frame: pd.DataFrame = job.to_df()
        return frame

    return lambda: ours.training_frame(entities), theirs, partial(_check, generation, len(entities))


def _seconds(join: Callable[[], pd.DataFrame]) -> float:
    begun = time.perf_counter()
    join()
    return time.perf_counter() - begun


def _prepare(home: Home, customers: int) -> tuple[Generation, pd.DataFrame]:
    """A generation whose snapshots hold rows that came too late, and who is asked for when."""
    generation = reference.new_generation(home, customers)
    ids = reference.customer_ids(customers)
    moments = [generation.as_of - timedelta(days=30 * back) for back in reversed(range(_MOMENTS))]
    reference.snapshots(generation, [(moment, ids, reference.draw(customers, n)) for n, moment in enumerate(moments)])
    for pillar in generation.schema.pillars:
        file = generation.snapshot_file(pillar.name)
        known = pq.read_table(file)
        late = known.take(pa.array(np.arange(0, known.num_rows, _LATE_EVERY)))
        stamps = late.column("created_timestamp").cast(pa.int64()).to_numpy()
        kind = known.schema.field("created_timestamp").type
        # Written later in the file, about the same moment, and created a day after it.
        columns = {name: late.column(name) for name in ("customer_id", "event_timestamp")}
        columns["created_timestamp"] = pa.array(stamps + 86_400_000_000).cast(kind)
        for feature in pillar.features:
            word = feature.dtype is DType.STRING
            planted = pa.array([_LEAKED_WORD if word else _LEAKED] * late.num_rows)
            columns[generation.schema.stored_as[feature.name]] = planted.cast(
                known.schema.field(generation.schema.stored_as[feature.name]).type
            )
        pq.write_table(pa.concat_tables([known, pa.table(columns).select(known.column_names)]), file)
    frames = [pd.DataFrame({"customer_id": ids, "event_timestamp": pd.Timestamp(moment)}) for moment in moments]
    return generation, pd.concat(frames, ignore_index=True)


def _file_store(generation: Generation) -> FeatureStore:
    """Feast over the same registry, with the offline store that it starts with."""
    return FeatureStore(
        config=RepoConfig(
            project=generation.project,
            provider="local",
            registry={"registry_type": "sql", "path": f"sqlite:///{generation.registry_file}", "cache_ttl_seconds": 0},
            online_store={"type": "sqlite", "path": str(generation.path / "unused.db")},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
            repo_path=generation.path,
        )
    )


def _check(generation: Generation, rows: int, mine: pd.DataFrame, theirs: pd.DataFrame | None) -> None:
    """Hold both answers to what was drawn, of which nothing came too late."""
    drawn = [reference.draw(rows // _MOMENTS, number) for number in range(_MOMENTS)]
    for feature in generation.schema:
        wanted = np.concatenate([np.asarray(columns[feature.name], dtype=object) for columns in drawn])
        answers = [mine[feature.name]]
        if theirs is not None:
            answers.append(theirs.sort_values("place")[generation.schema.stored_as[feature.name]])
        gone = pd.isna(wanted)
        for answer in answers:
            found = answer.to_numpy(dtype=object)
            if not (pd.isna(found) == gone).all() or not (found[~gone] == wanted[~gone]).all():
                leaked = int((found == (_LEAKED_WORD if feature.dtype is DType.STRING else _LEAKED)).sum())
                raise DifferentAnswers(f"{feature.name} is not what was known, in {leaked} rows by a leak.")
