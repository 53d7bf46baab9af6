"""Owns a look at what is loaded where the server is made ready to serve: it says which modules are OpenTelemetry's.

Run as `python -m tests.untraced`, with a server's settings.
"""

from __future__ import annotations

import json
import sys

from server.observability import multiprocess
from server.settings import load_settings


def main() -> None:
    """Make the application, and look."""
    # prometheus_client, which it loads, looks for it.
    multiprocess.make()
    from server.app import create_app  # noqa: PLC0415 # after that
    from server.traffic.draining import Draining  # noqa: PLC0415 # as above

    create_app(load_settings(), Draining())
    sys.stdout.write(json.dumps({name: "opentelemetry" in name for name in sys.modules}))


if __name__ == "__main__":
    main()
