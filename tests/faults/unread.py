"""Owns a server whose log goes into a pipe that nobody reads.

Run as `python -m tests.faults.unread`, it is the server in all else.
"""

from __future__ import annotations

import os
import sys

from server.__main__ import main
from server.observability.log_stream import STANDARD_OUTPUT

if __name__ == "__main__":
    # The end to read from stays open, and here.
    _, writes = os.pipe()
    os.dup2(writes, STANDARD_OUTPUT)
    sys.exit(main())
