"""What tools write into a cell that holds nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MARKERS: Final = (
    *("na", "n/a", "n.a.", "n.a", "nan", "-nan", "nat", "null", "none", "nil", "missing", "unknown", "undefined"),
    *("not available", "not applicable", "<na>", "<null>", "(null)", "[null]", "(none)", "(blank)", "(empty)"),
    *("\\n", "#n/a", "#n/a n/a", "#na", "#null!", "#value!", "#ref!", "#div/0!", "#num!", "#name?"),
    *("?", "??", "???", "-", "--", "---", "–", "—", "−", ".", "..", "...", "…", "*"),
)
"""Taken for missing where the rest of a column is numbers or times; case does not matter."""
ANYWHERE: Final = ("na", "n/a", "nan", "null", "<na>", "\\n", "#n/a")
"""Of these, what no business calls an outcome."""
NO_ID: Final = (*ANYWHERE, "none")
"""Of these, what is nobody's id; `..` or `-` may be one."""


def is_marker(text: str, markers: Sequence[str] = MARKERS) -> str:
    """SQL: whether a cleaned VARCHAR is blank or one of the markers."""
    # A regular expression, not IN: DuckDB's planner takes minutes over a few hundred columns that each hold one.
    either = "|".join(re.escape(marker) for marker in markers)
    pattern = f"(?i)\\s*(?:{either})?\\s*".replace("'", "''")
    return f"regexp_full_match({text}, '{pattern}')"
