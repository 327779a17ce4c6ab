from __future__ import annotations

import math
from typing import Literal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.config.expression import Expression, Kind, Scalar
from features.errors import ConfigError


def value(text: str, **row: Scalar) -> float | None:
    return Expression.parse(text, "a.toml, value").evaluate(row)


def holds(text: str, **row: Scalar) -> float | None:
    return Expression.parse(text, "a.toml, where", result="condition").evaluate(row)


def test_arithmetic() -> None:
    assert value("Quantity * UnitPrice", Quantity=3, UnitPrice=2.5) == 7.5
    assert value("-(a + b) / max(c, 2) % 3", a=7.0, b=3.0, c=1.0) == -2.0
    assert value("abs(min(a, b, -4))", a=1.0, b=-9.0) == 9.0


def test_columns_with_any_name() -> None:
    expression = Expression.parse('`Call  Failure` + emp.var.rate * `it\'s "so"` + prix_été', "a.toml")
    assert expression.columns == {"Call  Failure", "emp.var.rate", 'it\'s "so"', "prix_été"}
    row = {"Call  Failure": 1.0, "emp.var.rate": 2.0, 'it\'s "so"': 3.0, "prix_été": 4.0}
    assert expression.evaluate(row) == 11.0


def test_a_backquoted_true_is_a_column() -> None:
    assert Expression.parse("`true` > 1", "a.toml", result="condition").columns == {"true"}


def test_missing_is_missing_and_so_is_a_division_by_zero() -> None:
    assert value("a + b", a=None, b=1.0) is None
    assert value("a * 0", a=float("nan")) is None
    assert value("a / b", a=1.0, b=0.0) is None
    assert value("a % b", a=1.0, b=0.0) is None
    assert value("a * a", a=1e300) is None
    assert value("max(a, b)", a=None, b=1.0) is None


def test_conditions_follow_sql() -> None:
    assert holds("a > 1 or b == 'x'", a=None, b="x") == 1.0
    assert holds("a > 1 and b == 'x'", a=None, b="y") == 0.0
    assert holds("a > 1 or b == 'x'", a=None, b="y") is None
    assert holds("not flag", flag="False") == 1.0
    assert holds("status in ['paid', 'sent']", status="sent") == 1.0
    assert holds("status not in ['paid', 'sent']", status="void") == 1.0
    assert holds("0 < n <= 5", n=5.0) == 1.0
    assert holds("day >= '2011-02-01'", day="2011-01-31") == 0.0
    assert holds("code == '7'", code=7.0) == 1.0
    assert holds("flag == true", flag=True) == 1.0


def test_kinds_say_what_columns_must_hold() -> None:
    kinds = Expression.parse("n > 1 and s == 'x' and flag and a < b", "a.toml", result="condition").kinds
    assert kinds == {"n": Kind.NUMBER, "s": Kind.TEXT, "flag": Kind.CONDITION, "a": Kind.NUMBER, "b": Kind.NUMBER}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("n = 1", "n == 1"),
        ("n <> 1", "n != 1"),
        ("n > 1 AND s = 'x'", "n > 1 and s == 'x'"),
        ("NOT (n > 1 Or s IN ('x', 'y'))", "not (n > 1 or s in ['x', 'y'])"),
        ('s NOT IN ["x"]', "s not in ['x']"),
        ("flag = TRUE", "flag == true"),
        ("ABS(n) + MAX(n, 2) > 1", "abs(n) + max(n, 2) > 1"),
        ("n + 0 = m < 3", "n + 0 == m and m < 3"),
    ],
)
@pytest.mark.parametrize("n", [None, 0.0, 1.0, 2.0])
def test_sqls_spelling_is_pythons(text: str, same: str, n: float | None) -> None:
    row: dict[str, Scalar] = {"n": n, "m": 1.0, "s": "x", "flag": True}
    assert holds(text, **row) == holds(same, **row)


