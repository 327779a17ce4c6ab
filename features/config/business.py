"""Business: one company's TOML, parsed and checked, its paths resolved and its times in UTC."""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from features.config.data import (
    NO_ACTION,
    Bands,
    Cap,
    Churn,
    Column,
    Constant,
    CustomersSource,
    Decisions,
    EventsData,
    EventSource,
    Health,
    Identity,
    Section,
    TableData,
    TrainingPlan,
    Value,
    Written,
    sentence,
)
from features.config.evaluation import Evaluation, Watch
from features.config.expression import Expression
from features.config.policy import ActionSpec, LeverSpec, Policy, Recommendations
from features.config.suggestions import near_matches
from features.errors import ConfigError
from features.generation import Generation
from features.schema import ALL_PILLARS
from features.words import shown

__all__ = [
    "NO_ACTION",
    "ActionSpec",
    "Bands",
    "Business",
    "Cap",
    "Churn",
    "Column",
    "Constant",
    "CustomersSource",
    "Decisions",
    "Evaluation",
    "EventSource",
    "EventsData",
    "Health",
    "LeverSpec",
    "Policy",
    "Recommendations",
    "TableData",
    "TrainingPlan",
    "Value",
    "Watch",
    "Written",
]

_TABLES: Final = (
    "business", "data", "churn", "health", "value", "actions", "levers", "policy", "recommendations", "decisions",
    "evaluation", "watch",
    "training",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Business:
    """One company's TOML; `data` and `churn` are None where there is only a log of decisions."""

    name: str
    path: Path
    fingerprint: str  # sha256 of the TOML's bytes
    currency: str | None = None
    timezone: str = "UTC"
    data: TableData | EventsData | None = None
    churn: Churn | None = None
    health: Health = field(default_factory=Health)
    value: Value | None = None
    actions: tuple[ActionSpec, ...] = ()
    levers: tuple[LeverSpec, ...] = ()
    policy: Policy = field(default_factory=Policy)
    recommendations: Recommendations = field(default_factory=Recommendations)
    decisions: Decisions | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)
    watch: Watch = field(default_factory=Watch)
    training: TrainingPlan = field(default_factory=TrainingPlan)

    @classmethod
    def load(cls, path: Path) -> Business:
        """Read, parse and check a TOML; relative paths in it are relative to its folder.

        Raises:
            ConfigError: the file cannot be read, or a key is missing, misspelt or wrong.
        """
        path = path.absolute()
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise ConfigError(f"{path}: this is no file.")
            content = path.read_bytes()
            raw = tomllib.loads(content.decode("utf-8-sig"))
        except FileNotFoundError:
            siblings = (
                sorted(found.name for found in path.parent.glob("*.toml") if found.exists())
                if path.parent.is_dir()
                else []
            )
            raise ConfigError(f"{path}: there is no such file{near_matches(path.name, siblings)}") from None
        except OSError as error:
            raise ConfigError(f"{path}: the file cannot be read ({error.strerror}).") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: the file is not UTF-8 text; save it as UTF-8.") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: this is no valid TOML: {_in_words(error)}.") from None
        return _Reader(path, raw).read(hashlib.sha256(content).hexdigest())

    @classmethod
    def of(cls, generation: Generation) -> Business:
        """The business that a generation was built for, as its TOML was then.

        Raises:
            ConfigError: the generation's own copy of the TOML cannot be read.
        """
        return _loaded(generation.business_file)


def _in_words(error: tomllib.TOMLDecodeError) -> str:
    """What is wrong with a TOML, with a table as it is written there, not as Python has it."""
    said = _TUPLE.sub(lambda names: f"[{'.'.join(re.findall(_QUOTED, names[0]))}]", str(error))
    return said.replace("Cannot overwrite a value", "A key is there twice")


@lru_cache(maxsize=4)
def _loaded(path: Path) -> Business:
    # A generation's own copy never changes.
    return Business.load(path)


