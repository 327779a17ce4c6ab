"""From a generation of features to labelled rows that are divided for training and testing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.config.business import Business, EventsData, TableData
from features.errors import IngestError
from features.generation import Generation
from features.home import Home
from features.ingestion import source_files as source
from features.schema import DType
from features.store.offline import OfflineStore
from models.arrays import Rows
from training.dataset.data_checks import warning_signs
from training.dataset.labels import Cutoffs, entity_frame, label_events, label_table
from training.dataset.leakage import GivenColumns, Leak, find_leaks
from training.dataset.split import Split, at_cutoffs, identical_rows, in_folds, in_order, together
from training.dataset.time_windows import Windows
from training.dataset.training_set import Labels, TrainingSet, check_labels, informative
from training.errors import StaleGeneration, TrainingError


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a model is fitted on: labelled rows and how they are divided; `everything` has the uninformative features too."""

    everything: TrainingSet
    data: TrainingSet
    split: Split
    cutoffs: Cutoffs
    horizon_days: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What the build said of how files were read."""
    leaks: tuple[Leak, ...] = ()

    @property
    def train(self) -> Rows:
        """The rows that the served model is fitted on."""
        return self.split.folds[0].train if self.split.is_time else np.arange(len(self.data), dtype=np.int64)

    @property
    def windows(self) -> Windows | None:
        """The training rows' windows; None where rows have no order in time."""
        rank = self.data.labels.rank
        if rank is None:
            return None
        if self.cutoffs.train:
            return Windows.of_cutoffs(rank[self.train], self.cutoffs.train, self.horizon_days)
        return Windows.of_order(rank[self.train])


def current_generation(business: Business, home: Home) -> Generation:
    """The live generation, if it was built from this TOML, and its data, as they are now.

    Raises:
        FeaturesError: nothing was built yet, or the home is another business's.
        StaleGeneration: the TOML or its data was changed since.
    """
    if business.data is None or business.churn is None:
        raise TrainingError(f"{business.path}: training needs [data] and [churn].")
    if home.business is not None:
        home.claim(business.name)
    generation = Generation.current(home)
    if generation.business != business.name or generation.configuration != business.fingerprint:
        raise StaleGeneration(
            f"The features in {home.path} were built before {business.path.name} was changed: "
            f"run 'python -m features build {business.path}' first."
        )
    if _data_changed(business, generation):
        raise StaleGeneration(
            f"The data of {business.path.name} changed after its features were built: "
            f"run 'python -m features build {business.path}' first."
        )
    return generation


def _data_changed(business: Business, generation: Generation) -> bool:
    """Whether the sources have other bytes than those that were built; sources that are gone have not changed."""
    data = business.data
    paths = [data.path] if isinstance(data, TableData) else []
    if isinstance(data, EventsData):
        paths = [one.path for one in data.events] + ([data.customers.path] if data.customers else [])
    try:
        files = [file for path in paths for file in source.find(path)]
        digests = source.digests(files, lambda *_: None, {})
        return source.fingerprint(files, digests) != generation.fingerprint
    except (IngestError, OSError):
        return False


def prepare(generation: Generation, business: Business) -> Prepared:
    """Label, join features point in time, divide, and leave out what says nothing.

    Raises:
        LabelError: there is nothing to learn from.
    """
    notes: list[str] = []
    if isinstance(business.data, TableData):
        labels, cutoffs = label_table(generation, ordered=business.data.order is not None), Cutoffs((), ())
    else:
        labels, cutoffs = label_events(generation, business)
        if cutoffs.early:
            days = ", ".join(f"{cutoff:%Y-%m-%d}" for cutoff in cutoffs.early)
            notes.append(
                f"Less than {generation.horizon_days} days of events came before {days}: nothing trains there."
            )
    check_labels(labels, np.arange(len(labels), dtype=np.int64), "labelled rows")
    data = joined(generation, labels)
    if isinstance(business.data, TableData):
        data = _kept_together(data, notes)
        split = in_folds(data.y, data.labels.group) if labels.rank is None else in_order(labels.rank, data.labels.group)
    else:
        assert labels.rank is not None
        split = at_cutoffs(labels.rank >= len(cutoffs.train))
    if split.is_time:
        check_labels(labels, split.folds[0].train, "training rows")
        check_labels(labels, split.folds[0].test, "test rows")
    prepared = Prepared(data, data, split, cutoffs, generation.horizon_days, ())
    data, left_out = informative(data, prepared.train)
    # A column that the model does without may still tell what else was written afterwards.
    given = GivenColumns.of(generation)
    leaks = find_leaks(prepared.everything, prepared.train, given)
    signs = warning_signs(data, split, prepared.train, given.key)
    told = (*notes, *left_out, *signs, *(leak.sentence for leak in leaks))
    return replace(prepared, data=data, warnings=told, notes=generation.sources.notes, leaks=leaks)


def joined(generation: Generation, labels: Labels) -> TrainingSet:
    schema = generation.schema.predictive
    frame = OfflineStore(generation).training_frame(entity_frame(labels), schema.names)
    columns: dict[str, npt.NDArray[Any]] = {}
    for feature in schema:
        dtype: Any = object if feature.dtype is DType.STRING else np.float64
        columns[feature.name] = frame[feature.name].to_numpy(dtype=dtype)
    return TrainingSet(schema, columns, labels)


def _kept_together(data: TrainingSet, notes: list[str]) -> TrainingSet:
    """The rows of a table, identical ones grouped: a copy of a tested row must not have trained."""
    everything = np.arange(len(data), dtype=np.int64)
    codes = {
        name: tuple(sorted({word for word in data.columns[name].tolist() if word is not None}))
        for name in data.strings()
    }
    same = identical_rows(data.X(everything, codes))
    copies = len(same) - len(np.unique(same))
    if copies:
        notes.append(
            f"{copies} of {len(same)} rows repeat another row in every feature: no copy trains what tests the other."
        )
    return replace(data, labels=replace(data.labels, group=together(same, data.labels.group)))
