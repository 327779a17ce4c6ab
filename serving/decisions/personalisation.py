"""How an action is carried out for this customer: by which channel, at which hour, about which item."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time

from features.config.business import Business
from features.config.policy import QuietHours
from features.snapshots.touch_responses import Answers
from models.decisions.actions import Action
from models.decisions.eligibility import DecisionContext, open_channels
from serving.recommendations.service import recommend_known
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore


@dataclass(frozen=True, slots=True)
class Personal:
    """What is the customer's own in how an action is carried out."""

    channel: str | None = None
    hour: int | None = None
    item: str | None = None
    lacked: tuple[str, ...] = ()


NO_HISTORY, NO_ITEM = "answers", "item"
PERSONAL_LACKED_CODES = {
    NO_HISTORY: "Nobody's answers to touches on this channel are on record: there is no best hour.",
    NO_ITEM: "The action names an item, but no item is known to recommend.",
}


def personal_of(release: Release, score: CustomerScore, action: Action | None, context: DecisionContext) -> Personal:
    """The customer's own best channel, of those that are allowed now, its best hour, and the item that suits best.

    A channel is chosen by the share of touches that the customer answers on it, shrunk to everybody's; where nothing is
    known of one of them, the declared order stands.
    """
    if action is None:
        return Personal()
    business = Business.of(release.generation)
    channels = open_channels(action, context) or [action.channel]
    channel, hour, lacked = channels[0], None, []
    if release.generation.answers_file.exists():
        answers = Answers.read(release.generation.answers_file)
        rates = {name: answers.rate(score.customer_id, name) for name in channels}
        known = {name: rate for name, rate in rates.items() if rate is not None}
        if len(known) == len(channels):
            channel = max(channels, key=known.__getitem__)
        hour = answers.hour(score.customer_id, channel, _quiet(business.policy.quiet_hours, channel))
    if hour is None:
        lacked.append(NO_HISTORY)
    item = None
    if any(spec.recommends for spec in business.actions if spec.name == action.name):
        found = recommend_known(release, score.customer_id, score.features, 1).items
        item = found[0].item if found else None
        if item is None:
            lacked.append(NO_ITEM)
    return Personal(channel, hour, item, tuple(lacked))


def _quiet(hours: QuietHours | None, channel: str) -> frozenset[int]:
    """The hours of the day that are quiet on a channel, in whole or in part."""
    if hours is None or hours.start == hours.end or (hours.channels and channel not in hours.channels):
        return frozenset()

    def is_quiet(hour: int) -> bool:
        first, last = time(hour), time(hour, 59, 59)
        if hours.start < hours.end:
            return last >= hours.start and first < hours.end
        return last >= hours.start or first < hours.end

    return frozenset(hour for hour in range(24) if is_quiet(hour))
