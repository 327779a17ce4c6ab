"""The page of one customer: the score and why, what to do, what happened, and what people know beside it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Row
from starlette.responses import HTMLResponse, Response

from features.errors import UnknownCustomer
from models.decisions.policy import NO_ACTION
from serving.api.dependencies import DatabaseDep
from serving.decisions.playbook import Playbook
from serving.errors import FormInvalid, IdempotencyConflict
from serving.scores.dependencies import ScorerDep
from serving.scores.scorer import DEGRADED_CODES, CustomerScore, Scorer
from serving.web import rendering
from serving.web.accounts.feature_history import histories
from serving.web.charts import Bar, waterfall
from serving.web.context import PageContext, PageContextDep
from serving.web.customer.counterfactuals import path_to_green
from serving.web.customer.timeline import timeline
from serving.web.formatting import day, words
from serving.web.portfolio.dependencies import PortfolioDep
from serving.web.signin.sessions import FormDep
from serving.web.tasks import Notes, Outcome, Plays, Status, one_of

router = APIRouter(prefix="/customers", include_in_schema=False)

PUT_OFF = {"1": "until tomorrow", "7": "for a week", "30": "for a month"}
OVERRIDE = {"7": "a week", "30": "a month", "90": "a quarter"}
OUTCOMES = {
    Outcome.HELPED: "It helped",
    Outcome.NO_CHANGE: "No change",
    Outcome.NOT_DONE: "It was not done after all",
}
_DONE = {
    "accepted": "Taken on. Record what came of it when it is done.",
    "held_back": "This account is left alone for comparison: a small share is, so that the team page can say what actions earn.",
    "not_now": "Put off: nothing is suggested until then.",
    "wrong": "Thank you: this action will not be suggested here for a quarter.",
    "closed": "Recorded. You see it on the team page.",
    "noted": "Noted.",
    "overridden": "Your override stands beside the score, which stays as it is.",
    "withdrawn": "Taken back.",
}


@dataclass(frozen=True, slots=True)
class OneAccount:
    """A customer that the viewer may see: the account's row, and the way to its page."""

    page: PageContext
    row: Row[Any]

    @property
    def customer_id(self) -> str:
        return str(self.row.customer_id)

    def back(self, did: str) -> Response:
        """To the customer's page, which then says what was done."""
        return rendering.see_other(f"{rendering.customer_address(self.customer_id)}?did={did}#next")


def _account(page: PageContextDep, portfolio: PortfolioDep, request: Request) -> OneAccount:
    customer_id = str(request.path_params["customer_id"])
    row = portfolio.account(page.connection, page.edition, page.viewer, customer_id)
    if row is None:
        raise UnknownCustomer((customer_id,))
    return OneAccount(page, row)


AccountDep = Annotated[OneAccount, Depends(_account)]
"""The customer of the path; 404 for somebody else's as for nobody's."""


# The parts of a page come before it: an id may hold slashes, and the page's own path takes all that is left.


@router.get("/{customer_id:path}/-/history")
def history(account: AccountDep, scorer: ScorerDep) -> HTMLResponse:
    """How the figures of the reasons went, for their charts."""
    score = _scored(scorer, account.customer_id)
    names = [reason.feature for reason in score.reasons or ()]
    generation = scorer.release.generation
    found = histories(generation, account.customer_id, scorer.release.schema.select(names))
    return account.page.render(
        "_history.html",
        series=[
            {
                "feature": scorer.release.schema[reason.feature],
                "reason": reason,
                "known": found[reason.feature],
                "numeric": any(isinstance(one.value, int | float) for one in found[reason.feature]),
            }
            for reason in score.reasons or ()
        ],
    )


@router.get("/{customer_id:path}/-/path")
def path(account: AccountDep, scorer: ScorerDep) -> HTMLResponse:
    """What would bring this customer to green."""
    score = _scored(scorer, account.customer_id)
    release = scorer.release
    (row,) = release.store.read([account.customer_id]).matrix(release.schema, release.bundle.categories)
    found = path_to_green(release, score, row, account.page.edition.figures["quantiles"])
    return account.page.render("_path.html", score=score, found=found, green=release.scorecard.green)


@router.get("/{customer_id:path}/-/timeline")
def older(account: AccountDep, scorer: ScorerDep, request: Request) -> HTMLResponse:
    """Older entries of the timeline."""
    given = request.query_params.get("start", "0")
    start = int(given) if given.isascii() and given.isdecimal() and len(given) < 7 else 0
    found = timeline(scorer.release.generation, account.customer_id, account.page.currency, start)
    return account.page.render("_timeline.html", account=account.row, timeline=found)


@router.post("/{customer_id:path}/-/accept")
def accept(account: AccountDep, form: FormDep, scorer: ScorerDep, database: DatabaseDep) -> Response:
    """Do it."""
    try:
        status = Plays(database).accept(
            scorer,
            account.customer_id,
            account.row.owner,
            form.get("action", ""),
            account.page.viewer.principal,
            form.get("form_id", "")[:64],
        )
    except IdempotencyConflict:
        raise FormInvalid("This form was sent before, for something else: load the page again.") from None
    return account.back(status.value)


