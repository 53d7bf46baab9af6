"""The server with other values for some of its constants: `running_server(..., altered={...})` runs it.

It is for times that are no settings, and that a test must not have to wait for, or must not meet on a slow machine. The
environment variable ALTERED has them as JSON: `{"server.process.uvicorn_server._GRACEFUL_SECONDS": 600}`. They hold for one process:
where the server has several workers, these have the constants as they are.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from server.__main__ import main
from server.observability import multiprocess


def alter() -> None:
    """Give the constants their values.

    Raises:
        AttributeError: there is none of that name.
    """
    # prometheus_client, which the modules load, looks for it.
    multiprocess.make()
    for name, value in json.loads(os.environ.pop("ALTERED", "{}")).items():
        module, _, constant = name.rpartition(".")
        loaded = importlib.import_module(module)
        if not hasattr(loaded, constant):
            raise AttributeError(name)
        setattr(loaded, constant, value)


if __name__ == "__main__":
    alter()
    sys.exit(main())
