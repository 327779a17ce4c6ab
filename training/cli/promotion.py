"""The commands `python -m training promote` and `rollback`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from features.config.environment import Environment
from training.cli.console import ProgressBars, exit_on_error
from training.errors import TrainingError

if TYPE_CHECKING:
    from training.promotion.model import Promotion


class ForceAsksWhy(TyperCommand):
    """Lets `--force` stand without its reason, which is then asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for place, given in enumerate(args):
            if given == "--force" and (place + 1 == len(args) or args[place + 1].startswith("-")):
                args = [*args[:place], "--force=", *args[place + 1 :]]
        return super().parse_args(ctx, args)


def promote(
    version: Annotated[int | None, typer.Option("--version", help="By default the newest challenger.", min=1)] = None,
    new_scorecard: Annotated[
        bool, typer.Option("--new-scorecard", help="Freeze the meaning of health anew, from this model's proposal.")
    ] = False,
    policy: Annotated[bool, typer.Option("--policy", help="A version of the policy, not of the churn model.")] = False,
    force: Annotated[
        str | None,
        typer.Option(
            "--force",
            metavar="REASON",
            help="Overrule the gates of quality; the reason is kept on the version and in the log of promotions.",
        ),
    ] = None,
) -> None:
    """Make a version the champion if its gates are passed; a running server takes it up by itself."""
    with exit_on_error():
        if force is not None:
            if policy:
                raise TrainingError("--force is for the churn model: a policy that is not proven is not served.")
            force = _reason(force)
        if policy:
            from training.promotion.policy import promote_policy

            with ProgressBars() as bars, bars.step("Promoting"):
                said = promote_policy(Environment.from_environment().state, None if version is None else str(version))
            Console().print(said, highlight=False)
            return
        from training.promotion.model import promote

        with ProgressBars() as bars, bars.step("Promoting"):
            promotion = promote(
                Environment.from_environment().state,
                None if version is None else str(version),
                new_scorecard=new_scorecard,
                force=force,
            )
        _say(promotion, Console())


def rollback(
    policy: Annotated[bool, typer.Option("--policy", help="The policy, not the churn model.")] = False,
) -> None:
    """Make the version that served before the champion serve again."""
    with exit_on_error():
        if policy:
            from training.promotion.policy import rollback_policy

            with ProgressBars() as bars, bars.step("Rolling back"):
                said = rollback_policy(Environment.from_environment().state)
            Console().print(said, highlight=False)
            return
        from training.promotion.model import rollback

        with ProgressBars() as bars, bars.step("Rolling back"):
            promotion = rollback(Environment.from_environment().state)
        _say(promotion, Console())


def _reason(given: str) -> str:
    """Why gates are overruled: as given, else asked for on a terminal."""
    reason = given.strip()
    if not reason and sys.stdin.isatty():
        reason = Console(stderr=True).input("Why is this version promoted in spite of its gates? ").strip()
    if not reason:
        raise TrainingError(
            "--force needs a reason: say why, such as --force 'the old one reads a column that is gone'."
        )
    return reason


def _say(promotion: Promotion, console: Console) -> None:
    model, card = promotion.model, promotion.scorecard
    instead = f" in place of {promotion.previous}" if promotion.previous not in (None, model.version) else ""
    console.print(
        f"Version {model.version} is the champion of {model.name}{instead}, with scorecard {card.version} "
        f"(50 is a churn risk of {card.p_ref:.1%}, {card.pdo:.3g} points double the odds).",
        highlight=False,
    )
    for warning in promotion.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    console.print("Next: python -m serving run; a server that runs takes it up by itself.", highlight=False)
