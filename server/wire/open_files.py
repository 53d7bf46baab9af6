"""The number of connections that the limit of open files allows."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from server.settings import Settings

_log = structlog.get_logger(__name__)
# Open files beside the clients' connections: to the database and the platform, the log, metrics, listening sockets.
_OTHER_FILES: Final = 64
_FILES_PER_POOLED: Final = 4


def connections_within(settings: Settings) -> int:
    """MAX_CONNECTIONS, or fewer if the limit of open files cannot be raised to allow them."""
    others = _OTHER_FILES + _FILES_PER_POOLED * (settings.pool_size + settings.write_pool_size)
    needed = settings.max_connections + others
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return settings.max_connections
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    most = min(settings.max_connections, max(1, soft - others))
    if most < settings.max_connections:
        _log.warning("fewer connections than MAX_CONNECTIONS", connections=most, open_files=soft)
    return most
