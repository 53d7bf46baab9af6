"""Owns a server whose event loop is stuck for good as soon as its metrics are asked for, whatever else it is told.

Run as `python -m tests.stuck`, it is the server in all else.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from unittest.mock import patch

import server.scraping
from server.__main__ import main

_FOR_GOOD_SECONDS = 3600


def _stick(*_: Any, **__: Any) -> None:
    time.sleep(_FOR_GOOD_SECONDS)  # the event loop is stuck in it, which is what the test wants


if __name__ == "__main__":
    with patch.object(server.scraping, "exposition", _stick):
        sys.exit(main())
