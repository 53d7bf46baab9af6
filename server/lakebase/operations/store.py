"""Owns where operations are kept: in the database while it can be reached, each with a lease; in memory otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from schema.errors import ApiError, Reason, UnavailableError
from server.db.app_tables import quoted
from server.db.database import DatabaseAbsentError
from server.db.errors import DRIVER_ERRORS, classify, sqlstate
from server.lakebase.operations.operation import request_to_json, values_of, works_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.lakebase.operations.operation import Work

HEARTBEAT_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 6.0
# No such table or schema: another database than the one that was migrated.
_MISSING: Final = frozenset({"42P01", "3F000"})
_LOCK: Final = 7_036_874_417_767
_ENDED_IN_MEMORY: Final = 200
STALE_SECONDS: Final = 3600.0
_INTERRUPTED: Final = (
    "It was interrupted, and nobody went on with it for an hour. Look at what is there; the same mutation again "
    "carries on."
)
_COLUMNS: Final = "id, request, resources, steps, facts, requested_by, requested_at, state, finished_at, failure, fence"


class LeaseLostError(Exception):
    """Another process has taken the operation up; this one may do nothing more for it."""


class OperationLog:
    """The operations of all processes on one database, and those of this one that no database holds.

    A durable operation belongs to whoever holds its lease, which is a matter of the database's clock alone: renewed
    every HEARTBEAT_SECONDS, over after LEASE_SECONDS. Taking it up raises the fence, and every write names the fence
    that its writer knows, so that one who has been away too long writes nothing.
    """

    def __init__(self, pool: Pool, schema: str, migrations: Migrations) -> None:
        self._pool = pool
        self._migrations = migrations
        self._table = f"{quoted(schema)}.operation"
        self._memory: dict[str, Work] = {}

    async def begin(self, work: Work, *, insist: bool = False) -> Work | None:
        """Keep a new operation, unless another is in its way: that one is given then.

        In the way is one that is under way for any of the same resources. Where there is no database it lives in
        memory; where the database merely does not answer too, if one insists: it may be what is to be mended.

        Raises:
            UnavailableError: the database does not answer.
        """
        if other := self._in_memory(work):
            return other
        try:
            if other := await self._insert(work):
                return other
        except UnavailableError as error:
            if not (insist or isinstance(error, DatabaseAbsentError)):
                raise
            if other := self._in_memory(work):
                return other
            self._remember(work)
        return None

    async def in_the_way(self, work: Work) -> Work | None:
        """The operation that is under way for any of the same resources, as far as that is known."""
        if other := self._in_memory(work):
            return other
        try:
            rows = await self._rows(
                f"SELECT {_COLUMNS} FROM {self._table} WHERE state IN ('PENDING', 'RUNNING') "  # noqa: S608 # the setting is an identifier, and quoted
                "AND resources && CAST(:resources AS text[]) ORDER BY requested_at LIMIT 1",
                {"resources": list(work.resources)},
            )
        except UnavailableError:
            return None
        return next(iter(works_of(rows)), None)

    async def keep(self, work: Work) -> Work | None:
        """Put an operation of memory into the database, if that can be done now; the other one that is in its way."""
        try:
            other = await self._insert(work)
        except UnavailableError:
            return None
        if other is None:
            self._memory.pop(work.id, None)
        return other

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
        # The reply to an attempt before may have been lost.
        if not gone and await self._rows(
            f"SELECT id FROM {self._table} WHERE id = :id",  # noqa: S608 # as above
            {"id": work.id},
        ):
            raise LeaseLostError(work.id)
        work.fence = 0
        self._remember(work)

    def abandon(self, work: Work) -> None:
        """The database that it is kept in does not answer, and is about to go, or is gone; go on in memory."""
        work.fence = 0
        self._remember(work)

    async def forget(self, work: Work) -> None:
        """Take away what was abandoned, if it is there yet: nobody is to take it up.

        Raises:
            UnavailableError: the database does not answer.
        """
        await self._rows(f"DELETE FROM {self._table} WHERE id = :id RETURNING id", {"id": work.id})  # noqa: S608 # as above

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
            {**values_of(work), "lease": LEASE_SECONDS},
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

    async def claim(self, *, but: Collection[str] = ()) -> list[Work]:
        """Take up every operation that nobody holds any more, but those with these ids.

        One that nobody has held for an hour has failed: a deletion, say, is not to be carried out whenever somebody
        happens to look.

        Raises:
            UnavailableError: the database does not answer.
        """
        failure = {"reason": Reason.STEP_TIMED_OUT.name, "message": _INTERRUPTED, "retryable": True}
        await self._rows(
            f"""
            UPDATE {self._table}
            SET state = 'FAILED', finished_at = clock_timestamp(), failure = CAST(:failure AS jsonb)
            WHERE state IN ('PENDING', 'RUNNING')
              AND lease_ends_at < clock_timestamp() - make_interval(secs => :stale)
            RETURNING id
            """,  # noqa: S608 # as above
            {"failure": json.dumps(failure), "stale": STALE_SECONDS},
        )
        rows = await self._rows(
            f"""
            UPDATE {self._table}
            SET fence = fence + 1, lease_ends_at = clock_timestamp() + make_interval(secs => :lease)
            WHERE id IN (
                SELECT id FROM {self._table}
                WHERE state IN ('PENDING', 'RUNNING') AND lease_ends_at < clock_timestamp()
                  AND NOT id = ANY(CAST(:but AS uuid[]))
                FOR UPDATE SKIP LOCKED
            )
            RETURNING {_COLUMNS}
            """,  # noqa: S608 # as above
            {"lease": LEASE_SECONDS, "but": list(but)},
        )
        return works_of(rows)

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
        """The operation with this id; where there is no database, of memory alone.

        Raises:
            UnavailableError: the database does not answer.
        """
        if work := self._memory.get(id_):
            return work
        try:
            rows = await self._rows(f"SELECT {_COLUMNS} FROM {self._table} WHERE id = CAST(:id AS uuid)", {"id": id_})  # noqa: S608 # as above
        except DatabaseAbsentError:
            return None
        return next(iter(works_of(rows)), None)

    async def page(self, *, size: int, after: Work | None) -> list[Work]:
        """Operations, newest first; where there is no database, those of memory alone.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            rows = await self._rows(
                f"""
                SELECT {_COLUMNS} FROM {self._table}
                WHERE CAST(:id AS uuid) IS NULL OR (requested_at, id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
                ORDER BY requested_at DESC, id DESC LIMIT :size
                """,  # noqa: S608 # as above
                {"id": after and after.id, "at": after and after.requested_at, "size": size},
            )
        except DatabaseAbsentError:
            rows = ()
        remembered = [
            work
            for work in self._memory.values()
            if after is None or (work.requested_at, work.id) < (after.requested_at, after.id)
        ]
        found = {work.id: work for work in (*works_of(rows), *remembered)}
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
                if found := works_of([row]):
                    return found[0]
                raise UnavailableError(
                    Reason.DATABASE_UNAVAILABLE,
                    "Another version of the server is at work on the same. Wait for its end.",
                )
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
                    **values_of(work),
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
        if other is not None and other.id != work.id:
            return other
        if other is not None and other.fence > 1:
            raise LeaseLostError(work.id)
        # It is its own where the reply to an attempt before was lost.
        work.fence = 1
        return None

    async def _rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        async def run(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(sa.text(statement), dict(parameters))).all()

        rows: Sequence[Any] = await self._reached(run)
        return rows

    async def _reached(self, work: Callable[[AsyncConnection], Awaitable[Any]], **options: Any) -> Any:
        """What the work gives on a connection; our tables are made where they are missing."""
        try:
            await self._migrations.ensure()
            for last in (False, True):
                try:
                    async with self._pool.connect(**options) as connection, connection.begin():
                        return await work(connection)
                except DBAPIError as error:
                    if last or not (error.connection_invalidated or sqlstate(error) in _MISSING):
                        raise
                    if not error.connection_invalidated:
                        # The database that was migrated is gone, and another is in its place.
                        self._migrations.forget()
                        await self._migrations.ensure()
        except ApiError as error:
            if error.reason is Reason.CHANGES_UNAVAILABLE:
                # The server may not make its tables there: no operation will ever be kept in it.
                raise DatabaseAbsentError(error.message) from error
            raise
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
