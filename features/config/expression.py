"""The expressions of a TOML (`value`, `where`, `at_stake`): a small checked language, never Python's eval.

Columns, numbers, 'text', true and false; `+ - * / %`, comparisons, `in`, `and or not`; `abs`, `min`, `max`. A column whose
name is no identifier goes between backquotes (a dotted name needs none). Whatever is computed from a missing value, or
divided by zero, is missing; `and` and `or` follow SQL's three-valued logic.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Any, Final, Literal

from features.config.suggestions import near_matches
from features.errors import ConfigError

Scalar = float | str | bool | None

_ARITHMETIC: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
}
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_PYTHON: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": math.fmod,
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FUNCTIONS: Final = ("abs", "max", "min")
_ALLOWED: Final = "columns, numbers, 'text', + - * / %, comparisons, in, and, or, not, abs, min and max"
_MAX_LENGTH: Final = 2_000


class Kind(StrEnum):
    """What a part of an expression is."""

    NUMBER = "number"
    TEXT = "text"
    CONDITION = "condition"


# The tree after checking: what evaluates, compiles to SQL and to Ibis; Python's own nodes end here.
@dataclass(frozen=True, slots=True)
class _Literal:
    value: float | str | bool


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Operation:
    symbol: str  # a key of _PYTHON, "and", "or", "not", "negative", "abs", "min" or "max"
    operands: tuple[_Node, ...]


_Node = _Literal | _Column | _Operation


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression; `kinds` tells what each of its columns must hold."""

    text: str
    where: str
    kinds: Mapping[str, Kind]
    _root: _Node

    @classmethod
    def parse(cls, text: str, where: str, result: Literal["number", "condition"] = "number") -> Expression:
        """Parse `text`; `where` says in messages where it stands, such as "telco.toml, [value] at_stake".

        Raises:
            ConfigError: the text is no expression of this language, or not of the kind that `result` names.
        """
        source, quoted = _without_backquotes(text, where)
        if not source.strip():
            raise ConfigError(f"{where}: the expression is empty.")
        if len(source) > _MAX_LENGTH:
            raise ConfigError(f"{where}: the expression is longer than {_MAX_LENGTH} characters.")
        try:
            body = ast.parse(f"({source}\n)", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ConfigError(
                f"{where}: {_shown(text)} is no expression{_advice(text)} (allowed: {_ALLOWED})."
            ) from None
        builder = _Builder(text=text, where=where, quoted=quoted, kinds={})
        try:
            root = builder.build(body, Kind(result))
        except RecursionError:
            raise ConfigError(f"{where}: the expression is nested too deeply.") from None
        return cls(text=text, where=where, kinds=dict(builder.kinds), _root=root)

    @property
    def columns(self) -> frozenset[str]:
        """The columns it reads."""
        return frozenset(self.kinds)

    def evaluate(self, row: Mapping[str, Scalar]) -> float | None:
        """The value for one row, a condition as 1.0 or 0.0; None where an input is missing or the result is not finite.

        Raises:
            ConfigError: the row lacks a column, or holds text where a number is needed.
        """
        result = self._evaluate(self._root, row)
        if result is None or isinstance(result, str):
            return None
        number = float(result)
        return number if math.isfinite(number) else None

    def to_ibis(self, table: Any) -> Any:
        """The same expression as an Ibis value over `table`.

        Raises:
            ConfigError: the table lacks a column.
        """
        return self._to_ibis(self._root, table)

    def to_sql(self, column: Callable[[str, Kind], str]) -> str:
        """The same expression as DuckDB SQL; `column` gives the SQL of a column as DOUBLE, VARCHAR or BOOLEAN."""
        return _to_sql(self._root, column)

    def _missing_column(self, name: str, known: Sequence[str]) -> ConfigError:
        return ConfigError(
            f"{self.where}: {self.text!r} reads {name!r}, which does not exist{near_matches(name, known)}"
        )

    def _evaluate(self, node: _Node, row: Mapping[str, Scalar]) -> Scalar:
        if isinstance(node, _Literal):
            return node.value
        if isinstance(node, _Column):
            if node.name not in row:
                raise self._missing_column(node.name, list(row))
            return self._read(node, row[node.name])
        values = [self._evaluate(operand, row) for operand in node.operands]
        if node.symbol in ("and", "or"):
            decisive = node.symbol == "or"
            if any(value is not None and bool(value) is decisive for value in values):
                return decisive
            return None if None in values else not decisive
        if any(value is None for value in values):
            return None
        return _apply(node.symbol, values)

    def _read(self, column: _Column, value: Scalar) -> Scalar:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if column.kind is Kind.TEXT:
            return _as_text(value)
        if isinstance(value, str) and column.kind is Kind.CONDITION:
            return {"true": True, "false": False}.get(value.strip().lower())
        try:
            return bool(value) if column.kind is Kind.CONDITION else float(value)
        except ValueError:
            raise ConfigError(
                f"{self.where}: {self.text!r} computes with {column.name!r}, which holds the text {value!r}."
            ) from None

    def _to_ibis(self, node: _Node, table: Any) -> Any:
        import ibis  # seconds to import, and only snapshots need it

        if isinstance(node, _Literal):
            return ibis.literal(node.value)
        if isinstance(node, _Column):
            if node.name not in table.columns:
                raise self._missing_column(node.name, list(table.columns))
            value = table[node.name]
            if node.kind is Kind.NUMBER:
                return value.cast("float64")
            return value.cast("string") if node.kind is Kind.TEXT else value.cast("boolean")
        operands = [self._to_ibis(operand, table) for operand in node.operands]
        if node.symbol == "and":
            return reduce(operator.and_, operands)
        if node.symbol == "or":
            return reduce(operator.or_, operands)
        if node.symbol == "not":
            return ~operands[0]
        if node.symbol == "negative":
            return -operands[0]
        if node.symbol == "abs":
            return operands[0].abs()
        if node.symbol in ("min", "max"):
            missing = reduce(operator.or_, [operand.isnull() for operand in operands])
            chosen = ibis.least(*operands) if node.symbol == "min" else ibis.greatest(*operands)
            return missing.ifelse(ibis.null("float64"), chosen)
        left, right = operands
        if node.symbol in ("/", "%"):
            right = right.cast("float64").nullif(0.0)
        return operator.mod(left, right) if node.symbol == "%" else _PYTHON[node.symbol](left, right)


def _apply(symbol: str, values: Sequence[Any]) -> Scalar:
    if symbol == "not":
        return not values[0]
    if symbol == "negative":
        return float(-values[0])
    if symbol == "abs":
        return float(abs(values[0]))
    if symbol in ("min", "max"):
        return float(min(values) if symbol == "min" else max(values))
    if symbol in ("/", "%") and values[1] == 0:
        return None
    try:
        result = _PYTHON[symbol](*values)
    except (OverflowError, ValueError):  # fmod of an infinity
        return None
    return bool(result) if isinstance(result, bool) else float(result)


def _as_text(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _to_sql(node: _Node, column: Callable[[str, Kind], str]) -> str:
    if isinstance(node, _Literal):
        if isinstance(node.value, bool):
            return "TRUE" if node.value else "FALSE"
        if isinstance(node.value, str):
            return "'" + node.value.replace("'", "''") + "'"
        return f"{node.value!r}::DOUBLE"
    if isinstance(node, _Column):
        return column(node.name, node.kind)
    operands = [_to_sql(operand, column) for operand in node.operands]
    if node.symbol in ("and", "or"):
        return "(" + f" {node.symbol.upper()} ".join(operands) + ")"
    if node.symbol == "not":
        return f"(NOT {operands[0]})"
    if node.symbol == "negative":
        return f"(-{operands[0]})"
    if node.symbol == "abs":
        return f"abs({operands[0]})"
    if node.symbol in ("min", "max"):
        missing = " OR ".join(f"{operand} IS NULL" for operand in operands)
        function = "least" if node.symbol == "min" else "greatest"
        return f"(CASE WHEN {missing} THEN NULL ELSE {function}({', '.join(operands)}) END)"
    left, right = operands
    if node.symbol in ("/", "%"):
        right = f"nullif({right}, 0)"
    return f"({left} {node.symbol} {right})"


@dataclass(frozen=True, slots=True)
class _Builder:
    text: str
    where: str
    quoted: Mapping[str, str]
    kinds: dict[str, Kind]

    def refuse(self, what: str) -> ConfigError:
        return ConfigError(f"{self.where}: {_shown(self.text)} {what} (allowed: {_ALLOWED}).")

    def build(self, node: ast.expr, wanted: Kind) -> _Node:
        name = self.name(node)
        if name is not None:
            return self.column(name, wanted)
        if isinstance(node, ast.Name):
            return self.literal(node.id == "true", wanted)
        if isinstance(node, ast.Constant):
            return self.literal(node.value, wanted)
        kind, built = self.operation(node)
        if kind is not wanted:
            raise self.refuse(f"is a {kind} where a {wanted} is needed")
        return built

    def literal(self, value: object, wanted: Kind) -> _Literal:
        if isinstance(value, bool):
            kind = Kind.CONDITION
        elif isinstance(value, int | float) and _finite(value):
            kind, value = Kind.NUMBER, float(value)
        elif isinstance(value, str):
            kind = Kind.TEXT
        else:
            raise self.refuse(f"holds {value!r}, which is neither a number nor text")
        if kind is not wanted:
            raise self.refuse(f"has {value!r} where a {wanted} is needed")
        return _Literal(value)

    def column(self, name: str, kind: Kind) -> _Column:
        if self.kinds.setdefault(name, kind) is not kind:
            raise self.refuse(f"uses {name!r} both as {self.kinds[name]} and as {kind}")
        return _Column(name, kind)

    def operation(self, node: ast.expr) -> tuple[Kind, _Node]:
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            operands = (self.build(node.left, Kind.NUMBER), self.build(node.right, Kind.NUMBER))
            return Kind.NUMBER, _Operation(_ARITHMETIC[type(node.op)], operands)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            operand = self.build(node.operand, Kind.NUMBER)
            return Kind.NUMBER, operand if isinstance(node.op, ast.UAdd) else _Operation("negative", (operand,))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return Kind.CONDITION, _Operation("not", (self.build(node.operand, Kind.CONDITION),))
        if isinstance(node, ast.BoolOp):
            symbol = "and" if isinstance(node.op, ast.And) else "or"
            return Kind.CONDITION, _Operation(symbol, tuple(self.build(part, Kind.CONDITION) for part in node.values))
        if isinstance(node, ast.Compare):
            return Kind.CONDITION, self.comparison(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            least = 1 if node.func.id == "abs" else 2
            if node.keywords or len(node.args) < least or (least == 1 and len(node.args) > 1):
                raise self.refuse(f"calls {node.func.id} with the wrong number of values")
            return Kind.NUMBER, _Operation(node.func.id, tuple(self.build(arg, Kind.NUMBER) for arg in node.args))
        raise self.refuse(f"holds something that is not allowed{_advice(self.text)}")

    def comparison(self, node: ast.Compare) -> _Node:
        parts: list[_Node] = []
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
                    raise self.refuse("needs a list after `in`, such as ['a', 'b']")
                kind = self.compared([left, *right.elts], "=")
                tested = self.build(left, kind)
                equal = tuple(_Operation("=", (tested, self.build(element, kind))) for element in right.elts)
                found: _Node = _Operation("or", equal)
                parts.append(_Operation("not", (found,)) if isinstance(op, ast.NotIn) else found)
            elif type(op) in _COMPARISONS:
                symbol = _COMPARISONS[type(op)]
                kind = self.compared([left, right], symbol)
                parts.append(_Operation(symbol, (self.build(left, kind), self.build(right, kind))))
            else:
                raise self.refuse("uses `is`, which is not allowed: a missing value matches no condition")
            left = right
        return parts[0] if len(parts) == 1 else _Operation("and", tuple(parts))

    def compared(self, nodes: Sequence[ast.expr], symbol: str) -> Kind:
        """What two sides are compared as: as their literals say, else as numbers for an order and as text for equality."""
        for node in nodes:
            name = self.name(node)
            if name is None:
                if isinstance(node, ast.Name):
                    return Kind.CONDITION
                if not isinstance(node, ast.Constant):
                    return Kind.CONDITION if isinstance(node, ast.Compare | ast.BoolOp) else Kind.NUMBER
                if isinstance(node.value, bool):
                    return Kind.CONDITION
                return Kind.TEXT if isinstance(node.value, str) else Kind.NUMBER
        known = [self.kinds[name] for node in nodes if (name := self.name(node)) in self.kinds and name]
        if known:
            return known[0]
        return Kind.TEXT if symbol in ("=", "<>") else Kind.NUMBER

    def name(self, node: ast.expr) -> str | None:
        """The column that a bare, dotted or backquoted name means; None for anything else, true and false included."""
        if isinstance(node, ast.Name):
            if node.id in ("true", "false"):
                return None
            return self.quoted.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            head = self.name(node.value)
            return None if head is None else f"{head}.{node.attr}"
        return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _without_backquotes(text: str, where: str) -> tuple[str, dict[str, str]]:
    """The text with each backquoted column replaced by an identifier, and what the identifiers stand for."""
    result: list[str] = []
    quoted: dict[str, str] = {}
    position = 0
    while position < len(text):
        character = text[position]
        if character not in "'\"`":
            result.append(character)
            position += 1
            continue
        end = position + 1
        while end < len(text) and text[end] != character:
            end += 2 if text[end] == "\\" and character != "`" else 1
        if end >= len(text):
            raise ConfigError(f"{where}: {text!r} opens a {character} that it never closes.")
        if character == "`":
            stand_in = f"backquoted_{len(quoted)}_"
            while stand_in in text:
                stand_in += "_"
            quoted[stand_in] = text[position + 1 : end]
            result.append(f" {stand_in} ")
        else:
            result.append(text[position : end + 1])
        position = end + 1
    return "".join(result), quoted


def _advice(text: str) -> str:
    """A hint for what people write who think in SQL."""
    words = text.lower().split()
    if "<>" in text:
        return "; write != for <>"
    if "=" in text and not any(sign in text for sign in ("==", "!=", "<=", ">=")):
        return "; write == to compare"
    if "is" in words or "null" in words:
        return "; a missing value matches no condition, so there is no null"
    if any(word in ("and", "or", "not") and word not in text.split() for word in words):
        return "; write and, or, not in lower case"
    return "; a column whose name is no identifier goes between backquotes" if " " in text.strip() else ""
