"""How one server runs: read once from the environment, checked, and passed on."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from features.config.environment import Environment

_MOST_DAYS = 36500


class Settings(Environment):
    """What every command reads of the environment, and the service's own settings, named in the same way.

    In production, what is safe only on a developer's machine is refused: a home by default, and no request rate.
    """

    host: str = Field(default="127.0.0.1", validation_alias="HOST")
    port: int = Field(default=8000, ge=0, le=65535, validation_alias="PORT")
    """0 takes any free port, and the start says which."""
    environment: Literal["development", "production"] = Field(default="development")
    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    """How often a server looks for a new build and a new champion."""
    stale_after_days: float = Field(default=7.0, gt=0, le=_MOST_DAYS)
    """The age from which features make an answer `degraded` with `stale_features`."""
    rate_limit: float = Field(default=10000.0, ge=0, allow_inf_nan=False)
    """Requests per second that one key may make on one worker, in bursts of up to five seconds' worth; 0 is no limit."""
    max_wait_ms: float = Field(default=50.0, ge=0, le=3_600_000)
    """Under a load that stays, how long a request may wait for its turn on one worker before a 503; 0 lets all wait."""
    max_waiting: int = Field(default=200, ge=1)
    """Requests that one worker answers at a time, those that wait for a thread among them; more are refused with a 503."""
    shadow_share: float = Field(default=0.0, ge=0, le=1)
    """The share of answered customers that the challenger scores too, behind the answers; 0 is none."""
    statement_seconds: float = Field(default=5.0, gt=0, le=3600)
    """How long a request waits for PostgreSQL: to connect, and for each statement; and events for their turn to be written."""
    max_body_bytes: int = Field(default=1_048_576, ge=1)
    """The largest request body that is read."""
    read_seconds: float = Field(default=10.0, gt=0, le=3600)
    """The time within which a request's head, and then its body, must have arrived."""
    remembered_mb: int = Field(default=64, ge=0)
    """Memory of one worker for answers that are given again while a customer's features stay the same; 0 keeps none."""
    score_history_days: int = Field(default=400, ge=0, le=_MOST_DAYS)
    """For how many days the scores that were told over HTTP are kept in the home; 0 keeps none."""
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info")

    @model_validator(mode="after")
    def _refuse_unsafe_defaults(self) -> Self:
        if self.environment == "production":
            if "home" not in self.model_fields_set:
                raise ValueError(
                    "KEEPWELL_HOME must be set in production: the default, ./var, is wherever the server is started"
                )
            if self.rate_limit == 0:
                raise ValueError("KEEPWELL_RATE_LIMIT must be above 0 in production: 0 lets one key take all")
        return self

    @property
    def database(self) -> str:
        """The URL of the service's database."""
        return self.database_url or f"sqlite:///{self.state.database}"

    @property
    def registry(self) -> str:
        """The URI of MLflow's registry."""
        return self.state.tracking_uri

    @property
    def stale_after(self) -> timedelta:
        """`stale_after_days` as a length of time."""
        return timedelta(days=self.stale_after_days)
