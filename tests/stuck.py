"""A server whose event loop is stuck for good as soon as its metrics are asked for, whatever else it is told.

Run as `python -m tests.stuck`, it is the server in all else; ALTERED is read as by tests/altered.py.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from unittest.mock import patch

from server.__main__ import main
from tests.altered import alter

_FOR_GOOD_SECONDS = 3600


def _stick(*_: Any, **__: Any) -> None:
    time.sleep(_FOR_GOOD_SECONDS)  # the event loop is stuck in it, which is what the test wants


if __name__ == "__main__":
    alter()
    # What writes the metrics runs in a thread of its own; what is called here runs in the event loop.
    with patch("server.http.metrics_endpoint.MetricsEndpoint.__call__", _stick):
        sys.exit(main())
