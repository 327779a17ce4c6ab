"""Errors of the feature layer; each message is one sentence for the person who made the call.

FeaturesError
├── ConfigError              the TOML says something that cannot be
├── IngestError              a data file is not what the TOML says
├── HomeError                KEEPWELL_HOME cannot be used as asked
│   └── NoGeneration         nothing was built in it yet
├── SchemaMismatch           a row lacks columns that the model needs
├── UnknownCustomer          nobody by that id; carries `customer_ids`
├── StoreUnavailable         the online store does not answer
└── DatabaseUnavailable      a database of ours does not answer
    └── StorageFull          the disk of the database, or of the home, is full
"""

import re
from collections.abc import Sequence
from typing import Final

_LONG: Final = re.compile(r"\S{400,}")


def told(error: Exception, otherwise: str = "The command") -> str:
    """An error as a user reads it: what the system says of a file, or of `otherwise`, as a sentence; long words are cut."""
    said = str(error)
    if isinstance(error, OSError):
        said = f"{error.filename or otherwise}: {error.strerror or error}."
    return _LONG.sub(lambda long: f"{long[0][:200]}…", said)


class FeaturesError(Exception):
    """Base of every error that a user, a file or a store can cause here."""


class ConfigError(FeaturesError):
    """The TOML is wrong: the message names the file, the key and what is allowed."""


class IngestError(FeaturesError):
    """A data file is not what the TOML says: the message names the file and the column."""


class HomeError(FeaturesError):
    """KEEPWELL_HOME belongs to another business, is locked, or cannot be written."""


class NoGeneration(HomeError):
    """Nothing was built in this KEEPWELL_HOME yet."""


class SchemaMismatch(FeaturesError):
    """Columns that a schema needs are missing, or have another type."""


class UnknownCustomer(FeaturesError):
    """The store holds no row for these customers, so nobody may score them."""

    def __init__(self, customer_ids: Sequence[str]) -> None:
        self.customer_ids: tuple[str, ...] = tuple(customer_ids)
        named = ", ".join(repr(customer_id) for customer_id in self.customer_ids[:5])
        more = len(self.customer_ids) - 5
        super().__init__(f"no such customer: {named}{f' and {more} more' if more > 0 else ''}")


class StoreUnavailable(FeaturesError):
    """The online store does not answer; nothing may be made up in its place."""


class DatabaseUnavailable(FeaturesError):
    """The service's database, or the log of live events, does not answer."""


class StorageFull(DatabaseUnavailable):
    """The disk is full: nothing more can be recorded until somebody makes room."""

    def __init__(self) -> None:
        super().__init__("The disk is full: nothing can be recorded until there is room again.")
