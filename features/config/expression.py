"""The expressions of a TOML (`value`, `where`, `at_stake`): a small checked language, parsed by sqlglot, never Python's eval.

Columns, numbers, 'text', true and false; `+ - * / %`, comparisons, `in`, `and or not`; `abs`, `min`, `max`; `==` and `=`,
`!=` and `<>`, `and` and `AND` are the same. A column whose name is no identifier goes between backquotes (a dotted name
needs none). Whatever is computed from a missing value, or divided by zero, is missing; `and` and `or` follow SQL's
three-valued logic.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser as SqlParser
from sqlglot.tokenizer_core import Token, TokenType
from sqlglot.tokens import Tokenizer as SqlTokenizer

from features.config.suggestions import near_matches
from features.errors import ConfigError
from features.words import shown

Scalar = float | str | bool | None

_ARITHMETIC: Final[dict[type[exp.Expr], str]] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
}
_COMPARISONS: Final[dict[type[exp.Expr], str]] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_SQL: Final = {symbol: kind for kind, symbol in (*_ARITHMETIC.items(), *_COMPARISONS.items())}
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
_BACKQUOTES: Final = "; a column whose name is no identifier goes between backquotes"
_MAX_LENGTH: Final = 2_000


class _Language(Dialect):
    """The tokens and the grammar of an expression: of SQL's words those that it has, all others are names of columns."""

    class Tokenizer(SqlTokenizer):
        QUOTES: ClassVar[list[Any]] = ["'", '"']
        IDENTIFIERS: ClassVar[list[Any]] = ["`"]
        STRING_ESCAPES: ClassVar[list[Any]] = ["\\"]
        IDENTIFIER_ESCAPES: ClassVar[list[Any]] = []
        COMMENTS: ClassVar[list[Any]] = []
        KEYWORDS: ClassVar[dict[Any, Any]] = {
            "AND": TokenType.AND,
            "OR": TokenType.OR,
            "NOT": TokenType.NOT,
            "IN": TokenType.IN,
            "TRUE": TokenType.TRUE,
            "FALSE": TokenType.FALSE,
            "==": TokenType.EQ,
            "!=": TokenType.NEQ,
            "<>": TokenType.NEQ,
            "<=": TokenType.LTE,
            ">=": TokenType.GTE,
        }

    class Parser(SqlParser):
        FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[Any, Any]] = {}
        NO_PAREN_FUNCTIONS: ClassVar[dict[Any, Any]] = {}
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[Any, Any]] = {}


_LANGUAGE: Final = _Language()


class Kind(StrEnum):
    """What a part of an expression is."""

    NUMBER = "number"
    TEXT = "text"
    CONDITION = "condition"


# The tree after checking: what evaluates and compiles to SQL; sqlglot's own nodes end here.
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
        if not text.strip():
            raise ConfigError(f"{where}: the expression is empty.")
        if len(text) > _MAX_LENGTH:
            raise ConfigError(f"{where}: the expression is longer than {_MAX_LENGTH} characters.")
        builder = _Builder(text=text, where=where, kinds={})
        try:
            root = builder.build(_parsed(text, where), Kind(result))
        except RecursionError:
            raise ConfigError(f"{where}: {shown(text)} is no expression: it is nested too deeply.") from None
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

    def to_sql(self, column: Callable[[str, Kind], str]) -> str:
        """The same expression as DuckDB SQL; `column` gives the SQL of a column as DOUBLE, VARCHAR or BOOLEAN."""
        return _to_sql(self._root, column).sql(dialect="duckdb")

    def _missing_column(self, name: str, known: Sequence[str]) -> ConfigError:
        return ConfigError(
            f"{self.where}: {shown(self.text)} reads {name!r}, which does not exist{near_matches(name, known)}"
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
                f"{self.where}: {shown(self.text)} computes with {column.name!r}, which holds the text {shown(value)}."
            ) from None


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


