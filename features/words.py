"""A word as it is compared: one spelling of what looks the same, in builds, batch files, the TOML and the API."""

from __future__ import annotations

import io
import sys
import unicodedata
from typing import Final

NO_BREAK: Final = "\u00a0\u2007\u202f"
"""Blanks at which a line may not break: they look like a space and are one."""
INVISIBLE: Final = "\u200b\u2060\ufeff"
"""Characters of no width that say nothing; joiners (U+200C, U+200D) do, in some scripts."""
BLANKS: Final = (
    "\t\n\x0b\x0c\r \x1c\x1d\x1e\x1f\x85\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a"
    "\u2028\u2029\u205f\u3000"
)
"""What a word is trimmed of."""
_ONE: Final = str.maketrans(dict.fromkeys(NO_BREAK, " ") | dict.fromkeys(INVISIBLE, ""))


def word(text: str) -> str:
    """`text` in Unicode's composed form (NFC), no-break spaces as spaces, without blanks around it."""
    return unicodedata.normalize("NFC", text.translate(_ONE)).strip(BLANKS)


def word_sql(text: str) -> str:
    """SQL (DuckDB) of the same for a VARCHAR."""
    blanks = "'" + BLANKS + "'"
    spaced = f"regexp_replace(regexp_replace({text}, '[{NO_BREAK}]', ' ', 'g'), '[{INVISIBLE}]', '', 'g')"
    # ASCII is composed already, and most of what there is.
    return (
        f"CASE WHEN strlen({text}) = length({text}) THEN trim({text}, {blanks}) "
        f"ELSE trim(nfc_normalize({spaced}), {blanks}) END"
    )


def is_untidy_sql(text: str) -> str:
    """SQL: whether a VARCHAR is not as `word_sql` has it; told fast of ASCII without blanks around it."""
    tidy = f"strlen({text}) = length({text}) AND {text} >= '!' AND right({text}, 1) >= '!'"
    return f"CASE WHEN {tidy} THEN FALSE ELSE {word_sql(text)} <> {text} END"


def print_any_name() -> None:
    """Let stdout escape what is no text in a file's name, as stderr does, rather than break off; call once, from a command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def shown(value: object, longest: int = 80) -> str:
    """A name or a value as a message quotes it, however long it is."""
    return repr(f"{value[: longest - 1]}…" if isinstance(value, str) and len(value) > longest else value)
