"""A plan for a whole list: who gets which action, under what is left of the limits over all customers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from features.atomic_write import replacing
from features.config.business import Business
from features.errors import UnknownCustomer
from models.decisions.allocation import Plan, assign, greedy
from models.decisions.eligibility import Remaining
from models.decisions.policy import Worth
from serving.batch.reader import read_ids
from serving.current_scores.refresh import population
from serving.decisions.playbook import Playbook
from serving.errors import CommandError
from serving.platform.database import Database
from serving.platform.progress import progress
from serving.platform.settings import Settings
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import CustomerScore, Scorer, score_as_of_now

COLUMNS = ("customer_id", "action", "channel", "expected_gain", "ranked_on", "cost", "minutes", "churn_probability")
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Overrides:
    """Limits for this plan only, instead of what the TOML's leave; None keeps those."""

    budget: float | None = None
    staff: float | None = None
    capacity: tuple[tuple[str, int], ...] = ()
    """Action and count."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A customer, with the actions that are allowed and pay."""

    customer_id: str
    churn_probability: float
    options: tuple[Worth, ...]


def write_plan(settings: Settings, output: Path, source: Path | None, overrides: Overrides, seconds: float) -> str:
    """Plan for everybody, or for the customers of the file `source`, and write who gets what as CSV.

    It is a suggestion: nothing is logged. Who is in the holdout, or capped, or did not consent, gets nothing.

    Returns:
        Sentences that say what it gains, spends, and leaves.

    Raises:
        CommandError: a file is not as it should be, or an action is not known.
        NoRelease: nothing was built or promoted.
        PolicyError: no plan was found in time.
    """
    if output.suffix != ".csv":
        raise CommandError(f"--output is {output}, but a plan is written as .csv.")
    releases = ReleaseSource(settings)
    release = releases.load(releases.newest())
    database = Database(settings.database)
    try:
        database.migrate()
        playbook = Playbook.of_release(release)
        scorer = Scorer(release)
        now = datetime.now(UTC)
        with database.read() as connection:
            limits = _overridden(playbook.allowance(connection, now).remaining(), overrides, playbook)
        nobody, unknown = 0, list[str]()
        chunks: Iterable[Sequence[str]] = population(release.generation)
        total = release.generation.sources.customers
        if source is not None:
            asked, nobody = read_ids(source, Business.of(release.generation))
            chunks, total = [asked[start : start + _CHUNK] for start in range(0, len(asked), _CHUNK)], len(asked)
        candidates: list[Candidate] = []
        with progress("Weighing actions", total) as bar:
            for ids in chunks:
                scores: list[CustomerScore] = []
                for score in score_as_of_now(scorer, ids):
                    if isinstance(score, UnknownCustomer):
                        unknown += score.customer_ids
                    else:
                        scores.append(score)
                candidates += _candidates(database, playbook, scores, now)
                bar.advance(len(ids))
    finally:
        database.close()
        release.store.close()
    options = [candidate.options for candidate in candidates]
    plan = assign(options, limits, seconds)
    _write(output, candidates, plan)
    return _told(plan, greedy(options, limits), len(candidates), output) + _left_out(source, nobody, unknown)


def _candidates(
    database: Database, playbook: Playbook, scores: Sequence[CustomerScore], now: datetime
) -> Iterator[Candidate]:
    with database.read() as connection:
        touches = playbook.touches(connection, [score.customer_id for score in scores], now)
    for score, effects in zip(scores, playbook.effects(scores), strict=True):
        # What is limited over all customers is the plan's to share out, so that here everybody has all of it.
        context = playbook.context(score, touches, effects=effects)
        yield Candidate(score.customer_id, score.probability, tuple(playbook.policy.worth(context)))


def _overridden(remaining: Remaining, overrides: Overrides, playbook: Playbook) -> Remaining:
    for name, _ in overrides.capacity:
        if name not in playbook.actions:
            raise CommandError(
                f"--capacity names '{name}', but the actions are {', '.join(playbook.actions) or 'none'}."
            )
    return replace(
        remaining,
        budget=remaining.budget if overrides.budget is None else overrides.budget,
        staff=remaining.staff if overrides.staff is None else overrides.staff,
        capacity={**remaining.capacity, **dict(overrides.capacity)},
    )


def _write(output: Path, candidates: Iterable[Candidate], plan: Plan) -> None:
    try:
        with replacing(output, mode=0o666) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            rows = csv.writer(text)
            rows.writerow(COLUMNS)
            for candidate, worth in zip(candidates, plan.chosen, strict=True):
                if worth is not None:
                    action = worth.action
                    rows.writerow(
                        [
                            candidate.customer_id, action.name, action.channel, worth.expected_gain, worth.ranked_on,
                            action.cost, action.minutes, candidate.churn_probability,
                        ]
                    )  # fmt: skip
            text.detach()
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror}.") from None


def _told(plan: Plan, greedily: Plan, customers: int, output: Path) -> str:
    counts: dict[str, int] = {}
    for worth in plan.chosen:
        if worth is not None:
            counts[worth.action.name] = counts.get(worth.action.name, 0) + 1
    shown = ", ".join(f"{count:,} × {name}" for name, count in sorted(counts.items())) or "nothing to do"
    lead = plan.gain - greedily.gain
    return (
        f"{shown}, for {customers:,} customers: a gain of {plan.gain:,.2f} at the lower bounds, of at most "
        f"{plan.bound:,.2f}; {plan.cost:,.2f} of money, {plan.minutes:,.0f} minutes of staff.\n"
        f"Best customer first would gain {lead:,.2f} less.\n{output}"
    )


def _left_out(source: Path | None, nobody: int, unknown: Sequence[str]) -> str:
    """Lines of who was asked about and is not in the plan; empty where all are."""
    said = []
    if nobody:
        said.append(f"rows of {source} that name no customer: {nobody:,}.")
    if unknown:
        named = ", ".join(map(repr, unknown[:5]))
        said.append(
            f"customers of {source or 'the build'} of whom nothing is known: {len(unknown):,}, such as {named}."
        )
    return "".join(f"\nLeft out: {sentence}" for sentence in said)
