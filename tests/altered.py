"""The server with other values for some of its constants: `running_server(..., altered={...})` runs it.

It is for times that are not settings, and that a test cannot wait for or must not meet on a slow machine. The
environment variable ALTERED holds them as JSON: `{"server.process.uvicorn_server._GRACEFUL_SECONDS": 600}`. They apply
to one process: the workers of a server with several keep the original constants.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from server.__main__ import main
from server.observability import multiprocess


def alter() -> None:
    """Set the constants.

    Raises:
        AttributeError: there is no such constant.
    """
    # prometheus_client, which the modules import, looks for this directory.
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
