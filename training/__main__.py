"""The command `python -m training`: run, policy, promote, rollback, watch."""

from __future__ import annotations

import typer

from features.home import keep_private
from features.words import print_any_name
from training.cli import policy, promotion, run, watch

app = typer.Typer(
    help="Train churn models, and choose which one serves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.command()(policy.policy)
app.command()(watch.watch)
app.command(cls=promotion.ForceAsksWhy)(promotion.promote)
app.command()(promotion.rollback)


def main() -> None:
    """Run the command."""
    keep_private()
    print_any_name()
    app()


if __name__ == "__main__":
    main()
