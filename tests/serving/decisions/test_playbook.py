"""A playbook is made once for each release, and goes with it."""

from __future__ import annotations

import gc
from dataclasses import replace
from weakref import ref

import pytest

from serving.decisions.playbook import Playbook
from serving.releases.follower import ReleaseSource

from ..conftest import Shop

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_a_release_has_one_playbook_as_long_as_it_lives(template: Shop) -> None:
    source = ReleaseSource(template.settings)
    release = source.load(source.newest())
    playbook = Playbook.of_release(release)
    assert Playbook.of_release(release) is playbook
    assert Playbook.of_release(replace(release)) is not playbook
    gone = ref(release)
    del release
    gc.collect()
    assert gone() is None
