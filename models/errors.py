"""What can go wrong with a model; every message is one sentence that a user can act on.

ModelsError
├── BundleError            a bundle that cannot be written, is damaged, or has another format
├── ScorecardError         a scorecard that makes no sense, or cannot be proposed from these figures
├── EffectError            an effect model that is damaged, or is asked about other features
├── PolicyError            an action list or a decision context that makes no sense
└── RegistryError          the registry refused: unknown version, nothing to roll back to
    └── RegistryUnavailable   the registry does not answer; what is loaded stays good
"""

from __future__ import annotations


class ModelsError(Exception):
    """Any error of `models`; its message is one sentence for the user."""


class BundleError(ModelsError):
    """A bundle cannot be written, is damaged, or has a format that this version cannot read."""


class ScorecardError(ModelsError):
    """A scorecard's parameters make no sense, or none can be proposed from the given figures."""


class EffectError(ModelsError):
    """An effect model is damaged, or was asked about rows that it does not read."""


class PolicyError(ModelsError):
    """A policy's actions or a decision's context make no sense."""


class RegistryError(ModelsError):
    """The registry has no such version, no artifact, or nothing to roll back to."""


class RegistryUnavailable(RegistryError):
    """The registry does not answer; try again later."""
