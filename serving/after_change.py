"""Current scores after a build or a promotion: rewritten where there is something to score everybody by.

Features and training find `rewrite` as the entry point that `features.after_change` reads. What is slow to load is loaded
only if a model was promoted.
"""

from __future__ import annotations

from features.home import Home
from serving.platform.logs import keep_off_stdout
from serving.platform.settings import Settings


def rewrite(home: Home) -> str:
    """Bring the current scores of `home` up to date, whatever home the environment names; says what was done.

    Raises:
        FeaturesError, ModelsError, ServingError: it could not be; the table is as it was.
    """
    keep_off_stdout()
    return refresh_if_promoted(Settings.from_environment(home), quiet=True)


def refresh_if_promoted(settings: Settings, *, quiet: bool = False) -> str:
    """Bring the current scores up to date if a model was promoted; says what was done, `quiet` without a progress bar.

    Raises:
        FeaturesError, ModelsError, ServingError: it could not be; the table is as it was.
    """
    # The first builds come before any model: then nothing slow is loaded just to find that out.
    if not settings.state.current_file.exists():
        return "There are no current scores to refresh: nothing was built yet."
    if settings.tracking_uri is None and not (settings.state.mlflow / "mlflow.db").exists():
        return "There are no current scores to refresh: no model was trained yet."
    if not _has_champion(settings):
        return "There are no current scores to refresh: no model was promoted yet."
    from serving.current_scores.refresh import refresh
    from serving.web.accounts.snapshot_refresher import keep

    return refresh(settings, keep, quiet=quiet)


def _has_champion(settings: Settings) -> bool:
    from models.registry.registry import Registry

    business = settings.state.business
    return business is not None and Registry(settings.registry, business).champion() is not None
