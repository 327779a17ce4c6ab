"""What people write where something else was meant: in TOMLs, cells, settings and arguments."""

from __future__ import annotations

from typing import Final

TOML: Final = (
    '""', '"x"', "0", "-1", "1e309", "nan", "inf", "-inf", "true", "[]", "{}", '[1, "a"]', "{ a = 1 }", "9223372036854775807",
    "-9223372036854775808", "18446744073709551615", r'"\u0000"', '"💥"', "2020-01-01", "2020-01-01T00:00:00Z", "12:30:00",
    '"a == 1"', '"1 +"', '"("', '"SELECT 1"', '"mrr * "', "[[1]]", '"30 days"', '"../../etc"', '" "', f'"{"x" * 5000}"', '"*"',
    '"[a-z"', '"Europe/Nowhere"', '[""]', '["a","a"]', '{ column = "a" }', "{ column = 1 }", '{ constant = "" }', "1.5", "0.0",
    '"é"', r'"\n"', '"\'"', r'"\""', "[{}]", '{ "" = "" }', '"mrr / 0"', '"a in []"', '"a in (1,"', '"case when a then"',
    '"exp(1000)"', '"-"', '"%Y"', '"%"', '"value"', '"plan"', '"id"', '"customer_id"', '"occurred_at"', '"utf-16"', '"rot13"',
    '"events"', '"table"', '"file"', '["left"]', "1000000000000", "1e-300", "{ count = 0, days = 0 }", "{ count = 1e9, days = -1 }",
    "{ amount = nan, days = 7 }", '{ start = "25:00", end = "" }', "[2.0, 0.5]", "[nan, nan]", '["2024-06-01", "2024-06-01"]',
    '["1066-01-01"]', '["9999-12-31"]', "{ red = 90, green = 10 }", "{ red = 40 }", '"a/b"', '"1 trial"', '"0 trials"',
    '"1e9 minutes"', '"NULL"', '"\'; drop table customers; --"', r'"\\N"', r'"\ud7ff"', "0x1F", "1_000", '"((((((((((1))))))))))"',
    f'"{"(" * 300}1{")" * 300}"', f'"{"-" * 400}1"', '"value ** 1e9"', '"plan = plan"', '"value > "', '"lower(plan)"',
)  # fmt: skip
"""Values of keys."""

CELLS: Final = (
    "", '"', '""', "\\N", "NULL", "NaN", "inf", "-inf", "1e400", "1,000", "1.000,5", "$5", "5 %", "(3)", "3-", "2024-13-45",
    "31/12/2024", "1700000000", "1700000000000", "45000", "é", "\x00", "💥", "  x ", "\u00a0", 'a"b', "a,b", '"a\nb"', "x" * 3000,
    "x" * 300_000, "-", "?", "#N/A", "0x1F", "True", "yes", "00012", "12345678901234567", "1e5", "١٢", "٫5", "\ufeff", "'",
    "2024-01-01T00:00:00+99:00", "0000-00-00", "9999-12-31", "-1", "2024-01-01 25:00", "99999999999999999999999999999999999999999",
    "1e-320", "-0.0", "2262-04-12", "1677-09-21", "0001-01-01", "\ud7ff", "{", "[1]", "a\rb", "\t", "=1+1", "\u202e", "purchase",
    "9" * 400, "1 2 3", "1'000'000.5.5", "−5", "½", "NaT", "nil", "TRUE ", "24:00", "2024-02-30T10:00:00", "-1700000000000000000000",
)  # fmt: skip
"""Cells of files, and names in headers."""

PATHS: Final = (
    "", " ", ".", "..", "/", "/dev/null", "/dev/full", "/dev/null/x", "/proc/self/x", "/proc/1/mem", "nowhere", "nowhere/at/all", "x" * 300,
    "x/" * 1000, "a%b", "a?b", "a#b", "a*b", "a[b]", "a'b", 'a"b', "a\\b", "größe", "a b", "~", "~nobody/x", "$HOME", "\udcff",
    "a\nb", "loop", "folder", "empty", "text.txt", "file:///tmp", "http://localhost:1/x", "customers.csv", "shop.toml", "-", "--", "\t", "💥",
)  # fmt: skip
"""Paths; `loop`, `folder`, `empty` and `text.txt` lie in every case's folder."""

URLS: Final = (
    "sqlite:///nowhere/x.db", "sqlite:////dev/null/x.db", "sqlite:///folder", "sqlite:///text.txt", "sqlite:///empty", "sqlite://", "sqlite:///",
    "sqlite:////proc/x.db", "sqlite:////dev/full", "sqlite:///:memory:", "sqlite+nothing:///x.db", "sqlite:///a%20b.db", "sqlite:///loop", "sqlite:x",
    "postgresql://localhost:1/x", "postgresql://", "postgresql://u:p@localhost:1/x?connect_timeout=x", "postgresql+psycopg://localhost:1/x",
    "postgresql+psycopg2://localhost:1/x", "postgresql://localhost:99999/x", "postgresql://localhost:abc/x", "postgresql://[::1/x",
    "postgresql://localhost:1/x?sslmode=nonsense", "mysql://u:p@localhost:1/x", "mssql://localhost:1/x", "oracle://x", "redis://localhost:1",
    "redis://localhost:1/99", "redis://localhost:1/x", "redis://localhost:99999", "redis://localhost:abc", "rediss://localhost:1/0",
    "redis://:p@localhost:1?db=x", "redis://[::1", "redis://", "redis://localhost:1/0?socket_timeout=x", "unix:///nowhere", "http://localhost:1",
    "http://localhost:99999", "http://localhost:abc", "http://", "http://[bad", "https://localhost:1/a b", "file:///tmp/x", "databricks", "uc:",
    "://", "x", "", " ", "embedded", "sqlite", "💥", "http://u:p@localhost:1", "postgres://localhost:1/x", "sqlite:///text.txt?mode=ro&uri=true",
)  # fmt: skip
"""URLs of stores; none reaches anything but this machine's port 1, where nobody listens."""

WORDS: Final = (
    "", " ", "0", "-1", "1", "2", "nan", "inf", "-inf", "1e309", "1e-9", "99999999999999999999", "0.5", "x", "x" * 2000, "é", "💥", "\udcff", "a b", "a=b",
    "a=1", "=1", "a=", "a=-1", "a=1=2", "call=1", "call=99999999999999999999", "None", "null", "true", "production", "PRODUCTION", "debug", "%s",
    "{value}", "[red]", "[/]", "[link=x]", "\\", "'", '"', "`id`", "$(id)", "../../x", "champion", "challenger", "C1", "C99", "admin", "scorer",
    "lead", "1 trial", "0 trials", "2024-06-01", "9999-12-31", "--", "-", "@x", "1,2", ",", "\n", "\t", "localhost", "0.0.0.0", "256.1.1.1", "::1",
    "not a host", "65536", "80a", "1_0", "٣",
)  # fmt: skip
"""Arguments and settings."""
