"""What every test runs under."""

from __future__ import annotations

import os

# Several of these processes share the cores: torch's threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
