"""What a step needs of the run's command line and has no other way to know."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Around(NamedTuple):
    """state_dir, recipe: folders, "" for the usual. stop: set when the run is to end.

    offline, assets_from, use_hf_token, xet, progress: as the options of a download.
    """

    state_dir: str = ""
    recipe: str = ""
    offline: bool = False
    assets_from: str = ""
    use_hf_token: bool = False
    xet: bool = False
    progress: str = "plain"
    stop: threading.Event | None = None
