"""See README."""

from types import SimpleNamespace

__version__ = "0.0-stub"
utils = SimpleNamespace(logging=SimpleNamespace(disable_progress_bar=lambda: None))
