"""What the demo hands to its user: an API key, and a first call."""

from __future__ import annotations

import pyarrow.parquet as pq

from features.atomic_write import write_atomically
from features.generation import Generation
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database
from serving.platform.settings import Settings

KEY_NAME = "demo"


def api_key(settings: Settings) -> str:
    """The demo's API key, kept in `demo.key` for its owner alone; a new one where that is lost or was revoked."""
    path = settings.state.path / "demo.key"
    database = Database(settings.database)
    try:
        database.migrate()
        keys = ApiKeys(database)
        if path.exists():
            secret = path.read_text().strip()
            if keys.authenticate(secret) is not None:
                return secret
        if any(key.name == KEY_NAME and key.revoked_at is None for key in keys.list()):
            keys.revoke(KEY_NAME)
        secret = keys.add(KEY_NAME, Role.ADMIN)
        write_atomically(path, secret + "\n", mode=0o600)
        return secret
    finally:
        database.close()


def first_call(settings: Settings, secret: str) -> str:
    """A command that asks for one customer's score."""
    generation = Generation.current(settings.state)
    pillar = generation.schema.pillars[0].name
    snapshot = pq.read_table(
        generation.snapshot_file(pillar),
        columns=["customer_id"],
        filters=[("event_timestamp", "==", generation.as_of)],
    )
    customer = snapshot["customer_id"][0].as_py()
    return (
        f'curl -H "Authorization: Bearer {secret}" http://{settings.host}:{settings.port}/v1/customers/{customer}/score'
    )
