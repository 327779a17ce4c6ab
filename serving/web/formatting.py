"""Figures as a person would say them: rounded, with their units, and adding up as they are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

MINUS = "\N{MINUS SIGN}"
_SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹"}


def adding_up(parts: Sequence[float], total: float) -> list[float]:
    """`parts` in tenths, so that as shown they sum to `total` in tenths: the largest remainders are rounded up.

    Parts that are 0 stay 0. The sum of `parts` is `total`, up to what floats lose.
    """
    tenths = [math.floor(part * 10) for part in parts]
    # Rounded as it is shown: 1.05 is a little more than that, and 10.5 is not.
    missing = round(round(total, 1) * 10) - sum(tenths)
    remainders = [part * 10 - whole for part, whole in zip(parts, tenths, strict=True)]
    order = sorted(
        (place for place, part in enumerate(parts) if part != 0.0), key=lambda place: remainders[place], reverse=True
    )
    step = 1 if missing > 0 else -1
    for turn in range(abs(missing) if order else 0):
        place = order[turn % len(order)] if step > 0 else order[-1 - turn % len(order)]
        tenths[place] += step
    return [whole / 10 for whole in tenths]


def health(score: float) -> str:
    """A health score as a whole number, cut off and not rounded, so that 39.9 does not look like the 40 of another band."""
    return str(math.floor(score))


def tenths(number: float) -> str:
    """A figure with one decimal."""
    text = f"{abs(number):.1f}"
    return f"{MINUS}{text}" if number < 0 and text != "0.0" else text


def whole(number: float) -> str:
    """A figure without decimals."""
    return f"{MINUS if round(number) < 0 else ''}{abs(round(number)):,}"


def signed(number: float) -> str:
    """Points up or down: +1.2, −3.4, 0.0."""
    text = f"{abs(number):.1f}"
    return text if text == "0.0" else f"{'+' if number > 0 else MINUS}{text}"


def percent(share: float) -> str:
    """A share of 1 as a whole per cent; the ends say that they are no certainty."""
    if 0.0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1.0:
        return "over 99 %"
    return f"{round(100 * share)} %"


def between(low: float, high: float) -> str:
    """Two shares of 1 as whole per cents: "26 to 37 %"."""
    first, last = round(100 * low), round(100 * high)
    if last == 0:
        return percent(high)
    if first == 0:
        return f"up to {last} %"
    return f"{last} %" if first == last else f"{first} to {last} %"


def money(value: float | None, currency: str | None) -> str:
    """An amount: €4,015, €120k, €1.2m; without a known currency, the bare figure."""
    if value is None:
        return "not known"
    size = abs(value)
    if size >= 999_500:
        text = f"{size / 1e6:,.1f}m"
    elif size >= 99_950:
        text = f"{size / 1e3:,.0f}k"
    elif size >= 100 or size == round(size):
        text = f"{size:,.0f}"
    else:
        text = f"{size:,.2f}"
    sign = MINUS if value < 0 and text.strip("0.,") else ""
    if currency is None:
        return f"{sign}{text}"
    symbol = _SYMBOLS.get(currency)
    return f"{sign}{symbol}{text}" if symbol else f"{sign}{text} {currency}"


def day(moment: datetime) -> str:
    """A date: 22 Nov 2026."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y}"


def age(moment: datetime, now: datetime) -> str:
    """How long ago: today, yesterday, 3 days ago, 5 weeks ago."""
    days = (now.astimezone(UTC).date() - moment.astimezone(UTC).date()).days
    if days <= 0:
        return "today"
    if days == 1:
        return "yesterday"
    return f"{days} days ago" if days < 21 else f"{days // 7} weeks ago"


def words(name: str) -> str:
    """A name of the configuration as words: success_call -> Success call."""
    text = name.replace("_", " ").replace("-", " ").strip()
    return text[:1].upper() + text[1:]


def sentence(text: str, name: str) -> str:
    """What is said of a feature as a sentence of its own: its name as words, the first letter large."""
    plain = text.replace(name, name.replace("_", " "))
    return plain[:1].upper() + plain[1:]
