"""What tools write into a cell that holds nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MARKERS: Final = (
    *("na", "n/a", "n.a.", "n.a", "nan", "-nan", "nat", "null", "none", "nil", "missing", "unknown", "undefined"),
    *(
        "not available",
        "not applicable",
        "<na>",
        "<null>",
        "(null)",
        "[null]",
        "(none)",
        "(blank)",
        "(empty)",
        "none given",
    ),
    *(
        "not set",
        "(not set)",
        "not provided",
        "no data",
        "no value",
        "empty",
        "blank",
        "<blank>",
        "tbd",
        "(unknown)",
        "nd",
        "n/d",
        "n.d.",
    ),
    *(
        "\\n",
        "#n/a",
        "#n/a n/a",
        "#na",
        "#null!",
        "#value!",
        "#ref!",
        "#div/0!",
        "#num!",
        "#name?",
        "''",
        '""',
        "[]",
        "{}",
    ),
    *(
        "k.a.",
        "k. a.",
        "keine angabe",
        "unbekannt",
        "n.v.",
        "nicht verfügbar",
        "#nv",
        "#wert!",
        "#bezug!",
        "#zahl!",
    ),  # German
    *(
        "inconnu",
        "inconnue",
        "non renseigné",
        "nc",
        "n.c.",
        "#valeur!",
        "#nombre!",
        "desconocido",
        "sin dato",
        "sin datos",
        "s/d",
    ),
    *("no disponible", "#n/d", "#¡valor!", "#¡div/0!", "desconhecido", "sconosciuto", "onbekend", "okänd", "ukendt"),
    *("?", "??", "???", "-", "--", "---", "–", "—", "−", ".", "..", "...", "…", "*"),
)
"""Taken for missing where the rest of a column is numbers or times; case does not matter."""
DATES: Final = (
    *("0000-00-00", "0001-01-01", "9999-12-31", "1900-01-00", "00.00.0000", "01.01.0001", "31.12.9999"),
    *("1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "2999-12-31"),
    *(
        "01.01.1900",
        "1/1/1900",
        "01/01/1900",
        "31.12.2999",
        "00/00/0000",
        "0/0/0000",
        "01/01/0001",
        "1/1/0001",
        "31/12/9999",
        "12/31/9999",
        "1/0/1900",
        "00/01/1900",
    ),
)
"""Days that databases and spreadsheets write for none, or for an end that is open; at any time of that day."""
TIMES: Final = (
    *MARKERS,
    "infinity",
    "-infinity",
    "0",
    "0.0",
    "00000000",
    "00000000000000",
    "99991231",
    "99991231235959",
)
"""Taken for missing in a column of times, beside `DATES`."""
ANYWHERE: Final = ("na", "n/a", "nan", "null", "<na>", "\\n", "#n/a")
"""Of these, what no business calls an outcome."""
NO_ID: Final = (*ANYWHERE, "none", "undefined", "(null)", "<null>", "[null]", "(not set)")
"""Of these, what is nobody's id; `..` or `-` may be one."""


def is_marker(text: str, markers: Sequence[str] = MARKERS, days: Sequence[str] = ()) -> str:
    """SQL: whether a cleaned VARCHAR is blank, one of the markers, or at a time of one of the days."""
    # A regular expression, not IN: DuckDB's planner takes minutes over a few hundred columns that each hold one.
    either = "|".join([*map(re.escape, markers), *(rf"{re.escape(day)}(?:[ T].*)?" for day in days)])
    pattern = f"(?i)\\s*(?:{either})?\\s*".replace("'", "''")
    return f"regexp_full_match({text}, '{pattern}')"
