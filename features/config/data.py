"""The tables of a business's TOML, each as a frozen model whose keys and values are checked."""

from __future__ import annotations

import math
import os
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import UnionType
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from features.config.search_budget import Budget
from features.config.suggestions import near_matches
from features.config.wording import said_of
from features.words import shown, word

NO_ACTION: Final = "no_action"
MINIMUM_COVERAGE: Final = 0.5
MAX_SET_ASIDE: Final = 0.05
SURVEYS: Final = ("nps", "csat", "ces")
"""The kinds of survey that become features."""
_NAME: Final = re.compile(r"[a-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a data file, where a constant could stand too: `{ column = "…" }`."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value, where the name of a column could stand too: `{ constant = "…" }`."""

    value: str | int | float


@dataclass(frozen=True, slots=True, repr=False)
class Filled:
    """Any value, where one value could stand too: `{ filled = true }`."""

    def __repr__(self) -> str:
        return "any value"


def _value_or_filled(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if set(value) != {"filled"} or value["filled"] is not True:
        raise ValueError("it must be a value of that column, or { filled = true } where any value means it")
    return Filled()


def _resolved(path: object, info: ValidationInfo) -> Path:
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ValueError("it must name a file, a folder or a glob")
    return Path(os.path.normpath(info.context["folder"] / path)) if info.context else Path(path)


def _column_or(constant: type | UnionType, what: str) -> BeforeValidator:
    def check(value: object) -> object:
        if isinstance(value, dict):
            column = value.get("column")
            if set(value) == {"column"} and isinstance(column, str) and column:
                return Column(word(column))
            raise ValueError(f'it must be {what} or {{ column = "…" }}')
        if isinstance(value, bool) or not isinstance(value, constant) or value == "":
            raise ValueError(f'it must be {what} or {{ column = "…" }}')
        return word(value) if isinstance(value, str) else value

    return BeforeValidator(check)


def _column_or_constant(value: object) -> object:
    if isinstance(value, dict) and set(value) == {"constant"}:
        constant = value["constant"]
        number = isinstance(constant, int | float) and not isinstance(constant, bool) and math.isfinite(constant)
        if number or (isinstance(constant, str) and constant):
            return Constant(word(constant) if isinstance(constant, str) else constant)
    elif isinstance(value, str) and value:
        return word(value)
    raise ValueError('it must be the name of a column or { constant = "…" }')


def _moments(value: object, info: ValidationInfo) -> object:
    """A list of dates as sorted UTC times; a date without zone is that midnight in the business's time zone."""
    if not isinstance(value, list):
        return value
    zone = zoneinfo.ZoneInfo(info.context["timezone"] if info.context else "UTC")
    moments: set[datetime] = set()
    for element in value:
        moment = element
        if isinstance(moment, str):
            try:
                moment = datetime.fromisoformat(moment)
            except ValueError:
                raise ValueError(f"{element!r} is no date such as 2011-09-10") from None
        if isinstance(moment, date) and not isinstance(moment, datetime):
            moment = datetime.combine(moment, time())
        if not isinstance(moment, datetime):
            raise ValueError(f"{element!r} is no date such as 2011-09-10")
        moments.add((moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC))
    if not moments:
        raise ValueError("it must list at least one date")
    return tuple(sorted(moments))


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_many(value: object) -> object:
    """`[data.events]` once is a list of one."""
    return (value,) if isinstance(value, dict) else _listed(value)


def _delimiter(value: str) -> str:
    if len(value) != 1 or value in '\0\r\n"':
        raise ValueError(f"{shown(value)} is no delimiter: it must be one character, such as ';'")
    return value


def _encoding(value: str) -> str:
    try:
        "a".encode(value)
    except (LookupError, ValueError):
        raise ValueError(f"{shown(value)} is no encoding such as 'cp1252', 'mac_roman' or 'utf-16'") from None
    return value


def _business_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{shown(value)} must be 1 to 40 characters of a-z, 0-9, _ and -, as it names models")
    return value


def _time_zone(value: str) -> str:
    known = zoneinfo.available_timezones() - {"localtime"}
    if value not in known:
        near = near_matches(value, sorted(known))
        meant = near if "did you mean" in near else " such as 'Europe/Paris' or 'UTC'"
        raise ValueError(f"{shown(value)} is no time zone{meant}")
    return value


def _budget(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('it must be text such as "10 trials" or "3 minutes"')
    return Budget.parse(value)


Text = Annotated[str, Field(min_length=1), AfterValidator(word)]
Source = Annotated[Path, BeforeValidator(_resolved)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_listed)]
Share = Annotated[float, Field(ge=0, le=1)]
Delimiter = Annotated[str, AfterValidator(_delimiter)]
Moments = Annotated[tuple[datetime, ...], BeforeValidator(_moments)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class Written(Section):
    """How a source is written, where that is not to be found out from it.

    `skip_lines` come before the header; `columns` names those of a file that has none. `decimal` and `thousands` are the
    signs of its numbers ("" where nothing parts thousands); `missing` lists what means missing, in every column, instead of
    what tools are known to write.
    """

    delimiter: Delimiter | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] | None = None
    skip_lines: Annotated[int, Field(ge=0, le=1000)] = 0
    columns: Names = ()
    decimal: Literal[".", ","] | None = None
    thousands: Literal[",", ".", " ", "'", ""] | None = None
    missing: Names | None = None

    @model_validator(mode="after")
    def _differ(self) -> Written:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        return self

    @property
    def decimal_sign(self) -> str | None:
        """The decimal sign that the keys say or imply."""
        return self.decimal or {",": ".", ".": ","}.get(self.thousands or "")


class TableData(Written):
    """One row per customer, outcome known; `order` is "file" or a column, `pillars` maps columns to pillars.

    `directions` maps columns to 1 where more of a number never means less risk, and to −1 where it never means more.
    """

    kind: Literal["table"]
    path: Source
    outcome: Text
    churned: Annotated[str | bool | int | float | Filled, BeforeValidator(_value_or_filled)]
    customer_id: Text | None = None
    drop: Names = ()
    order: Text | None = None
    order_format: Text | None = None
    max_set_aside: Share = MAX_SET_ASIDE
    group: Text | None = None
    pillars: dict[Text, str] = {}
    directions: dict[Text, Literal[-1, 1]] = {}


class EventSource(Written):
    """One source of events; what is None takes the canonical column of that name where the file has it."""

    path: Source
    customer_id: Text | None = None
    occurred_at: Text | None = None
    occurred_time: Text | None = None
    occurred_format: Text | None = None
    received_at: Text | None = None
    received_format: Text | None = None
    type: Annotated[str | Column | None, _column_or(str, "a constant")] = None
    event_id: Text | None = None
    channel: Text | None = None
    value: Text | None = None
    text: Text | None = None
    where: Text | None = None
    properties: dict[Text, Annotated[str | Constant, BeforeValidator(_column_or_constant)]] = {}


class LiveSource(EventSource):
    """What came in live, in canonical columns: no TOML names it, and nothing in it is a marker of what is missing.

    An event may say that it `replaces` another.
    """

    missing: Names | None = ()


class CustomersSource(Written):
    """The customers of an event business; columns that no key names become attributes, those of `drop` aside."""

    path: Source
    customer_id: Text | None = None
    created_at: Text | None = None
    created_format: Text | None = None
    name: Text | None = None
    owner: Text | None = None
    plan: Text | None = None
    mrr: Text | None = None
    drop: Names = ()


class EventsData(Section):
    """An event log of one or more sources, and optionally the customers; `units` maps event types to what their value counts.

    `drop` names features from which models do not learn.
    """

    kind: Literal["events"]
    events: Annotated[tuple[EventSource, ...], BeforeValidator(_one_or_many), Field(min_length=1)]
    customers: CustomersSource | None = None
    drop: Names = ()
    max_set_aside: Share = MAX_SET_ASIDE
    units: dict[Text, Annotated[str, Field(pattern=r"^[^{}]{1,40}$")]] = {}


class Churn(Section):
    """What counts as churned, and the dates of the training snapshots (UTC); only the horizon matters to a table."""

    horizon_days: Annotated[int, Field(ge=1, le=3650)]
    definition: Literal["inactivity", "event"] | None = None
    activity: Names = ()
    event: Text | None = None
    cutoffs: Annotated[Literal["weekly", "monthly"] | tuple[datetime, ...], BeforeValidator(_moments)] = "monthly"
    test_cutoffs: Moments | None = None


class Bands(Section):
    """Where health turns: red < `red` ≤ yellow < `green` ≤ green."""

    red: Annotated[float, Field(ge=0, le=100)] = 40.0
    green: Annotated[float, Field(ge=0, le=100)] = 60.0


class Health(Section):
    """What a scorecard version freezes; None is chosen by the data, as DESIGN.md says.

    Below `minimum_coverage`, the share of what is typically known that is known of a customer, health has no colour.
    """

    p_ref: Annotated[float, Field(gt=0, lt=1)] | None = None
    pdo: Annotated[float, Field(gt=0, le=1000)] | None = None
    bands: Bands = Bands()
    minimum_coverage: Annotated[float, Field(ge=0, le=1)] = MINIMUM_COVERAGE


class TrainingPlan(Section):
    """How long `training run` looks for a model; None leaves it to training."""

    budget: Annotated[Budget | None, BeforeValidator(_budget)] = None


class Value(Section):
    """What is lost with a customer: an expression over attributes and features, in the business's currency."""

    at_stake: Text


class Cap(Section):
    """At most `count` times within `days`."""

    count: Annotated[int, Field(gt=0)]
    days: Annotated[int, Field(gt=0, le=3650)]


class Decisions(Written):
    """A trial or a log of decisions, for `training policy`."""

    path: Source
    action: Text
    reward: Text
    rewarded: Annotated[str | bool | int | float | Filled | None, BeforeValidator(_value_or_filled)] = None
    pscore: Annotated[float | Column, _column_or(int | float, "a constant")]
    no_action: Text | None = None
    compare_to: Text | None = None
    customer_id: Text | None = None
    drop: Names = ()


class Identity(Section):
    """Who the business is."""

    name: Annotated[str, AfterValidator(_business_name)]
    currency: Annotated[str, Field(min_length=1, max_length=8)] | None = None
    timezone: Annotated[str, AfterValidator(_time_zone)] = "UTC"


def sentence(error: ValidationError, model: type[BaseModel], table: str) -> str:
    """The first thing wrong with a table, misspelt keys first: they explain the missing ones."""
    problems = error.errors(include_url=False)
    problem = next((found for found in problems if found["type"] == "extra_forbidden"), problems[0])
    location = list(problem["loc"])
    owner: type[BaseModel] = model
    keys: list[str] = []
    for step in location:
        inner = owner.model_fields.get(step) if isinstance(step, str) else None
        if inner is None and (isinstance(step, int) or problem["type"] != "extra_forbidden" or step != location[-1]):
            continue  # a position in a list, or the member of a union that pydantic tried
        keys.append(str(step))
        owner = _inner_table(inner.annotation) or owner if inner is not None else owner
    *parents, key = keys or ["?"]
    header = f"[{'.'.join([table.strip('[]'), *parents])}]"
    header = f"[{header}]" if table.startswith("[") else header
    position = next((step for step in location if isinstance(step, int)), 0)
    if position and parents == ["events"]:
        header = f"[{header}] number {position + 1}"
    if problem["type"] == "extra_forbidden":
        return f"{header} has no key {key!r}{near_matches(key, sorted(owner.model_fields))}"
    if problem["type"] == "missing":
        return f"{header} needs the key {key!r}"
    return f"{header} {key}: {said_of(problem)}"


def _inner_table(annotation: object) -> type[BaseModel] | None:
    """The table that an annotation such as `Cap | None` or `tuple[EventSource, ...]` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_table(argument)
        if found is not None:
            return found
    return None
