"""Sums over a customer's events that come out the same to the bit, in whatever order and in how many parts they are added.

Adding floats depends on the order, which no engine promises. So each number is counted in units of 2^-60 (what lies below
is rounded to that, by each number alone), and these whole numbers are added exactly, in up to 38 digits. Of a number from
2^-8 on no digit is lost.
"""

from __future__ import annotations

from typing import Any, Final

import ibis

UNIT: Final = 2.0**-60
HUGE: Final = 2.0**39
"""From here on (twelve digits of money), 2^24 numbers of a customer might not fit; they are few, and added in order of size."""


def exact_sum(table: Any, numbers: Any, where: Any) -> Any:
    """The sum of the `numbers` (float64) `where` a condition holds, nulls left out; null where there is none.

    Numbers from `HUGE` on count only where the table has the column `huge`, whatever it holds.
    """
    fitting, has_huge = numbers, "huge" in table.columns
    if has_huge:
        # A null, not a filter: engines may cast what a filter leaves out.
        fitting = (numbers.abs() < HUGE).ifelse(numbers, ibis.null("float64"))
    added = (fitting / UNIT).cast("decimal(38, 0)").sum(where=where).cast("float64") * UNIT
    if not has_huge:
        return added
    huge = numbers.collect(where=where & (numbers.abs() >= HUGE), order_by=numbers).sums()
    return ibis.coalesce(added + huge, added, huge)


def exact_mean(table: Any, numbers: Any, where: Any) -> Any:
    """The mean of the `numbers` (float64) `where` a condition holds, nulls left out; null where there is none."""
    return exact_sum(table, numbers, where) / numbers.count(where=where).nullif(0)
