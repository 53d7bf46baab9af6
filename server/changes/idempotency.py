"""Idempotency keys: the hash that tells whether a key is used for the same input, and the deletion of expired keys."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Final

import structlog

from server.db.driver import Driver

if TYPE_CHECKING:
    from schema.ports.changes import WriteRequest
    from server.changes.sql_writes import WriteStatements
    from server.db.pool import Pool

_log = structlog.get_logger(__name__)
_EXPIRE_EVERY_SECONDS: Final = 600.0
_FIRST_EXPIRE_SECONDS: Final = 60.0
# Keys that one statement deletes.
_EXPIRED_AT_ONCE: Final = 5000


class KeyExpiry:
    """The deletion of expired keys, from time to time.

    Args:
        pool: the pool for the deletion.
        statements: the statements.
        retention: seconds for which a key and its outcome are kept.
    """

    def __init__(self, pool: Pool, statements: WriteStatements, *, retention: float) -> None:
        self._pool = pool
        self._statements = statements
        self._retention = retention
        self._expired_at = time.monotonic() - _EXPIRE_EVERY_SECONDS + _FIRST_EXPIRE_SECONDS

    def begin(self) -> bool:
        """Whether it is time to delete expired keys. The caller then has to `run` the deletion."""
        if time.monotonic() - self._expired_at <= _EXPIRE_EVERY_SECONDS:
            return False
        self._expired_at = time.monotonic()
        return True

    async def run(self) -> None:
        """Delete the expired keys."""
        try:
            expired = _EXPIRED_AT_ONCE
            while expired == _EXPIRED_AT_ONCE:
                # In batches, so that no request waits long for their locks.
                limits = {"retention_seconds": self._retention, "size": _EXPIRED_AT_ONCE}
                async with self._pool.checkout() as raw:
                    driver = Driver(raw, pool=self._pool.name)
                    expired = len(await driver.rows(self._statements.expire, limits))
        except Exception as error:  # noqa: BLE001 # no request depends on it, and the next run may succeed
            _log.warning("expired idempotency keys not deleted", cause=repr(error))


def hash_of(request: WriteRequest) -> bytes:
    """The hash of an input. It does not matter whether the input named an order by its global id or by its key."""
    wanted = [
        [item.order_key, item.status, item.expected_status, item.expected_version, item.note] for item in request.wanted
    ]
    parts = [request.operation, request.atomic, wanted]
    if request.invalid:
        parts.append(request.invalid)
    return hashlib.sha256(json.dumps(parts).encode()).digest()
