"""What can go wrong in a simulation.

SimulationError
"""

from __future__ import annotations


class SimulationError(Exception):
    """A simulation that was asked for cannot be made; the message is one sentence for the user."""
