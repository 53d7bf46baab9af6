"""Owns where operations are kept: in the database while it can be reached, each with a lease; in memory otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from schema.errors import ApiError, Reason, UnavailableError
from schema.lakebase_ports import WorkState
from server.db.changes import quoted
from server.db.errors import DRIVER_ERRORS, classify, sqlstate
from server.lakebase.work import (
    Work,
    failure_from_json,
    failure_to_json,
    request_from_json,
    request_to_json,
    steps_from_json,
    steps_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from server.db.migrate import Migrations

HEARTBEAT_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 6.0
# No such table or schema: another database than the one that was migrated.
_MISSING: Final = frozenset({"42P01", "3F000"})
_LOCK: Final = 7_036_874_417_767
_ENDED_IN_MEMORY: Final = 200
_COLUMNS: Final = "id, request, resources, steps, facts, requested_by, requested_at, state, finished_at, failure, fence"


class LeaseLostError(Exception):
    """Another process has taken the operation up; this one may do nothing more for it."""


class OperationLog:
    """The operations of all processes on one database, and those of this one that no database holds.

    A durable operation belongs to whoever holds its lease, which is a matter of the database's clock alone: renewed
    every HEARTBEAT_SECONDS, over after LEASE_SECONDS. Taking it up raises the fence, and every write names the fence
    that its writer knows, so that one who has been away too long writes nothing.
    """

    def __init__(self, engine: AsyncEngine, schema: str, migrations: Migrations) -> None:
        self._engine = engine
        self._migrations = migrations
        self._table = f"{quoted(schema)}.operation"
        self._memory: dict[str, Work] = {}

    async def begin(self, work: Work) -> Work | None:
        """Keep a new operation, unless another is in its way: that one is given then.

        In the way is one that is under way for any of the same resources.
        """
        if other := self._in_memory(work):
            return other
        try:
            if other := await self._insert(work):
                return other
        except UnavailableError:
            if other := self._in_memory(work):
                return other
            self._remember(work)
        return None

    async def under_way(self, fingerprint: str) -> Work | None:
        """The operation that does the same already."""
        for work in self._memory.values():
            if not work.ended and work.fingerprint == fingerprint:
                return work
        try:
            rows = await self._rows(
                f"SELECT {_COLUMNS} FROM {self._table} "  # noqa: S608 # the setting is an identifier, and quoted
                "WHERE fingerprint = :fingerprint AND state IN ('PENDING', 'RUNNING')",
                {"fingerprint": fingerprint},
            )
        except UnavailableError:
            return None
        return _work(rows[0]) if rows else None

    async def keep(self, work: Work) -> bool:
        """Put an operation of memory into the database, if that can be done now."""
        try:
            kept = await self._insert(work) is None
        except UnavailableError:
            return False
        if kept:
            self._memory.pop(work.id, None)
        return kept

    async def detach(self, work: Work) -> None:
        """Take it out of the database, which is about to go; from now on it lives in memory.

        Raises:
            LeaseLostError: it is another's by now.
            UnavailableError: the database does not answer.
        """
        if not work.durable:
            return
        gone = await self._rows(
            f"DELETE FROM {self._table} WHERE id = :id AND fence = :fence RETURNING id",  # noqa: S608 # the setting is an identifier, and quoted
            {"id": work.id, "fence": work.fence},
        )
        if not gone:
            raise LeaseLostError(work.id)
        work.fence = 0
        self._remember(work)

    def abandon(self, work: Work) -> None:
        """The database that it was kept in is gone; go on in memory."""
        work.fence = 0
        self._remember(work)

    async def save(self, work: Work) -> None:
        """Write down how far it is, and renew the lease; in memory there is nothing to do.

        Raises:
            LeaseLostError: it is another's by now.
            UnavailableError: the database does not answer.
        """
        if not work.durable:
            return
        saved = await self._rows(
            f"""
            UPDATE {self._table}
            SET state = :state, steps = CAST(:steps AS jsonb), facts = CAST(:facts AS jsonb),
                failure = CAST(:failure AS jsonb), finished_at = :finished_at,
                lease_ends_at = clock_timestamp() + make_interval(secs => :lease)
            WHERE id = :id AND fence = :fence RETURNING id
            """,  # noqa: S608 # as above
            {**_values(work), "lease": LEASE_SECONDS},
        )
        if not saved:
            raise LeaseLostError(work.id)

    async def renew(self, work: Work, *, seconds: float = LEASE_SECONDS) -> None:
        """Hold on to it for another while, or with 0 let go of it.

        Raises:
            LeaseLostError: it is another's by now.
            UnavailableError: the database does not answer.
        """
        if not work.durable:
            return
        held = await self._rows(
            f"""
            UPDATE {self._table} SET lease_ends_at = clock_timestamp() + make_interval(secs => :lease)
            WHERE id = :id AND fence = :fence RETURNING id
            """,  # noqa: S608 # as above
            {"id": work.id, "fence": work.fence, "lease": seconds},
        )
        if not held:
            raise LeaseLostError(work.id)

    async def claim(self) -> list[Work]:
        """Take up every operation that nobody holds any more.

        Raises:
            UnavailableError: the database does not answer.
        """
        rows = await self._rows(
            f"""
            UPDATE {self._table}
            SET fence = fence + 1, lease_ends_at = clock_timestamp() + make_interval(secs => :lease)
            WHERE id IN (
                SELECT id FROM {self._table}
                WHERE state IN ('PENDING', 'RUNNING') AND lease_ends_at < clock_timestamp() FOR UPDATE SKIP LOCKED
            )
            RETURNING {_COLUMNS}
            """,  # noqa: S608 # as above
            {"lease": LEASE_SECONDS},
        )
        return [_work(row) for row in rows]

    async def next_lease_end(self) -> float | None:
        """In how many seconds the next lease ends, if nobody renews it; None where nothing is under way.

        Raises:
            UnavailableError: the database does not answer.
        """
        rows = await self._rows(
            f"""
            SELECT CAST(extract(epoch FROM min(lease_ends_at) - clock_timestamp()) AS float)
            FROM {self._table} WHERE state IN ('PENDING', 'RUNNING')
            """,  # noqa: S608 # as above
            {},
        )
        seconds: float | None = rows[0][0]
        return seconds

    async def find(self, id_: str) -> Work | None:
        """The operation with this id. Where the database does not answer, of memory alone."""
        if work := self._memory.get(id_):
            return work
        try:
            rows = await self._rows(f"SELECT {_COLUMNS} FROM {self._table} WHERE id = CAST(:id AS uuid)", {"id": id_})  # noqa: S608 # as above
        except UnavailableError:
            return None
        return _work(rows[0]) if rows else None

    async def page(self, *, size: int, after: Work | None) -> list[Work]:
        """Operations, newest first; where the database does not answer, those of memory alone."""
        try:
            rows = await self._rows(
                f"""
                SELECT {_COLUMNS} FROM {self._table}
                WHERE CAST(:id AS uuid) IS NULL OR (requested_at, id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
                ORDER BY requested_at DESC, id DESC LIMIT :size
                """,  # noqa: S608 # as above
                {"id": after and after.id, "at": after and after.requested_at, "size": size},
            )
        except UnavailableError:
            rows = ()
        remembered = [
            work
            for work in self._memory.values()
            if after is None or (work.requested_at, work.id) < (after.requested_at, after.id)
        ]
        found = {work.id: work for work in (*(_work(row) for row in rows), *remembered)}
        return sorted(found.values(), key=lambda work: (work.requested_at, work.id), reverse=True)[:size]

    async def _insert(self, work: Work) -> Work | None:
        async def insert(connection: AsyncConnection) -> Work | None:
            # Whoever comes second sees what the first has written.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            rows = await connection.execute(
                sa.text(
                    f"SELECT {_COLUMNS} FROM {self._table} WHERE state IN ('PENDING', 'RUNNING') "  # noqa: S608 # as above
                    "AND resources && CAST(:resources AS text[]) ORDER BY requested_at LIMIT 1"
                ),
                {"resources": list(work.resources)},
            )
            if row := rows.one_or_none():
                return _work(row)
            await connection.execute(
                sa.text(
                    f"""
                    INSERT INTO {self._table} (id, kind, fingerprint, resources, request, state, steps, facts, failure,
                        requested_by, requested_at, finished_at, lease_ends_at)
                    VALUES (:id, :kind, :fingerprint, CAST(:resources AS text[]), CAST(:request AS jsonb), :state,
                        CAST(:steps AS jsonb), CAST(:facts AS jsonb), CAST(:failure AS jsonb), :requested_by,
                        :requested_at, :finished_at, clock_timestamp() + make_interval(secs => :lease))
                    """  # noqa: S608 # as above
                ),
                {
                    **_values(work),
                    "kind": work.request.kind.value,
                    "fingerprint": work.fingerprint,
                    "resources": list(work.resources),
                    "request": json.dumps(request_to_json(work.request)),
                    "requested_by": work.requested_by,
                    "requested_at": work.requested_at,
                    "lease": LEASE_SECONDS,
                },
            )
            return None

        other: Work | None = await self._reached(insert, isolation_level="READ COMMITTED")
        if other is None:
            work.fence = 1
        return other

    async def _rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        async def run(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(sa.text(statement), dict(parameters))).all()

        rows: Sequence[Any] = await self._reached(run)
        return rows

    async def _reached(self, work: Callable[[AsyncConnection], Awaitable[Any]], **options: Any) -> Any:
        """What the work gives on a connection; our tables are made where they are missing."""
        engine = self._engine.execution_options(**options) if options else self._engine
        try:
            await self._migrations.ensure()
            for last in (False, True):
                try:
                    async with engine.connect() as connection, connection.begin():
                        return await work(connection)
                except DBAPIError as error:
                    if last or not (error.connection_invalidated or sqlstate(error) in _MISSING):
                        raise
                    if not error.connection_invalidated:
                        # The database that was migrated is gone, and another is in its place.
                        self._migrations.forget()
                        await self._migrations.ensure()
        except ApiError as error:
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, error.message) from error
        except (DBAPIError, PoolTimeoutError, OSError, TimeoutError, *DRIVER_ERRORS) as error:
            meaning = classify(error)
            if meaning is None:
                raise
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, meaning.message) from error
        raise AssertionError("the second attempt returns or raises")

    def _in_memory(self, work: Work) -> Work | None:
        wanted = set(work.resources)
        return next((one for one in self._memory.values() if not one.ended and wanted & set(one.resources)), None)

    def _remember(self, work: Work) -> None:
        self._memory[work.id] = work
        ended = [one.id for one in self._memory.values() if one.ended]
        for id_ in ended[:-_ENDED_IN_MEMORY]:
            del self._memory[id_]


def _values(work: Work) -> dict[str, Any]:
    return {
        "id": work.id,
        "fence": work.fence,
        "state": work.state.value,
        "steps": json.dumps(steps_to_json(work.steps)),
        "facts": json.dumps(work.facts),
        "failure": json.dumps(failure_to_json(work.failure)) if work.failure else None,
        "finished_at": work.finished_at,
    }


def _work(row: Any) -> Work:
    found = row._mapping  # noqa: SLF001 # SQLAlchemy's public name for it
    return Work(
        id=str(found["id"]),
        request=request_from_json(found["request"]),
        resources=tuple(found["resources"]),
        steps=steps_from_json(found["steps"]),
        facts=found["facts"],
        requested_by=found["requested_by"],
        requested_at=found["requested_at"],
        state=WorkState(found["state"]),
        finished_at=found["finished_at"],
        failure=failure_from_json(found["failure"]),
        fence=found["fence"],
    )
