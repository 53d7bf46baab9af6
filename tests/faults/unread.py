"""A server whose log goes into a pipe that is not read.

Run it as `python -m tests.faults.unread`. In all else it is the server.
"""

from __future__ import annotations

import os
import sys

from server.__main__ import main
from server.observability.log_stream import STANDARD_OUTPUT

if __name__ == "__main__":
    # This process keeps the reading end open and does not read it.
    _, writes = os.pipe()
    os.dup2(writes, STANDARD_OUTPUT)
    sys.exit(main())
