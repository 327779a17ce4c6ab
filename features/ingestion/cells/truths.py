"""Yes and no, as people and tools spell them."""

from __future__ import annotations

from typing import Final

# fmt: off
TRUE: Final = (
    "true", "t", "yes", "y", "on", "1", "1.0", "ja", "j", "wahr", "oui", "o", "vrai", "si", "sí", "sì", "verdadero", "vero", "sim",
    "verdadeiro", "waar", "sant", "sand", "tak", "prawda", "ano", "áno", "igen", "igaz", "kyllä", "tosi", "evet", "doğru", "да", "истина",
    "はい", "是", "✓", "✔", "☑", "✅",
)
FALSE: Final = (
    "false", "f", "no", "n", "off", "0", "0.0", "nein", "falsch", "non", "faux", "falso", "não", "nao", "nee", "onwaar", "nej", "falskt",
    "falsk", "usant", "nie", "fałsz", "nem", "hamis", "ei", "epätosi", "hayır", "yanlış", "нет", "ложь", "いいえ", "否", "✗", "✘", "☐",
    "✖", "❌",
)
# fmt: on


def truth(word: str) -> bool | None:
    """Whether a word says yes or no; None where it says neither."""
    lower = word.lower()
    return True if lower in TRUE else False if lower in FALSE else None


def truth_sql(text: str) -> str:
    """SQL (BOOLEAN) of the same for a cleaned VARCHAR."""
    yes, no = ("|".join(spelling.replace(".", "[.]") for spelling in spellings) for spellings in (TRUE, FALSE))
    return (
        f"CASE WHEN regexp_full_match({text}, '(?i)({yes})') THEN TRUE "
        f"WHEN regexp_full_match({text}, '(?i)({no})') THEN FALSE END"
    )
