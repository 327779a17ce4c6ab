"""Keeping the edition that of the release being served, aside: no score waits for what pages show."""

from __future__ import annotations

import threading

import structlog

from features.home import Home
from serving.errors import NoRelease
from serving.platform.database import Database
from serving.releases.follower import Follower
from serving.releases.release import Release
from serving.web.accounts.account_snapshots import Editions

_log = structlog.get_logger(__name__)
_PATIENCE = 5.0


def keep(database: Database, release: Release) -> bool:
    """Write the edition of `release` unless it stands; whether it was written.

    One process of a home does it at a time; the others wait, and find it done. A build that is no longer the home's live one
    is left alone: which one is live the pointer says, not the clock that its id is made from.

    Raises:
        StoreUnavailable, DatabaseUnavailable: the edition that stood still stands.
    """
    editions = Editions(database)
    home = Home(release.generation.path.parent.parent)
    with home.lock("pages", wait=True):
        if editions.is_current(release.key) or home.live != release.generation.id:
            return False
        written = editions.write(release)
    _log.info("pages written", release=release.key, accounts=written)
    return True


class SnapshotRefresher:
    """Follows the follower in a thread of its own."""

    def __init__(self, database: Database, follower: Follower, poll_seconds: float) -> None:
        self._database = database
        self._follower = follower
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="refresher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, after what is being written if that does not take long: an edition cut short is written again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def _keep(self) -> None:
        kept: str | None = None
        failed: str | None = None
        while not self._stop.is_set():
            try:
                release = self._follower.release
                if release.key != kept:
                    keep(self._database, release)
                    kept, failed = release.key, None
            except NoRelease:
                pass
            except Exception as error:
                # The thread must outlive whatever it ran into, and try again; the log has each cause once.
                if repr(error) != failed:
                    _log.exception("pages could not be written")
                failed = repr(error)
            self._stop.wait(self._poll_seconds)
