"""Wording: what customers write, composed from phrases by mood and topic."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Floats, Integers
from experiments.simulation.records.batches import Texts


class Topic(IntEnum):
    """What a text is about."""

    PRODUCT = 0
    PRICE = 1
    SUPPORT = 2
    USE = 3
    MISSING_FEATURE = 4
    CONTACT = 5
    COMPETITOR = 6
    PAYMENT = 7


ABOUT = {
    Cause.PRICE: Topic.PRICE,
    Cause.MISSING_FEATURE: Topic.MISSING_FEATURE,
    Cause.CONTACT_LEFT: Topic.CONTACT,
    Cause.COMPETITOR: Topic.COMPETITOR,
}
"""What who is in the trouble of a cause writes about."""


class Mood(IntEnum):
    """The tone of a text."""

    BAD = 0
    MIXED = 1
    GOOD = 2


OPENERS: dict[Mood, tuple[str, ...]] = {
    Mood.BAD: (
        "Honestly,",
        "To be frank,",
        "Not happy:",
        "For weeks now,",
        "We are losing patience:",
        "Once again,",
        "Sadly,",
        "I have to say,",
        "Third time I write this:",
        "Disappointing:",
    ),
    Mood.MIXED: (
        "All in all,",
        "So far,",
        "Hard to say.",
        "In general,",
        "It depends:",
        "For our team,",
        "After some months,",
        "By and large,",
        "On a normal day,",
        "Mostly,",
    ),
    Mood.GOOD: (
        "Really good:",
        "Great work,",
        "We are happy:",
        "Honestly,",
        "A pleasure:",
        "Since we started,",
        "As always,",
        "Just wanted to say,",
        "Well done,",
        "For our team,",
    ),
}
CORES: dict[Mood, dict[Topic, tuple[str, ...]]] = {
    Mood.BAD: {
        Topic.PRODUCT: (
            "the reports are slow and half of them never load",
            "the last update broke our dashboards",
            "the app crashes whenever we export",
            "the interface is confusing and clumsy",
            "the numbers do not match from one page to the next",
            "nothing syncs the way it should",
        ),
        Topic.PRICE: (
            "it is far too expensive for what it does",
            "the price went up and we got nothing for it",
            "the invoice is higher than we agreed",
            "we cannot justify this cost any longer",
            "every little extra costs money",
        ),
        Topic.SUPPORT: (
            "our ticket has been open for ages",
            "support keeps asking the same questions and solves nothing",
            "nobody answers when we need help",
            "we were passed from one person to the next",
            "the problem came back a day after it was called solved",
            "waiting a week for an answer is not acceptable",
        ),
        Topic.USE: (
            "we hardly use it any more",
            "the team has gone back to spreadsheets",
            "nobody here logs in these days",
            "it does not fit how we work",
            "we do not really need most of it",
            "the project it was for has ended",
        ),
        Topic.MISSING_FEATURE: (
            "we still cannot plan by team, which we asked for twice",
            "there is no approval step, so we do it by hand",
            "it cannot talk to the system we use for orders",
            "what we need most is always on the roadmap and never there",
            "we have outgrown what it can do",
            "without custom fields it is no use to us any more",
            "the feature we were promised is still missing",
        ),
        Topic.CONTACT: (
            "the colleague who ran this has left us",
            "I took this over and nobody told me how it works",
            "the only one who knew the setup is gone",
            "we do not even have the admin password since our lead left",
            "nobody here feels responsible for it any more",
        ),
        Topic.COMPETITOR: (
            "another vendor has shown us a much better tool",
            "we are trying out a rival product in two teams",
            "a competitor offers to move all our data for free",
            "others are years ahead of you by now",
            "our new board prefers the suite we already use elsewhere",
        ),
        Topic.PAYMENT: (
            "our card was declined again",
            "your system refuses our bank transfer",
            "we get reminders for a bill that cannot be paid the way you ask",
            "the payment failed and then we were locked out",
            "money is tight and the bills pile up",
        ),
    },
    Mood.MIXED: {
        Topic.PRODUCT: (
            "it does the job, though the reports could be faster",
            "search is fine, exports are not",
            "useful, but the interface takes getting used to",
            "some features are great, others feel unfinished",
            "it works, with a hiccup now and then",
            "okay for the basics",
        ),
        Topic.PRICE: (
            "the price is at the upper end of what we can pay",
            "fair value, although the add-ons add up",
            "a discount would make it easier to defend",
            "the price is okay as long as it stays there",
            "we are comparing prices at the moment",
        ),
        Topic.SUPPORT: (
            "support is friendly but not quick",
            "the answer helped after the second try",
            "our ticket was solved, it just took long",
            "documentation could save us some tickets",
            "support is fine on weekdays",
        ),
        Topic.USE: (
            "a few of us use it, the others do not",
            "we use it for one thing only",
            "we use it less than planned",
            "it is good to have, not more",
            "we still have to roll it out to everyone",
        ),
        Topic.MISSING_FEATURE: (
            "one or two features are missing for us",
            "custom fields would help us a lot",
            "it would be perfect with an approval step",
            "we work around what it cannot do",
        ),
        Topic.CONTACT: (
            "we have a new person in charge who is still learning",
            "our team has changed and has to find its way around",
            "after some changes here a few of us are new to it",
        ),
        Topic.COMPETITOR: (
            "we have looked at another tool, with mixed results",
            "some here know a competing product and like it",
            "we compare it with others from time to time",
        ),
        Topic.PAYMENT: (
            "paying by card is a hassle at times",
            "we had to enter our bank details twice",
            "one bill failed, the next went through",
        ),
    },
    Mood.GOOD: {
        Topic.PRODUCT: (
            "the dashboards save us hours every week",
            "automation works like a charm",
            "everything is quick and clear",
            "the new version is a big step forward",
            "the integration was set up in minutes",
            "it just works",
            "the forecasts have been spot on",
        ),
        Topic.PRICE: (
            "worth every cent",
            "good value for a team of our size",
            "the price is fair and the invoice is clear",
            "cheaper than what we had, and better",
            "it paid for itself in the first quarter",
        ),
        Topic.SUPPORT: (
            "support solved it with the first answer",
            "quick, competent and friendly help",
            "our question was answered within the hour",
            "the call with your team was really helpful",
            "best support we have had from any vendor",
        ),
        Topic.USE: (
            "the whole team uses it every day",
            "we would not want to work without it",
            "we have moved two more departments onto it",
            "it has become part of our morning routine",
            "even the sceptics here like it now",
        ),
        Topic.MISSING_FEATURE: (
            "the feature we had asked for is here at last",
            "it now does everything we need",
            "custom fields were just what we missed",
        ),
        Topic.CONTACT: (
            "our new colleague was up to speed in a day",
            "whoever joins our team gets along with it at once",
        ),
        Topic.COMPETITOR: (
            "we tried others and came back",
            "no other tool comes close",
        ),
        Topic.PAYMENT: (
            "the invoice is paid without any fuss",
            "changing our card took a minute",
        ),
    },
}
CLOSERS: dict[Mood, tuple[str, ...]] = {
    Mood.BAD: (
        "We are looking at alternatives.",
        "Please fix this.",
        "Not sure we will stay.",
        "This has to change.",
        "",
        "I expected better.",
        "We will cancel if this goes on.",
        "",
    ),
    Mood.MIXED: (
        "Let us see.",
        "",
        "Room for improvement.",
        "Fine for now.",
        "",
        "Some work to do.",
        "No big complaints.",
    ),
    Mood.GOOD: (
        "Keep it up!",
        "Thank you!",
        "",
        "We would recommend it.",
        "Five stars from us.",
        "",
        "Looking forward to more.",
    ),
}


def write(mood: Floats, topic: Integers, rng: np.random.Generator) -> Texts:
    """One text each, for `mood` on satisfaction's scale and `topic`, with the same shape."""
    tone = np.digitize(mood, [-0.45, 0.55])
    pick = rng.random((3, len(mood)))
    written = np.empty(len(mood), dtype=np.object_)
    for row, (one, about) in enumerate(zip(tone.tolist(), topic.tolist(), strict=True)):
        kind = Mood(one)
        parts = (
            _pick(OPENERS[kind], pick[0, row]),
            _pick(CORES[kind][Topic(about)], pick[1, row]) + ".",
            _pick(CLOSERS[kind], pick[2, row]),
        )
        written[row] = " ".join(part for part in parts if part)
    return written


def _pick(phrases: tuple[str, ...], share: float) -> str:
    return phrases[int(share * len(phrases))]
