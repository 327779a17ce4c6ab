"""Numbers as people write them: thousands separators, currencies, per cent, accounting brackets, trailing minus."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

DECIMALS: Final = (".", ",")
THOUSANDS: Final = (",", ".", " ", "'", "")
_MINUS: Final = "[-−–]"
_SIGN: Final = "[-+−–]"
_CODES: Final = (
    "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HRK HUF IDR ILS INR ISK JPY KES KRW KWD MAD MXN MYR "
    "NGN NOK NZD PEN PHP PKR PLN QAR RMB RON RSD RUB SAR SEK SGD THB TND TRY TWD UAH USD UYU VND ZAR "
    "euros? dollars? kr kč zł fr sfr rs lei tl rm rp (?-i:Ft) лв руб грн 円 元 원"
)
_MANY: Final = {
    1e3: "k thousand tsd tausend тыс",
    1e5: "lakhs? lacs?",
    1e6: "(?-i:M) mn mio mln million millions millionen млн",
    1e7: "crores?",
    1e9: "(?-i:B) bn mrd mld billion billions milliarden млрд",
}
"""What stands for many, after a number; a small m or b is more often a metre, a month or a byte."""
_DIGITS: Final = "٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹０１２３４５６７８９．，％＋－（）￥＄٫٬"
_AS: Final = "012345678901234567890123456789.,%+-()¥$.,"
_SUFFIX: Final = "|".join(word for words in _MANY.values() for word in words.split())
_CURRENCY: Final = rf"(?:[a-z]{{0,3}}\p{{Sc}}|(?:{'|'.join(_CODES.split())})\.?)"


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a column writes its numbers: the decimal sign, and what parts thousands; None: whatever is not the decimal sign.

    Read are `-1,096.50`, `1 096,50`, `1'096`, `$ 5`, `5 EUR`, `12 %` (.12), `(5.00)` and `5.00-` (both negative), `5,--`,
    `10k`, `1.2 Mio`; digits may be those of East Asia's fonts, and of Arabic.
    """

    decimal: str
    thousands: str | None = None

    @property
    def pattern(self) -> str:
        """A regular expression (RE2) of a whole cell; its groups are the number without sign and ornament, and how many it counts."""
        separators = [self.thousands] if self.thousands is not None else [*DECIMALS, " ", "'"]
        groups = ["[0-9]+"]
        for separator in separators:
            if separator in ("", self.decimal):
                continue
            by = {"'": "['’]", " ": "[ \u2009]"}.get(separator, re.escape(separator))
            groups = [
                rf"[1-9][0-9]{{0,2}}(?:{by}[0-9]{{3}})+",
                rf"[1-9][0-9]?(?:{by}[0-9]{{2}})+{by}[0-9]{{3}}",
                *groups,
            ]
        point = re.escape(self.decimal)
        number = rf"(?:(?:{'|'.join(groups)})(?:{point}(?:[0-9]+|--?|–|—)?)?|{point}[0-9]+)(?:e[-+]?[0-9]+)?"
        return (
            rf"(?i)^(?:\(|{_SIGN})? ?(?:{_CURRENCY} ?)?(?:\(|{_SIGN})? ?({number})(?: ?({_SUFFIX})\.?)?(?: ?%)?(?: ?{_MINUS})?"
            rf"(?: ?{_CURRENCY})?(?: ?{_MINUS})? ?\)?$"
        )

    def matches(self, text: str) -> str:
        """SQL: whether a cleaned VARCHAR is a number of this style; words are told fast."""
        text = western(text)
        return f"(contains({text}, '(') = contains({text}, ')') AND regexp_matches({text}, {_literal(self.pattern)}))"

    def sql(self, text: str) -> str:
        """SQL of a cleaned VARCHAR as DOUBLE, NULL where it is no number of this style."""
        matches, text = self.matches(text), western(text)
        digits = f"regexp_extract({text}, {_literal(self.pattern)}, 1)"
        # What is no decimal sign parts thousands; a dash in place of the cents is no digit.
        parts = f"[ \u2009''’{''.join(sign for sign in DECIMALS if sign != self.decimal)}]"
        plain = f"replace(regexp_replace(regexp_replace({digits}, '(--?|–|—)$', ''), '{parts}', '', 'g'), ',', '.')"
        negative = f"regexp_matches({text}, {_literal(rf'^[^0-9]*[(−–-]|[0-9][^0-9,.]*{_MINUS}[^0-9]*$')})"
        many = _times(f"regexp_extract({text}, {_literal(self.pattern)}, 2)")
        return (
            f"CASE WHEN {matches} THEN TRY_CAST({plain} AS DOUBLE) / CASE WHEN contains({text}, '%') THEN 100 ELSE 1 END "
            f"* CASE WHEN {negative} THEN -1 ELSE 1 END * {many} END"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"decimal": self.decimal, "thousands": self.thousands}


def western(text: str) -> str:
    """SQL of a VARCHAR with the digits and signs that most of the world writes."""
    return f"translate({text}, '{_DIGITS}', '{_AS}')"


def currency(text: str) -> str:
    """SQL: the currency beside the number that a cleaned VARCHAR is, "" where there is none."""
    return f"regexp_extract({western(text)}, {_literal('(?i)' + _CURRENCY)})"


def _times(suffix: str) -> str:
    """SQL: how many a number's suffix stands for."""
    arms = [
        f"WHEN regexp_full_match({suffix}, '(?i){'|'.join(words.split())}') THEN {many!r}"
        for many, words in _MANY.items()
    ]
    return f"CASE WHEN {suffix} = '' THEN 1 {' '.join(arms)} END"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
