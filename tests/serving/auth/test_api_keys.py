"""API keys: shown once, kept as hashes, refused soon after they are revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.auth.api_keys import ApiKeys, Principal, Role
from serving.errors import KeyNameTaken, UnknownKey
from serving.platform.database import Database


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


def test_a_new_key_lets_its_holder_in(keys: ApiKeys) -> None:
    secret = keys.add("crm", Role.SCORER)
    assert secret.startswith("kw_")
    assert len(secret) == 3 + 43
    assert keys.authenticate(secret) == Principal("crm", Role.SCORER)


@pytest.mark.parametrize("secret", ["", "kw_", "kw_wrong", "crm", "kw_\ud800", "ключ", "k" * 10_000])
def test_anything_else_is_nobody(keys: ApiKeys, secret: str) -> None:
    keys.add("crm", Role.SCORER)
    assert keys.authenticate(secret) is None


def test_the_secret_is_nowhere_on_disk(keys: ApiKeys, tmp_path: Path) -> None:
    secret = keys.add("crm", Role.ADMIN)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"crm" in kept
    assert secret.encode() not in kept
    assert secret.removeprefix("kw_").encode() not in kept


def test_a_revoked_key_is_refused_by_other_processes_soon(database: Database, keys: ApiKeys) -> None:
    secret = keys.add("crm", Role.MANAGER)
    now = 0.0
    elsewhere = ApiKeys(database, lambda: now)
    assert elsewhere.authenticate(secret) is not None
    keys.revoke("crm")
    assert keys.authenticate(secret) is None
    now = 3.1
    assert elsewhere.authenticate(secret) is None


def test_a_name_is_one_live_key(keys: ApiKeys) -> None:
    first = keys.add("crm", Role.SCORER)
    with pytest.raises(KeyNameTaken, match="A key named 'crm' exists"):
        keys.add("crm", Role.ADMIN)
    keys.revoke("crm")
    second = keys.add("crm", Role.ADMIN)
    assert keys.authenticate(first) is None
    assert keys.authenticate(second) == Principal("crm", Role.ADMIN)


def test_an_unknown_or_revoked_name_cannot_be_revoked(keys: ApiKeys) -> None:
    with pytest.raises(UnknownKey, match="No key is named 'crm'"):
        keys.revoke("crm")
    keys.add("crm", Role.SCORER)
    keys.revoke("crm")
    with pytest.raises(UnknownKey):
        keys.revoke("crm")


def test_the_list_shows_every_key_without_its_secret(keys: ApiKeys) -> None:
    secret = keys.add("crm", Role.SCORER)
    keys.add("web", Role.MANAGER)
    keys.revoke("crm")
    crm, web = keys.list()
    assert (crm.name, crm.role, web.name, web.role) == ("crm", Role.SCORER, "web", Role.MANAGER)
    assert crm.revoked_at is not None
    assert web.revoked_at is None
    assert secret not in repr((crm, web))
