"""What a feature is, and in which order features stand: the canonical declaration that every other part reads."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import SchemaMismatch

PILLARS = ("adoption", "engagement", "sentiment", "support", "commercial", "relationship")
OTHER = "other"
ALL_PILLARS = (*PILLARS, OTHER)

Value = float | str | None
Column = Sequence[Any] | npt.NDArray[Any]

_SENTENCE = "{name} is {value}"
_MISSING = "{name} is not known"
_SLOT = re.compile(r"\{(value|s|es|name)\}")
# Stands for the value in a sentence that is filled in but for it; no text holds it, for JSON and Arrow refuse it.
_VALUE = "\ud800"
_CARRIED = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()%+-]*\Z")
_UNFILLED = {"{value}": "…", "{s}": "s", "{es}": "es"}
_RESERVED = frozenset({"customer_id", "event_timestamp", "created_timestamp", "created", "entity_key", "entity_df_row"})


class DType(StrEnum):
    """How a feature is stored: Float32 or String."""

    FLOAT = "float"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Feature:
    """One figure or word that is known of a customer at a moment, declared once.

    `sentence` says it to a person: `{value}` is the rounded value, `{s}` or `{es}` a plural ending, `{name}` the feature's name;
    `missing` is said when the value is null. `direction` is +1 where more of it goes with more churn, −1 with less,
    0 where that is not known beforehand. Features that are not `predictive` serve decisions only.
    `expression` maps the pillar's Ibis table (one row per customer and visible event) to an aggregate.
    """

    name: str
    pillar: str
    dtype: DType = DType.FLOAT
    unit: str = ""
    sentence: str = _SENTENCE
    missing: str = _MISSING
    direction: int = 0
    predictive: bool = True
    expression: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    @property
    def is_never_null(self) -> bool:
        """Whether it is a count or a sum over events, which has a sentence of its own and none for when it is missing."""
        return self.sentence != _SENTENCE and self.missing == _MISSING

    def describe(self, value: object, typical: object) -> str:
        """Say `value` to a person, and what is `typical`: "4 open tickets; 0 is typical"."""
        return self.say(value) + self.beside(typical)

    def beside(self, typical: object) -> str:
        """What follows a value that is said: "; 0 is typical"."""
        return f"; {self.show(typical) or 'none'} is typical"

    def say(self, value: object) -> str:
        """Say `value` to a person: "4 open tickets"."""
        shown = self.show(value)
        missing, one, more = _sentences(self.missing, self.sentence, self.name)
        if shown is None:
            return missing
        return (one if shown == "1" else more).replace(_VALUE, shown)

    @property
    def subject(self) -> str:
        """What it is about, from its sentence without the figure: "days since the last session"."""
        name = self.name.replace("_", " ").replace("-", " ").strip()
        text = self.sentence.replace("{name}", name[:1].upper() + name[1:])
        for slot, instead in _UNFILLED.items():
            text = text.replace(slot, instead)
        return text.removeprefix("… ").removesuffix("…").strip().removesuffix(":").removesuffix(" is")

    def show(self, value: object) -> str | None:
        """`value` rounded for people, or None for null."""
        if value is None:
            return None
        if isinstance(value, str):
            return value or "(empty)"
        number = float(value)  # type: ignore[arg-type]
        if math.isnan(number):
            return None
        if self.unit == "share":
            return f"{_rounded(100 * number)} %"
        return _rounded(number)

    def to_json(self) -> dict[str, Any]:
        """The declaration as plain JSON, without the expression."""
        return {
            "name": self.name,
            "pillar": self.pillar,
            "dtype": self.dtype.value,
            "unit": self.unit,
            "sentence": self.sentence,
            "missing": self.missing,
            "direction": self.direction,
            "predictive": self.predictive,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Feature:
        """A declaration from the JSON of `to_json`."""
        return cls(**{**data, "dtype": DType(data["dtype"])})


@lru_cache(maxsize=4096)
def _sentences(missing: str, sentence: str, name: str) -> tuple[str, str, str]:
    """What is said of no value, of one and of others, with _VALUE where the value goes."""

    def filled(template: str, value: str, plural: bool) -> str:
        slots = {"value": value, "s": "s" if plural else "", "es": "es" if plural else "", "name": name}
        return _SLOT.sub(lambda slot: slots[slot[1]], template)

    return filled(missing, "", True), filled(sentence, _VALUE, False), filled(sentence, _VALUE, True)


def _rounded(number: float) -> str:
    size = abs(number)
    if size >= 100 or number == int(number):
        text = f"{number:,.0f}"
    elif size >= 0.01:
        text = f"{number:.{1 if size >= 10 else 2}f}".rstrip("0").rstrip(".")
    else:
        text = f"{number:.2g}"
    return "0" if text == "-0" else text


@dataclass(frozen=True, slots=True)
class Pillar:
    """One of the sides of a relationship, with its features in column order."""

    name: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """Features in a fixed order, which is the column order of every matrix."""

    features: tuple[Feature, ...]
    _by_name: dict[str, Feature] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {feature.name: feature for feature in self.features}
        if len(by_name) != len(self.features):
            names = [feature.name for feature in self.features]
            raise SchemaMismatch(f"Feature '{next(n for n in names if names.count(n) > 1)}' is declared twice.")
        object.__setattr__(self, "_by_name", by_name)

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Feature:
        try:
            return self._by_name[name]
        except KeyError:
            raise SchemaMismatch(f"No feature is called '{name}'.") from None

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in column order."""
        return tuple(feature.name for feature in self.features)

    @property
    def pillars(self) -> tuple[Pillar, ...]:
        """The pillars that have features, in the order of `ALL_PILLARS`."""
        grouped: dict[str, list[Feature]] = {}
        for feature in self.features:
            grouped.setdefault(feature.pillar, []).append(feature)
        ordered = sorted(grouped, key=lambda name: ALL_PILLARS.index(name) if name in ALL_PILLARS else len(ALL_PILLARS))
        return tuple(Pillar(name, tuple(grouped[name])) for name in ordered)

    @property
    def predictive(self) -> FeatureSchema:
        """The features that a model may use, in the same order."""
        return FeatureSchema(tuple(feature for feature in self.features if feature.predictive))

    @property
    def witnesses(self) -> tuple[int, ...]:
        """Per column, the column that is null until something happened that it could count; itself where there is none.

        Over no events, counts and sums are 0, while the time since the newest event of their pillar is null.
        """
        position = {name: column for column, name in enumerate(self.names)}
        witness: dict[str, int] = {}
        for pillar in self.pillars:
            age = f"{pillar.name}_age_days"
            recencies = [feature.name for feature in pillar.features if feature.name.endswith("_recency_days")]
            if age in position:
                witness[pillar.name] = position[age]
            elif len(recencies) == 1:
                witness[pillar.name] = position[recencies[0]]
        return tuple(
            witness.get(feature.pillar, column) if feature.is_never_null else column
            for column, feature in enumerate(self.features)
        )

    def select(self, names: Sequence[str]) -> FeatureSchema:
        """The features called `names`, in that order.

        Raises:
            SchemaMismatch: a name is not declared.
        """
        return FeatureSchema(tuple(self[name] for name in names))

    @property
    def stored_as(self) -> dict[str, str]:
        """Feature name -> column name in snapshots and in Feast: the same, but for names that those can't carry.

        DuckDB's columns ignore case, Feast splits references at ":" and joins them with "__", and both have words of
        their own; such names are stored under an escaped one. This is the only place that knows.
        """
        stored: dict[str, str] = {}
        taken: set[str] = set()
        carried = [name for name in self.names if _is_carried(name)]
        for name in [*carried, *(name for name in self.names if name not in set(carried))]:
            column = name if _is_carried(name) else _escaped(name)
            candidate, copy = column, 1
            while candidate.lower() in taken:
                copy += 1
                candidate = f"{column} ({copy})"
            taken.add(candidate.lower())
            stored[name] = candidate
        return {name: stored[name] for name in self.names}

    def to_matrix(
        self, columns: Mapping[str, Column], categories: Mapping[str, Sequence[str]], rows: int = 0
    ) -> npt.NDArray[np.float32]:
        """Encode raw columns as a float32 matrix (n, d), C order: the only place that knows column order.

        Numbers are rounded to the nearest float32 and null is NaN. A word becomes the index of its category in
        `categories[name]`; an unseen word is NaN. A schema without features has so many `rows`.

        Raises:
            SchemaMismatch: a column is missing, holds a word where a number belongs, or differs in length.
        """
        absent = [name for name in self.names if name not in columns]
        if absent:
            raise SchemaMismatch(f"The rows lack {_listed(absent)}.")
        rows = len(columns[self.features[0].name]) if self.features else rows
        matrix = np.empty((rows, len(self.features)), dtype=np.float32)
        for position, feature in enumerate(self.features):
            column = columns[feature.name]
            if len(column) != rows:
                raise SchemaMismatch(f"Column '{feature.name}' has {len(column)} rows where others have {rows}.")
            if feature.dtype is DType.STRING:
                code = {category: float(index) for index, category in enumerate(categories.get(feature.name, ()))}
                matrix[:, position] = [code.get(word, math.nan) for word in column]
                continue
            try:
                matrix[:, position] = column
            except (TypeError, ValueError):
                raise SchemaMismatch(f"Column '{feature.name}' holds something that is no number.") from None
        return matrix

    def to_json(self) -> dict[str, Any]:
        """The schema as plain JSON, in column order."""
        return {"features": [feature.to_json() for feature in self.features]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FeatureSchema:
        """A schema from the JSON of `to_json`; its features carry no expressions."""
        return cls(tuple(Feature.from_json(entry) for entry in data["features"]))


def _is_carried(name: str) -> bool:
    # The tail "(2)" is what tells copies apart that differ in case only.
    return bool(_CARRIED.match(name)) and "__" not in name and name.lower() not in _RESERVED and name == name.strip()


def _escaped(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9 .-]|_(?=_)", lambda match: f"%{ord(match[0]):x}", name)
    return f"column {safe}"


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names[:5]]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ("column " if len(names) == 1 else "columns ") + ", ".join(quoted) + more