def _to_sql(node: _Node, column: Callable[[str, Kind], str]) -> exp.Expr:
    if isinstance(node, _Literal):
        if isinstance(node.value, float):
            return exp.cast(exp.Literal.number(repr(node.value)), "DOUBLE")
        return exp.convert(node.value)
    if isinstance(node, _Column):
        return exp.var(column(node.name, node.kind))
    operands = [_to_sql(operand, column) for operand in node.operands]
    if node.symbol in ("and", "or"):
        return exp.paren(exp.and_(*operands) if node.symbol == "and" else exp.or_(*operands))
    if node.symbol == "not":
        return exp.paren(exp.Not(this=operands[0]))
    if node.symbol == "negative":
        return exp.paren(exp.Neg(this=operands[0]))
    if node.symbol == "abs":
        return exp.Abs(this=operands[0])
    if node.symbol in ("min", "max"):
        missing = exp.or_(*(exp.Is(this=operand, expression=exp.Null()) for operand in operands))
        chosen = exp.func("LEAST" if node.symbol == "min" else "GREATEST", *(operand.copy() for operand in operands))
        return exp.paren(exp.Case().when(missing, exp.Null()).else_(chosen))
    left, right = operands
    if node.symbol in ("/", "%"):
        right = exp.Nullif(this=right, expression=exp.Literal.number(0))
    return exp.paren(_SQL[node.symbol](this=left, expression=right))


def _parsed(text: str, where: str) -> exp.Expr:
    """The tree of a text, as far as sqlglot checks it.

    Raises:
        ConfigError: it cannot be read; with what is wrong, and at which character.
    """
    try:
        tokens = _LANGUAGE.tokenize(text)
    except TokenError:
        raise ConfigError(f"{where}: {shown(text)} opens a quote that it never closes.") from None
    followers = [*tokens[1:], None]
    words = [
        # The parser knows more words than the tokenizer; between backquotes, it takes none for its own.
        Token(TokenType.IDENTIFIER, token.text, token.line, token.col, token.start, token.end)
        if token.token_type is TokenType.VAR and (follower is None or follower.token_type is not TokenType.L_PAREN)
        else token
        for token, follower in zip(tokens, followers, strict=True)
    ]
    odd = next((token for token in tokens if token.token_type is TokenType.VAR and not token.text.isidentifier()), None)
    if odd is not None:
        raise ConfigError(
            f"{where}: {shown(text)} is no expression: {odd.text[:40]!r} is not allowed (allowed: {_ALLOWED})."
        )
    try:
        trees = _LANGUAGE.parser().parse_into(exp.Condition, words, text)
    except ParseError as error:
        found = error.errors[0] if error.errors else {}
        wrong, before = str(found.get("highlight") or ""), str(found.get("start_context") or "")
        lacks = str(found.get("description")).startswith("Required") and not str(found.get("end_context") or "").strip()
        what = "it is not complete" if lacks else f"{wrong[:40]!r} after {before[-40:].strip()!r} is not allowed"
        advice = _advice(text) or (_BACKQUOTES if wrong.isidentifier() else "")
        raise ConfigError(f"{where}: {shown(text)} is no expression: {what}{advice} (allowed: {_ALLOWED}).") from None
    if len(trees) != 1 or trees[0] is None:
        raise ConfigError(f"{where}: {shown(text)} is no expression: ';' is not allowed (allowed: {_ALLOWED}).")
    return trees[0]


