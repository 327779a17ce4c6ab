"""When nobody is to be disturbed, by the clock of the business or of the customer."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from features.config.policy import QuietHours


def quiet_channels(
    hours: QuietHours | None, channels: Iterable[str], now: datetime, timezone: str, features: Mapping[str, Any]
) -> dict[str, str]:
    """The channels that are in quiet hours at `now`, each with the time until which they last."""
    if hours is None or hours.start == hours.end:
        return {}
    local = now.astimezone(zone_of(hours, timezone, features)).time()
    # Hours that end before they start last over midnight: then either side of it is quiet.
    sides = (hours.start <= local, local < hours.end)
    quiet = all(sides) if hours.start < hours.end else any(sides)
    if not quiet:
        return {}
    until = hours.end.isoformat("minutes")
    return {channel: until for channel in channels if not hours.channels or channel in hours.channels}


def zone_of(hours: QuietHours | None, timezone: str, features: Mapping[str, Any]) -> zoneinfo.ZoneInfo:
    """The customer's own time zone where it is known, or else the business's."""
    own = None if hours is None or hours.timezone is None else features.get(hours.timezone)
    return (_zone(own) if isinstance(own, str) else None) or zoneinfo.ZoneInfo(timezone)


@lru_cache(maxsize=1024)
def _zone(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
