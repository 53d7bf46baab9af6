"""The local platform with test tooling: `python -m tests.platform_tools`."""

from __future__ import annotations

import sys

from server.local.platform.process import main
from tests.platform_tools.controls import Controls

if __name__ == "__main__":
    sys.exit(main(Controls()))
