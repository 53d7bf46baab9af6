"""A server with short pauses, for tests that would otherwise wait for them: run `python -m tests.servers.hasty`.

The clock of its Databricks SDK runs ten times as fast, so the SDK's pauses between two attempts are a tenth as long.
Tokens for PostgreSQL are renewed after the seconds in the environment variable RENEW_AFTER, if it is set, and not only
after half of their life. Constants can be changed as with tests/servers/altered.py. Everything else is as in the server.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any, Final
from unittest.mock import patch

from server.__main__ import main
from tests.servers.altered import alter

_TIMES: Final = 10


class _FastTime:
    """Replaces `time` in the SDK's two clocks: the one that the server gives it, and its own for the discovery document."""

    @staticmethod
    def monotonic() -> float:
        return _TIMES * time.monotonic()

    time = monotonic

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / _TIMES)  # the SDK's pause, shortened


def _renew_after(seconds: float) -> None:
    provider = importlib.import_module("server.lakebase.login.tokens").TokenProvider
    renew = provider._renew  # noqa: SLF001 # there is no public way

    async def renew_early(self: Any) -> None:
        await renew(self)
        self._renew_at = min(self._renew_at, self._minted_at + seconds)

    provider._renew = renew_early  # noqa: SLF001 # as above


if __name__ == "__main__":
    alter()
    if after := os.environ.get("RENEW_AFTER"):
        _renew_after(float(after))
    with (
        patch.object(importlib.import_module("server.lakebase.platform.sdk_client"), "time", _FastTime),
        patch.object(importlib.import_module("databricks.sdk.clock"), "time", _FastTime),
    ):
        sys.exit(main())
