"""Prints the modules loaded by the time the server is ready to serve, and which of them are OpenTelemetry's.

Run it as `python -m tests.servers.untraced`, with a server's settings.
"""

from __future__ import annotations

import json
import sys

from server.observability import multiprocess
from server.settings import load_settings


def main() -> None:
    """Make the application, and print the modules."""
    # prometheus_client, which the application imports, looks for this directory.
    multiprocess.make()
    from server.process.app import create_app  # noqa: PLC0415 # after the directory exists
    from server.traffic.draining import Draining  # noqa: PLC0415 # as above

    create_app(load_settings(), Draining())
    sys.stdout.write(json.dumps({name: "opentelemetry" in name for name in sys.modules}))


if __name__ == "__main__":
    main()
