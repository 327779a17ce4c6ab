"""The service's own database, and the steps that bring its tables to their newest shape."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from features.database import database

_STEPS: Final = Path(__file__).with_name("migrations")


class Database(database.Database):
    """The database of keys, scores, decisions and experiments."""

    def migrate(self) -> None:
        """Bring the tables to this version's shape.

        Raises:
            DatabaseUnavailable: the database does not answer, or was written by a newer version.
        """
        self.upgrade(_STEPS, "alembic_version")
