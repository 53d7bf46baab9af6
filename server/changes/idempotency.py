"""Idempotency keys: a change claims its key and records its outcome, which a repetition replays until it expires."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.errors import Reason
from schema.ports.changes import Outcome, Refusal, StatusChange, WriteOutcome
from server.db.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.changes import WantedStatus, WriteRequest
    from server.changes.outcomes import State
    from server.changes.sql_writes import WriteStatements
    from server.db.pool import Pool

_log = structlog.get_logger(__name__)
_EXPIRE_EVERY_SECONDS: Final = 600.0
_FIRST_EXPIRE_SECONDS: Final = 60.0
# Keys that one statement deletes.
_EXPIRED_AT_ONCE: Final = 5000


class IdempotencyKeys:
    """The keys in the database.

    Args:
        pool: the pool for the deletion of expired keys.
        statements: the statements.
        retention: seconds for which a key and its outcome are kept.
    """

    def __init__(self, pool: Pool, statements: WriteStatements, *, retention: float) -> None:
        self._pool = pool
        self._statements = statements
        self._retention = retention
        self._expired_at = time.monotonic() - _EXPIRE_EVERY_SECONDS + _FIRST_EXPIRE_SECONDS

    def begin_expiry(self) -> bool:
        """Whether it is time to delete expired keys. The caller then has to `expire` them."""
        if time.monotonic() - self._expired_at <= _EXPIRE_EVERY_SECONDS:
            return False
        self._expired_at = time.monotonic()
        return True

    async def claim(self, driver: Driver, request: WriteRequest, user: str) -> WriteOutcome | None:
        """Claim the request's key. Return None if this transaction holds it now, otherwise the outcome to answer with.

        If another transaction holds the key, this waits for that transaction to end.
        """
        owner = {"principal": user, "key": request.idempotency_key}
        request_hash = _hash_of(request)
        claim = {**owner, "hash": request_hash, "retention_seconds": self._retention}
        if await driver.rows(self._statements.claim, claim):
            return None
        ((hash_, outcome),) = await driver.rows(self._statements.recorded, owner)
        if bytes(hash_) != request_hash:
            return WriteOutcome(
                (),
                refusal=Refusal(
                    Reason.IDEMPOTENCY_KEY_REUSED,
                    "This idempotencyKey has been used with another input. Nothing was written.",
                    field="idempotencyKey",
                ),
            )
        return await self._replay(driver, json.loads(outcome))

    async def _replay(self, driver: Driver, recorded: list[dict[str, Any]]) -> WriteOutcome:
        versions = {item["key"]: item["version"] for item in recorded if item["version"] is not None}
        rows: Sequence[Any] = ()
        if versions:
            arrays = {"keys": list(versions), "versions": list(versions.values())}
            rows = await driver.rows(self._statements.replayed, arrays)
        changes = {row[1]: StatusChange(*row) for row in rows}
        return WriteOutcome(
            tuple(
                Outcome(
                    item["key"],
                    item["previous"],
                    changes.get(item["key"]),
                    tuple(_refusal_from(refusal) for refusal in (item["refusal"], *item.get("others", ())) if refusal),
                )
                for item in recorded
            ),
            replayed=True,
        )

    async def expire(self) -> None:
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


def outcomes_to_json(outcomes: list[Outcome], states: dict[int, State], changing: list[WantedStatus]) -> str:
    """The outcomes in the form in which they are recorded. A replay finds each change by its order and version."""
    versions: dict[int | None, int] = {wanted.order_key: states[wanted.order_key].version + 1 for wanted in changing}
    return json.dumps(
        [
            {
                "key": outcome.order_key,
                "previous": outcome.previous_status,
                "version": versions.get(outcome.order_key),
                "refusal": next(map(_refusal_to_json, outcome.refusals), None),
                # Servers of an earlier version, which know of one refusal, may replay this.
                **({"others": list(map(_refusal_to_json, outcome.refusals[1:]))} if outcome.refusals[1:] else {}),
            }
            for outcome in outcomes
        ]
    )


def _refusal_to_json(refusal: Refusal) -> list[Any]:
    return [refusal.reason.name, refusal.message, refusal.field, refusal.current_status, refusal.current_version]


def _refusal_from(recorded: list[Any]) -> Refusal:
    """A refusal from `_refusal_to_json`."""
    reason, *rest = recorded
    return Refusal(Reason[reason], *rest)


def _hash_of(request: WriteRequest) -> bytes:
    """The hash of an input. It does not matter whether the input named an order by its global id or by its key."""
    wanted = [
        [item.order_key, item.status, item.expected_status, item.expected_version, item.note] for item in request.wanted
    ]
    parts = [request.operation, request.atomic, wanted]
    if request.invalid:
        parts.append(request.invalid)
    return hashlib.sha256(json.dumps(parts).encode()).digest()
