"""A server whose event loop is stuck for good as soon as a client requests its metrics.

Run it as `python -m tests.servers.stuck`. In all else it is the server; it reads ALTERED like tests/servers/altered.py.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from unittest.mock import patch

from server.__main__ import main
from tests.servers.altered import alter

_FOR_GOOD_SECONDS = 3600


def _stick(*_: Any, **__: Any) -> None:
    time.sleep(_FOR_GOOD_SECONDS)  # blocks the event loop, as the test needs


if __name__ == "__main__":
    alter()
    # The metrics are written in a thread. This method is called in the event loop.
    with patch("server.http.metrics_endpoint.MetricsEndpoint.__call__", _stick):
        sys.exit(main())
