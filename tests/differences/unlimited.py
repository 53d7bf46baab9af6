"""A server whose limits are too high for any generated document to exceed, including limits that are not settings.

Run it as `python -m tests.differences.unlimited`. In all else it is the server; it reads ALTERED like tests/servers/altered.py.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

from server.__main__ import main
from server.settings.limits import LimitSettings
from tests.servers.altered import alter

if TYPE_CHECKING:
    from schema import DocumentLimits

# The limits that are settings.
UNLIMITED: Final = {"limit_tokens": 100_000, "limit_depth": 100, "limit_cost": 10_000_000}
# The limits that are constants.
_LIMITS: Final = {
    "definitions": 1_000,
    "fields": 10_000,
    "aliases": 10_000,
    "root_fields": 1_000,
    "repeats": 100,
    "directives": 1_000,
}
_limits_of: Final[Any] = vars(LimitSettings)["document_limits"].fget


def _unlimited(settings: LimitSettings) -> DocumentLimits:
    limits: DocumentLimits = replace(_limits_of(settings), **_LIMITS)
    return limits


def unlimited() -> Any:
    """A patch that raises the limits within it."""
    return patch.object(LimitSettings, "document_limits", property(_unlimited))


if __name__ == "__main__":
    alter()
    with unlimited():
        sys.exit(main())
