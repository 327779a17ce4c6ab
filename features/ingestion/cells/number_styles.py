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
    "euros? dollars? kr kč zł fr sfr rs lei tl rm rp"
)
_CURRENCY: Final = rf"(?:[a-z]{{0,3}}\p{{Sc}}|(?:{'|'.join(_CODES.split())})\.?)"


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a column writes its numbers: the decimal sign, and what parts thousands; None: whatever is not the decimal sign.

    Read are `-1,096.50`, `1 096,50`, `1'096`, `$ 5`, `5 EUR`, `12 %` (.12), `(5.00)` and `5.00-` (both negative), `5,--`.
    """

    decimal: str
    thousands: str | None = None

    @property
    def pattern(self) -> str:
        """A regular expression (RE2) of a whole cell; its first group is the number without sign and ornament."""
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
            rf"(?i)^(?:\(|{_SIGN})? ?(?:{_CURRENCY} ?)?(?:\(|{_SIGN})? ?({number})(?: ?%)?(?: ?{_MINUS})?"
            rf"(?: ?{_CURRENCY})?(?: ?{_MINUS})? ?\)?$"
        )

    def matches(self, text: str) -> str:
        """SQL: whether a cleaned VARCHAR is a number of this style; words are told fast."""
        return f"(contains({text}, '(') = contains({text}, ')') AND regexp_matches({text}, {_literal(self.pattern)}))"

    def sql(self, text: str) -> str:
        """SQL of a cleaned VARCHAR as DOUBLE, NULL where it is no number of this style."""
        digits = f"regexp_extract({text}, {_literal(self.pattern)}, 1)"
        # What is no decimal sign parts thousands; a dash in place of the cents is no digit.
        parts = f"[ \u2009''’{''.join(sign for sign in DECIMALS if sign != self.decimal)}]"
        plain = f"replace(regexp_replace(regexp_replace({digits}, '(--?|–|—)$', ''), '{parts}', '', 'g'), ',', '.')"
        negative = f"regexp_matches({text}, {_literal(rf'^[^0-9]*[(−–-]|[0-9][^0-9,.]*{_MINUS}[^0-9]*$')})"
        return (
            f"CASE WHEN {self.matches(text)} THEN TRY_CAST({plain} AS DOUBLE) / CASE WHEN contains({text}, '%') THEN 100 ELSE 1 END "
            f"* CASE WHEN {negative} THEN -1 ELSE 1 END END"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"decimal": self.decimal, "thousands": self.thousands}


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