@router.post("/{customer_id:path}/-/not-now")
def not_now(account: AccountDep, form: FormDep, database: DatabaseDep) -> Response:
    """Not now."""
    days = one_of([int(choice) for choice in PUT_OFF], form.get("days", ""))
    Plays(database).put_off(
        account.customer_id, account.row.owner, form.get("action", "")[:200], days, account.page.viewer.principal
    )
    return account.back("not_now")


@router.post("/{customer_id:path}/-/wrong")
def wrong(account: AccountDep, form: FormDep, database: DatabaseDep) -> Response:
    """Wrong, and why."""
    Plays(database).call_wrong(
        account.customer_id,
        account.row.owner,
        form.get("action", "")[:200],
        form.get("reason", ""),
        account.page.viewer.principal,
    )
    return account.back("wrong")


@router.post("/{customer_id:path}/-/outcome")
def outcome(account: AccountDep, form: FormDep, database: DatabaseDep) -> Response:
    """Done, and what came of it."""
    given = form.get("outcome", "")
    if given not in [one.value for one in Outcome]:
        raise FormInvalid("Choose what came of it.")
    Plays(database).close(form.get("play_id", ""), account.customer_id, Outcome(given), account.page.viewer.principal)
    return account.back("closed")


@router.post("/{customer_id:path}/-/note")
def note(account: AccountDep, form: FormDep, database: DatabaseDep) -> Response:
    """A note beside the score."""
    Notes(database).add(account.customer_id, form.get("text", ""), account.page.viewer.principal)
    return account.back("noted")


@router.post("/{customer_id:path}/-/override")
def override(account: AccountDep, form: FormDep, database: DatabaseDep) -> Response:
    """Another band, beside the score."""
    Notes(database).override(
        account.customer_id,
        form.get("band", ""),
        form.get("reason", ""),
        one_of([int(choice) for choice in OVERRIDE], form.get("days", "")),
        account.page.viewer.principal,
    )
    return account.back("overridden")


@router.post("/{customer_id:path}/-/withdraw")
def withdraw(account: AccountDep, form: FormDep, database: DatabaseDep) -> Response:
    """A note or an override taken back."""
    Notes(database).withdraw(form.get("note_id", ""), account.customer_id, account.page.viewer.principal)
    return account.back("withdrawn")


@router.get("/{customer_id:path}")
def customer(account: AccountDep, scorer: ScorerDep, database: DatabaseDep, request: Request) -> HTMLResponse:
    """All that a manager needs to know of one customer."""
    page, release = account.page, scorer.release
    score = _scored(scorer, account.customer_id)
    playbook = Playbook.of_release(release)
    plays = Plays(database)
    suggestion = plays.suggest(page.connection, score, playbook)
    done = plays.history(page.connection, account.customer_id)
    noted = Notes(database).of(page.connection, account.customer_id)
    return page.render(
        "customer.html",
        account=account.row,
        score=score,
        fall=_why(score),
        change=_change(score),
        suggestion=suggestion,
        no_action=NO_ACTION,
        open_plays=[play for play in done if play.status == Status.ACCEPTED.value and play.closed_at is None],
        past_plays=[play for play in done if play.status != Status.ACCEPTED.value or play.closed_at is not None],
        notes=[one for one in noted if one.kind == "note"],
        overrides=[one for one in noted if one.kind == "override"],
        timeline=timeline(release.generation, account.customer_id, page.currency),
        limit_days=None if release.bundle.horizons is None else release.bundle.horizons.limit_days,
        degraded=[DEGRADED_CODES.get(code, code) for code in score.degraded],
        choices={"put_off": PUT_OFF, "override": OVERRIDE, "outcomes": OUTCOMES},
        outcomes={outcome.value: label for outcome, label in OUTCOMES.items()},
        typical={reason.feature: release.schema[reason.feature].show(reason.typical) for reason in score.reasons or ()},
        figure={reason.feature: release.schema[reason.feature].show(reason.value) for reason in score.reasons or ()},
        subjects=page.edition.figures["subjects"],
        did=_DONE.get(request.query_params.get("did", "")),
        form_id=uuid.uuid4().hex,
    )


def _scored(scorer: Scorer, customer_id: str) -> CustomerScore:
    (result,) = scorer.score([customer_id])
    if isinstance(result, UnknownCustomer):
        raise result
    return result


def _why(score: CustomerScore) -> tuple[Bar, ...]:
    """From the base to the score, pillar by pillar."""
    steps = [(words(pillar.pillar), pillar.points) for pillar in score.pillars or ()]
    if score.clamped != 0.0:
        steps.append(("Beyond the ends of the scale", score.clamped))
    return waterfall(("Typical customer", score.base), steps, ("Health now", score.score))


def _change(score: CustomerScore) -> tuple[Bar, ...]:
    """From last month's score to now; empty where there is no earlier one."""
    if score.change is None:
        return ()
    steps = [(words(pillar.pillar), pillar.points) for pillar in score.change.pillars]
    if score.change.clamped != 0.0:
        steps.append(("Beyond the ends of the scale", score.change.clamped))
    before = score.score - score.change.points
    return waterfall((f"Health on {day(score.change.since)}", before), steps, ("Health now", score.score))
