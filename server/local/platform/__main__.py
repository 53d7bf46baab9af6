"""The plain local platform: `python -m server.local.platform`."""

from __future__ import annotations

import logging
import sys

from server.local.platform.app import CALLS
from server.local.platform.hooks import Hooks
from server.local.platform.process import main

if __name__ == "__main__":
    CALLS.setLevel(logging.INFO)
    sys.exit(main(Hooks()))
