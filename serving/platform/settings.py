"""How one server runs: read once from the environment, checked, and passed on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.home import Home
from serving.errors import CommandError

DEFAULT_HOME = Path("var")
PREFIX = "KEEPWELL_"


class Settings(BaseSettings):
    """The service's settings, each by the environment variable KEEPWELL_<NAME>, or the one that its alias names.

    In production, what is safe only on a developer's machine is refused: a home by default, and no request rate.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    home: Path = Field(default=DEFAULT_HOME)
    """All state of one business."""
    host: str = Field(default="127.0.0.1", validation_alias="HOST")
    port: int = Field(default=8000, ge=0, le=65535, validation_alias="PORT")
    """0 takes any free port, and the start says which."""
    online_store: str = Field(default="embedded", pattern=r"^(embedded|sqlite|rediss?://.+)$")
    """Where `features build` puts current features: embedded, or a redis:// URL. A server reads where the build wrote."""
    database_url: str | None = Field(default=None)
    """The service's own database; SQLite in the home by default."""
    tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    """MLflow's registry; SQLite in the home by default."""
    environment: Literal["development", "production"] = Field(default="development")
    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    """How often a server looks for a new build and a new champion."""
    stale_after_days: float = Field(default=7.0, gt=0)
    """The age from which features make an answer `degraded` with `stale_features`."""
    rate_limit: float = Field(default=10000.0, ge=0)
    """Requests per second that one key may make on one worker, in bursts of up to a minute's worth; 0 is no limit."""
    max_wait_ms: float = Field(default=50.0, ge=0)
    """Under a load that stays, how long a request may wait for its turn on one worker before a 503; 0 lets all wait."""
    max_waiting: int = Field(default=200, ge=1)
    """Requests that one worker answers at a time, those that wait for a thread among them; more are refused with a 503."""
    shadow_share: float = Field(default=0.0, ge=0, le=1)
    """The share of answered customers that the challenger scores too, behind the answers; 0 is none."""
    max_body_bytes: int = Field(default=1_048_576, ge=1)
    """The largest request body that is read."""
    remembered_mb: int = Field(default=64, ge=0)
    """Memory of one worker for answers that are given again while a customer's features stay the same; 0 keeps none."""
    score_history_days: int = Field(default=400, ge=0)
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

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings that the environment gives.

        Raises:
            CommandError: a variable has a value that cannot be; the message names it.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = _variable(str(first["loc"][0])) if first["loc"] else ""
            message = first["msg"].removeprefix("Value error, ")
            raise CommandError(f"{name}: {message}." if name else f"{message}.") from None

    @property
    def state(self) -> Home:
        """The home as a layout of paths."""
        return Home(self.home.absolute())

    @property
    def database(self) -> str:
        """The URL of the service's database."""
        return self.database_url or f"sqlite:///{self.state.database}"

    @property
    def registry(self) -> str:
        """The URI of MLflow's registry."""
        return self.tracking_uri or self.state.tracking_uri

    @property
    def stale_after(self) -> timedelta:
        """`stale_after_days` as a length of time."""
        return timedelta(days=self.stale_after_days)


def _variable(field: str) -> str:
    """The environment variable of a field, as an error's location names it: by its alias, or by its own name."""
    return field if field.isupper() else f"{PREFIX}{field.upper()}"
