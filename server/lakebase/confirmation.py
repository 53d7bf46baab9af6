"""Confirms by a write, before a step acts, that this process still holds the operation; waits for the database."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from schema.errors import UnavailableError
from server.db.database import DatabaseAbsentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# The wait for a database that does not answer, which is longer than a restart.
_CONFIRM_SECONDS: Final = 60.0
# The same before the database itself is deleted. Shorter, because such a database may never answer again.
DETACH_SECONDS: Final = 10.0
# How long the platform has to say that the database is stopped or gone. For a moment it may be wrong.
_ABSENT_SECONDS: Final = 20.0
# The pause between two attempts.
_PAUSE_SECONDS: Final = 0.5


async def confirm(
    write: Callable[[], Awaitable[None]],
    *,
    waiting: Callable[[UnavailableError], Awaitable[None]],
    seconds: float = _CONFIRM_SECONDS,
) -> None:
    """Confirm the lease by a write, and wait for the database if it does not answer.

    Args:
        write: the write.
        waiting: awaited after each attempt that another one follows.
        seconds: how long to wait.

    Raises:
        DatabaseAbsentError: another client has stopped or deleted the database.
        UnavailableError: the database does not answer.
    """
    deadline, absent_since = time.monotonic() + seconds, None
    while True:
        try:
            return await write()
        except UnavailableError as error:
            now = time.monotonic()
            absent_since = (absent_since or now) if isinstance(error, DatabaseAbsentError) else None
            if now > deadline or (absent_since is not None and now - absent_since > _ABSENT_SECONDS):
                raise
            await waiting(error)
        await asyncio.sleep(_PAUSE_SECONDS)
