"""The environment, as every command reads it: where a business's state is, and where its models and features are kept.

Nothing else reads `os.environ` but to hand it on; `tests/features/config/test_environment.py` holds the code to that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from features.config.wording import said_of
from features.errors import ConfigError
from features.generation import EMBEDDED
from features.home import Home

DEFAULT_HOME: Final = Path("var")
_NO_PATH: Final = "%?#*'\"\\"
# Python makes folders by calling itself for each one above.
_DEEPEST: Final = 200
"""What the databases and the registry of a home take for something else in the path of a file."""
_REGISTRIES: Final = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
PREFIX: Final = "KEEPWELL_"


class Environment(BaseSettings):
    """What every command reads, each by the environment variable KEEPWELL_<NAME>, or the one that its alias names."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    home: Path = Field(default=DEFAULT_HOME)
    """All state of one business."""
    online_store: str = Field(default=EMBEDDED)
    """Where `features build` puts current features: embedded, or a redis:// URL. A server
    reads where the build wrote, by its own URL: no build leaves a password behind."""
    database_url: str | None = Field(default=None)
    """The service's own database; SQLite in the home by default."""
    tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    """MLflow's registry; SQLite in the home by default."""

    @field_validator("home")
    @classmethod
    def _usable_folder(cls, setting: Path) -> Path:
        _check_path(str(setting.absolute()))
        if os.path.realpath(setting) == setting.absolute().anchor:  # of a loop of links, too
            raise ValueError(f"'{setting}' is the whole machine's; choose a folder of its own")
        return setting

    @field_validator("tracking_uri")
    @classmethod
    def _known_registry(cls, setting: str | None) -> str | None:
        if setting is None:
            return None
        parts = urlsplit(setting)
        scheme, _, _ = parts.scheme.partition("+")
        _check_port(parts)
        if scheme not in _REGISTRIES or "://" not in setting:
            given = f"{parts.scheme}://…" if "@" in setting else setting  # it may hold a password
            raise ValueError(
                f"'{given}' is neither a server such as http://localhost:5000 nor a database such as "
                "sqlite:////path/mlflow.db or postgresql://host/name; models cannot be registered in a folder"
            )
        if scheme == "sqlite":
            if not parts.path.strip("/"):
                raise ValueError(f"'{setting}' names no file, as sqlite:////path/mlflow.db does")
            _check_path(parts.path)
        return setting

    @field_validator("online_store")
    @classmethod
    def _known_store(cls, setting: str) -> str:
        if setting in (EMBEDDED, "sqlite"):  # its former name
            return EMBEDDED
        parts = urlsplit(setting)
        _check_port(parts)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ValueError(f"'{setting}' is neither '{EMBEDDED}' nor a URL such as redis://localhost:6379/0")
        return setting

    @classmethod
    def from_environment(cls, home: Home | None = None) -> Self:
        """The settings that the environment gives; those for `home`, whatever home and registry the environment names.

        Raises:
            ConfigError: a variable has a value that cannot be; the message names it.
        """
        try:
            return cls() if home is None else cls(home=home.path, tracking_uri=home.registry)
        except ValidationError as error:
            first = error.errors()[0]
            name = _variable(str(first["loc"][0])) if first["loc"] else ""
            message = said_of(first)
            raise ConfigError(f"{name}: {message}." if name else f"{message}.") from None

    @property
    def state(self) -> Home:
        """The home as a layout of paths, with its registry."""
        return Home(self.home, self.tracking_uri, None if self.online_store == EMBEDDED else self.online_store)

    @property
    def event_log(self) -> str:
        """The URL of the database of live events: the service's PostgreSQL, or a file of their own in the home.

        SQLite has one writer at a time, and an event must not wait for a rewrite of all scores.
        """
        if self.database_url is not None and self.database_url.startswith("postgres"):
            return self.database_url
        return f"sqlite:///{self.state.event_log}"


def user_cache() -> Path | None:
    """The user's folder for what can be made again, by the XDG standard; None if the user has no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keepwell"
    except RuntimeError:
        return None


def inherited(**changes: str) -> dict[str, str]:
    """The environment of a process that we start: our own, but for `changes`."""
    return {**os.environ, **changes}


def forget_places() -> None:
    """Take away what names a home, a store or a database, where a program has places of its own, as a benchmark has."""
    for name in ("KEEPWELL_HOME", "KEEPWELL_ONLINE_STORE", "KEEPWELL_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)


def _check_path(path: str) -> None:
    odd = next((sign for sign in path if sign in _NO_PATH or not sign.isprintable()), None)
    if odd is not None:
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise ValueError(f"{shown!r} holds {odd!a}, which databases take amiss in a path; choose another folder")
    if (depth := len(Path(path).parts)) > _DEEPEST:
        raise ValueError(f"'{path[:80]}…' is {depth} folders deep; choose a folder nearer the root")


def _check_port(parts: SplitResult) -> None:
    try:
        _ = parts.port
    except ValueError:
        place = parts.netloc.rpartition("@")[2]
        raise ValueError(f"'{place}' names a port that is none; it is a number from 0 to 65535") from None


def _variable(field: str) -> str:
    """The environment variable of a field, as an error's location names it: by its alias, or by its own name."""
    return field if field.isupper() else f"{PREFIX}{field.upper()}"
