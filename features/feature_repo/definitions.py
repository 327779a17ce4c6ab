"""Feast's objects of the live generation, so that the feast command finds them; they are declared in features/pillars."""

from __future__ import annotations

import sys

from features.config.environment import Environment
from features.errors import FeaturesError
from features.generation import Generation
from features.store.offline import OfflineStore

try:
    _store = OfflineStore(Generation.current(Environment.from_environment().state))
except FeaturesError as error:
    sys.exit(str(error))

# Feast looks for objects among a module's names.
globals().update({found.name: found for found in (*_store.definitions(), *_store.feature_services())})
