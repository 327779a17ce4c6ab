"""The loader that models registered before version 0.2 name: `training.served_model`."""

from training.tracking.pyfunc import _load_pyfunc

__all__ = ["_load_pyfunc"]