def test_words_of_sql_are_names_of_columns() -> None:
    expression = Expression.parse("case + `group` + date.end.order.left.right - interval", "a.toml")
    assert expression.columns == {"case", "group", "date.end.order.left.right", "interval"}
    assert Expression.parse("--a", "a.toml").evaluate({"a": 2.0}) == 2.0
    assert holds("s == 'it\\'s'", s="it's") == 1.0


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("__import__('os').system('ls')", "not allowed"),
        ("a.__class__()", "not allowed"),
        ("[a for a in b]", "not allowed"),
        ("lambda: 1", "not allowed"),
        ("a ** 9999999", "not allowed"),
        ("a if b else c", "not allowed"),
        ("abs(a, b)", "wrong number"),
        ("max(a)", "wrong number"),
        ("'text'", "number is needed"),
        ("a > 1", "number is needed"),
        ("a + 'x'", "number is needed"),
        ("a + (b == 'x')", "number is needed"),
        ("a + 1e999", "inf"),
        ("a = 1", "number is needed"),
        ("a <> 1", "number is needed"),
        ("a + ", "not complete"),
        ("case when a then b end", "'when' after 'case'"),
        ("x.min(a)", "not allowed"),
        ("sqrt(a)", "not allowed"),
        ("a[1]", "not allowed"),
        ("a::int", "not allowed"),
        ("a -> b", "not allowed"),
        ("(select a)", "not allowed"),
        ("f(*)", "not allowed"),
        ("order value", "backquotes"),
        ("`open", "never closes"),
        ("", "empty"),
        ("(" * 400 + "a" + ")" * 400, "no expression"),
        ("-" * 1500 + "a", ""),
        ("a + " * 700 + "a", "2000"),
    ],
)
def test_what_is_no_expression_is_refused_in_one_sentence(text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        value(text, a=1.0)
    message = str(refused.value)
    assert message.startswith("a.toml, value: ")
    assert hint in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("text", ["a > 0 and a == 'x'", "a is None", "a in b", "a", "1"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    if text == "a":
        assert holds(text, a=True) == 1.0
        return
    with pytest.raises(ConfigError, match=r"^a\.toml, where: "):
        holds(text, a=1.0)


def test_an_unknown_column_is_named_with_its_near_matches() -> None:
    with pytest.raises(ConfigError, match="'mmr', which does not exist; did you mean 'mrr'"):
        value("mmr * 12", mrr=1.0, plan="pro")


def test_text_where_a_number_is_needed_is_named() -> None:
    with pytest.raises(ConfigError, match="'plan', which holds the text 'pro'"):
        value("plan * 12", plan="pro")


_numbers = st.one_of(st.none(), st.integers(-20, 20).map(float), st.floats(-1e6, 1e6))
_texts = st.one_of(st.none(), st.sampled_from(["", "x", "y", "it's"]))


@st.composite
def _expressions(draw: st.DrawFn, kind: Literal["number", "condition"] = "number", depth: int = 3) -> str:
    if kind == "number":
        if depth == 0 or draw(st.booleans()):
            return draw(st.sampled_from(["a", "b", "`c c`", "2", "0", "1.5"]))
        left, right = draw(_expressions("number", depth - 1)), draw(_expressions("number", depth - 1))
        form = draw(
            st.sampled_from(
                ["({} + {})", "({} - {})", "({} * {})", "({} / {})", "({} % {})", "max({}, {})", "min({}, {})"]
            )
        )
        return form.format(left, right)
    if depth == 0 or draw(st.booleans()):
        if draw(st.booleans()):
            return f"s {draw(st.sampled_from(['==', '=', '!=', '<>', '<', '>=']))} 'x'"
        sign = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
        return f"{draw(_expressions('number', 0))} + 0 {sign} {draw(_expressions('number', 0))}"
    left, right = draw(_expressions("condition", depth - 1)), draw(_expressions("condition", depth - 1))
    return draw(st.sampled_from(["({} and {})", "({} OR {})", "(not {} or {})"])).format(left, right)


@settings(deadline=None)
@given(data=st.data(), kind=st.sampled_from(["number", "condition"]), a=_numbers, b=_numbers, c=_numbers, s=_texts)
def test_one_row_and_the_engine_agree(
    data: st.DataObject,
    kind: Literal["number", "condition"],
    a: float | None,
    b: float | None,
    c: float | None,
    s: str | None,
) -> None:
    expression = Expression.parse(data.draw(_expressions(kind)), "a.toml", result=kind)
    row: dict[str, Scalar] = {"a": a, "b": b, "c c": c, "s": s}
    expected = expression.evaluate(row)
    sql = expression.to_sql(lambda name, _: '"' + name + '"')
    rows = 'SELECT ?::DOUBLE AS a, ?::DOUBLE AS b, ?::DOUBLE AS "c c", ?::VARCHAR AS s'
    (found,) = _duckdb().execute(f"SELECT CAST({sql} AS DOUBLE) FROM ({rows})", [a, b, c, s]).fetchall()[0]
    assert _same(found, expected), sql


def _duckdb(connections: list[duckdb.DuckDBPyConnection] = []) -> duckdb.DuckDBPyConnection:  # noqa: B006 - one for all
    if not connections:
        connections.append(duckdb.connect())
    return connections[0]


def _same(found: float | None, expected: float | None) -> bool:
    if found is None or not math.isfinite(found):
        return expected is None
    return expected is not None and (found == expected or math.isclose(found, expected, rel_tol=1e-12))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    message = ""
    try:
        Expression.parse(text, "a.toml")
    except ConfigError as refused:
        message = str(refused)
    assert "\n" not in message
