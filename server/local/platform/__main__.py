"""The plain local platform: `python -m server.local.platform`."""

from __future__ import annotations

import sys

from server.local.platform.hooks import Hooks
from server.local.platform.process import main

if __name__ == "__main__":
    sys.exit(main(Hooks()))
