"""Owns a server with times that no constant of a module has; a test that is not about them has not to wait for them.

The clock of its Databricks SDK runs ten times as fast, so that between two attempts it waits a tenth. A lease is renewed
for LEASE_SECONDS also where these are altered (tests/altered.py). A token for PostgreSQL is renewed after as many seconds
as the environment variable RENEW_AFTER says, and not only at half of its life. Run as `python -m tests.hasty`, it is the
server in all else.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Any, Final
from unittest.mock import patch

from server.__main__ import main
from tests.altered import alter

_TIMES: Final = 10


class _FastTime:
    """Stands in for `time` where the SDK's clocks are made of it: ours, and its own for the discovery of the host."""

    @staticmethod
    def monotonic() -> float:
        return _TIMES * time.monotonic()

    time = monotonic

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / _TIMES)  # the pause that the SDK wants


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
    log = importlib.import_module("server.lakebase.operations.store")
    # It has the value of when the module was loaded.
    log.OperationLog.renew.__kwdefaults__["seconds"] = log.LEASE_SECONDS
    with (
        patch.object(importlib.import_module("server.lakebase.platform.sdk_client"), "time", _FastTime),
        patch.object(importlib.import_module("databricks.sdk.clock"), "time", _FastTime),
    ):
        sys.exit(main())