@dataclass(frozen=True, slots=True)
class _Builder:
    text: str
    where: str
    kinds: dict[str, Kind]

    def refuse(self, what: str) -> ConfigError:
        return ConfigError(f"{self.where}: {shown(self.text)} {what} (allowed: {_ALLOWED}).")

    def build(self, parsed: exp.Expr, wanted: Kind) -> _Node:
        node = parsed.unnest()
        name = _name(node)
        if name is not None:
            return self.column(name, wanted)
        if isinstance(node, exp.Boolean | exp.Literal):
            return self.literal(node, wanted)
        kind, built = self.operation(node)
        if kind is not wanted:
            raise self.refuse(f"is a {kind} where a {wanted} is needed")
        return built

    def literal(self, node: exp.Boolean | exp.Literal, wanted: Kind) -> _Literal:
        kind = _kind_of_literal(node)
        value: float | str | bool = node.this
        if kind is Kind.NUMBER:
            value = float(value)
            if not math.isfinite(value):
                raise self.refuse(f"holds {shown(value)}, which is neither a number nor text")
        if kind is not wanted:
            raise self.refuse(f"has {shown(value)} where a {wanted} is needed")
        return _Literal(value)

    def column(self, name: str, kind: Kind) -> _Column:
        if self.kinds.setdefault(name, kind) is not kind:
            raise self.refuse(f"uses {name!r} both as {self.kinds[name]} and as {kind}")
        return _Column(name, kind)

    def operation(self, node: exp.Expr) -> tuple[Kind, _Node]:
        if isinstance(node, exp.Binary) and type(node) in _ARITHMETIC:
            operands = (self.build(node.left, Kind.NUMBER), self.build(node.right, Kind.NUMBER))
            return Kind.NUMBER, _Operation(_ARITHMETIC[type(node)], operands)
        if isinstance(node, exp.Neg):
            return Kind.NUMBER, _Operation("negative", (self.build(node.this, Kind.NUMBER),))
        if isinstance(node, exp.Not):
            return Kind.CONDITION, _Operation("not", (self.build(node.this, Kind.CONDITION),))
        if isinstance(node, exp.And | exp.Or):
            symbol = "and" if isinstance(node, exp.And) else "or"
            parts = tuple(self.build(part, Kind.CONDITION) for part in node.flatten(unnest=False))
            return Kind.CONDITION, _Operation(symbol, parts)
        if type(node) in _COMPARISONS:
            return Kind.CONDITION, self.comparison(node)
        if isinstance(node, exp.In):
            return Kind.CONDITION, self.membership(node)
        if isinstance(node, exp.Anonymous) and str(node.this).lower() in _FUNCTIONS:
            function = str(node.this).lower()
            least = 1 if function == "abs" else 2
            if len(node.expressions) < least or (least == 1 and len(node.expressions) > 1):
                raise self.refuse(f"calls {function} with the wrong number of values")
            return Kind.NUMBER, _Operation(function, tuple(self.build(part, Kind.NUMBER) for part in node.expressions))
        raise self.refuse(f"holds something that is not allowed{_advice(self.text)}")

    def comparison(self, node: exp.Expr) -> _Node:
        """`a < b <= c` is `a < b and b <= c`, whichever of its signs bind closer."""
        operands, symbols = _chain(node)
        parts: list[_Node] = []
        for symbol, left, right in zip(symbols, operands, operands[1:], strict=False):
            kind = self.compared([left, right], symbol)
            parts.append(_Operation(symbol, (self.build(left, kind), self.build(right, kind))))
        return parts[0] if len(parts) == 1 else _Operation("and", tuple(parts))

    def membership(self, node: exp.In) -> _Node:
        if not node.expressions:
            raise self.refuse("needs a list after `in`, such as ['a', 'b']")
        kind = self.compared([node.this, *node.expressions], "=")
        tested = self.build(node.this, kind)
        return _Operation("or", tuple(_Operation("=", (tested, self.build(one, kind))) for one in node.expressions))

    def compared(self, nodes: Sequence[exp.Expr], symbol: str) -> Kind:
        """What two sides are compared as: as their literals say, else as numbers for an order and as text for equality."""
        for node in (parsed.unnest() for parsed in nodes):
            if isinstance(node, exp.Boolean | exp.Literal):
                return _kind_of_literal(node)
            if _name(node) is None:
                is_condition = isinstance(node, exp.And | exp.Or | exp.Not | exp.In) or type(node) in _COMPARISONS
                return Kind.CONDITION if is_condition else Kind.NUMBER
        known = [self.kinds[name] for node in nodes if (name := _name(node.unnest())) and name in self.kinds]
        if known:
            return known[0]
        return Kind.TEXT if symbol in ("=", "<>") else Kind.NUMBER


def _kind_of_literal(node: exp.Boolean | exp.Literal) -> Kind:
    if isinstance(node, exp.Boolean):
        return Kind.CONDITION
    return Kind.TEXT if node.is_string else Kind.NUMBER


def _chain(node: exp.Expr) -> tuple[list[exp.Expr], list[str]]:
    if not isinstance(node, exp.Binary) or type(node) not in _COMPARISONS:
        return [node], []
    (lefts, before), (rights, after) = _chain(node.left), _chain(node.right)
    return lefts + rights, [*before, _COMPARISONS[type(node)], *after]


def _name(node: exp.Expr) -> str | None:
    """The column that a bare, dotted or backquoted name means; None for anything else."""
    if isinstance(node, exp.Column) and all(isinstance(part, exp.Identifier) for part in node.parts):
        return ".".join(part.name for part in node.parts)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        head = _name(node.this)
        return None if head is None else f"{head}.{node.expression.name}"
    return None


def _advice(text: str) -> str:
    """A hint for what people write who think in SQL."""
    words = text.lower().split()
    return "; a missing value matches no condition, so there is no null" if "is" in words or "null" in words else ""