_T = TypeVar("_T", bound=Section)
_QUOTED: Final = r"'([^']*)'"
_TUPLE: Final = re.compile(r"\('[^()]*'(, '[^()]*')*,?\)")


@dataclass(frozen=True, slots=True)
class _Reader:
    path: Path
    raw: Mapping[str, Any]

    def read(self, fingerprint: str) -> Business:
        for table in self.raw:
            if table not in _TABLES:
                raise self.error(f"there is no table [{table}]{near_matches(table, _TABLES)}")
        identity = self.section(Identity, "business", "UTC")
        if identity is None:
            raise self.error("the table [business] is missing; it needs at least a name")
        data = self.data(identity.timezone)
        churn = self.section(Churn, "churn", identity.timezone)
        decisions = self.section(Decisions, "decisions", identity.timezone)
        if data is None and decisions is None:
            raise self.error("there is neither a table [data] nor [decisions]")
        if data is not None:
            churn = self.checked_churn(data, churn)
        elif churn is not None:
            raise self.error("[churn] needs a table [data]")
        health = self.section(Health, "health", identity.timezone) or Health()
        if health.bands.red > health.bands.green:
            raise self.error("[health] bands: red must not be above green")
        value = self.section(Value, "value", identity.timezone)
        if value is not None:
            Expression.parse(value.at_stake, f"{self.path}: [value] at_stake")
        if isinstance(decisions, Decisions):
            self.check_decisions(decisions)
        actions = self.actions()
        return Business(
            name=identity.name,
            path=self.path,
            fingerprint=fingerprint,
            currency=identity.currency,
            timezone=identity.timezone,
            data=data,
            churn=churn,
            health=health,
            value=value,
            actions=actions,
            levers=self.levers(actions),
            policy=self.section(Policy, "policy", identity.timezone) or Policy(),
            recommendations=self.section(Recommendations, "recommendations", identity.timezone) or Recommendations(),
            decisions=decisions,
            evaluation=self.section(Evaluation, "evaluation", identity.timezone) or Evaluation(),
            watch=self.section(Watch, "watch", identity.timezone) or Watch(),
            training=self.section(TrainingPlan, "training", identity.timezone) or TrainingPlan(),
        )

    def error(self, what: str) -> ConfigError:
        return ConfigError(f"{self.path}: {what}{'' if what.endswith(('?', '.')) else '.'}")

    def section(self, model: type[_T], table: str, timezone: str) -> _T | None:
        raw = self.raw.get(table)
        return None if raw is None else self.validated(model, raw, table, timezone)

    def validated(self, model: type[_T], raw: object, table: str, timezone: str) -> _T:
        if not isinstance(raw, dict):
            raise self.error(f"[{table}] must be a table")
        context = {"folder": self.path.parent, "timezone": timezone}
        try:
            return model.model_validate(raw, context=context)
        except ValidationError as error:
            raise self.error(sentence(error, model, table)) from None

    def data(self, timezone: str) -> TableData | EventsData | None:
        raw = self.raw.get("data")
        if raw is None:
            return None
        kind = raw.get("kind") if isinstance(raw, dict) else None
        if kind == "table":
            table = self.validated(TableData, raw, "data", timezone)
            self.check_table(table)
            return table
        if kind == "events":
            events = self.validated(EventsData, raw, "data", timezone)
            for source in events.events:
                if source.where is not None:
                    Expression.parse(source.where, f"{self.path}: [data.events] where", result="condition")
            return events
        raise self.error(f'[data] kind must be "table" or "events", not {shown(kind)}')

    def check_table(self, data: TableData) -> None:
        for key, column in (("outcome", data.outcome), ("customer_id", data.customer_id), ("group", data.group)):
            if column is not None and column in data.drop:
                raise self.error(f"[data] drop: {column!r} is the {key} and cannot be dropped")
        if data.outcome in (data.customer_id, data.group, data.order):
            raise self.error(f"[data] outcome: {data.outcome!r} is also the customer_id, group or order")
        if isinstance(data.churned, float) and not math.isfinite(data.churned):
            raise self.error(f"[data] churned: {data.churned} is no value that a column can be compared with")
        for column, pillar in data.pillars.items():
            if pillar not in ALL_PILLARS:
                raise self.error(
                    f"[data.pillars] {column!r}: there is no pillar {pillar!r}{near_matches(pillar, ALL_PILLARS)}"
                )
        for table, columns in (("pillars", data.pillars), ("directions", data.directions)):
            for column in columns:
                if column in (*data.drop, data.outcome, data.customer_id, data.group, data.order):
                    raise self.error(
                        f"[data.{table}] {column!r} is no feature: it is dropped, or the outcome, customer_id, group or order"
                    )

    def checked_churn(self, data: TableData | EventsData, churn: Churn | None) -> Churn:
        if churn is None:
            raise self.error("the table [churn] is missing; it needs at least horizon_days")
        given = self.raw["churn"]
        if isinstance(data, TableData):
            for key in given:
                if key != "horizon_days":
                    raise self.error(f'[churn] {key} is only for data of kind "events": a table knows its outcome')
            return churn
        definition = churn.definition or ("event" if churn.event and not churn.activity else "inactivity")
        if definition == "inactivity" and (churn.event or not churn.activity):
            raise self.error(
                '[churn] event is only for the definition "event"'
                if churn.event
                else '[churn] activity must list the event types that show a customer is active, such as ["purchase"]'
            )
        if definition == "event" and (churn.activity or not churn.event):
            raise self.error(
                '[churn] activity is only for the definition "inactivity"'
                if churn.activity
                else '[churn] event must name the event type that means churned, such as "subscription_cancelled"'
            )
        return churn.model_copy(update={"definition": definition})

    def check_decisions(self, decisions: Decisions) -> None:
        if isinstance(decisions.pscore, float) and not 0 < decisions.pscore <= 1:
            raise self.error("[decisions] pscore: a constant must be above 0 and at most 1")
        if decisions.no_action is not None and decisions.compare_to is not None:
            raise self.error(
                "[decisions] no_action and compare_to both name what actions are compared with: leave one of them out"
            )
        for key, column in (("action", decisions.action), ("reward", decisions.reward)):
            if column in decisions.drop:
                raise self.error(f"[decisions] drop: {column!r} is the {key} and cannot be dropped")

    def actions(self) -> tuple[ActionSpec, ...]:
        raw = self.raw.get("actions", [])
        if not isinstance(raw, list):
            raise self.error("actions must be written as [[actions]], once per action")
        actions = tuple(self.validated(ActionSpec, action, "[actions]", "UTC") for action in raw)
        for name, count in Counter(action.name for action in actions).items():
            if count > 1:
                raise self.error(f"[[actions]] name: {name!r} appears {count} times")
            if name == NO_ACTION:
                raise self.error(f"[[actions]] name: {NO_ACTION!r} is reserved, it always competes")
        for action in actions:
            self.check_condition(action.where, "[[actions]] where")
            if action.channel in action.channels:
                raise self.error(f"[[actions]] channels: {action.channel!r} is the channel of {action.name!r} already")
        return actions

    def levers(self, actions: tuple[ActionSpec, ...]) -> tuple[LeverSpec, ...]:
        raw = self.raw.get("levers", [])
        if not isinstance(raw, list):
            raise self.error("levers must be written as [[levers]], once per lever")
        levers = tuple(self.validated(LeverSpec, lever, "[levers]", "UTC") for lever in raw)
        names = [action.name for action in actions]
        for lever in levers:
            self.check_condition(lever.where, "[[levers]] where")
            for name in lever.actions:
                if name not in names:
                    raise self.error(f"[[levers]] actions: there is no action {name!r}{near_matches(name, names)}")
        return levers

    def check_condition(self, condition: str | None, where: str) -> None:
        if condition is not None:
            Expression.parse(condition, f"{self.path}: {where}", result="condition")
