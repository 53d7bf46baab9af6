"""What this server has asked the platform for, kept in a table, because the Postgres API's reads do not tell it."""

from __future__ import annotations

import asyncio
import copy
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schema.errors import ForbiddenError, PlatformError, Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from server.lakebase.database.own_tables import OwnTables

# How long a read of the platform waits for this table: the database may be asleep, or not there at all.
_SECONDS: Final = 3.0
# A synced table that the platform created so long before or after the request is another client's. The two clocks may
# differ, and the platform takes a moment.
_NEAR: Final = timedelta(minutes=5)
# The kinds of rows: the spec of the synced table with this uid, and a spec that was requested, of a table not seen yet.
_TABLE: Final = "synced table"
_REQUEST: Final = "request of synced table"


@dataclass(frozen=True, slots=True)
class _Note:
    """A spec, when it was requested, and the uid of the synced table that it is of; None of a request."""

    uid: str | None
    spec: Mapping[str, Any]
    at: datetime


class AskedForStore:
    """The specs of synced tables as this server requested them: an `AskedFor` of the platform.

    They are rows of `asked_for`. Without a database, as while it is being provisioned, they wait in this process's
    memory. In a copy of the database the rows of the original count as not known. So do those of a table that was
    deleted and created anew by another client, because they name its uid.
    """

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables
        # By kind and name of the table. None deletes the row.
        self._known: dict[tuple[str, str], _Note | None] = {}
        self._unwritten: set[tuple[str, str]] = set()
        self._runs_statements = True

    def in_memory(self) -> AskedForStore:
        """The same store, which runs no statement: it knows what this process has requested or read before."""
        same = copy.copy(self)
        same._runs_statements = False  # noqa: SLF001 # the copy is of this class
        return same

    async def load(self, tables: Iterable[str]) -> None:
        """Read into memory what is stored of these synced tables, as far as it is not there."""
        missing = [table.lower() for table in tables if (_TABLE, table.lower()) not in self._known]
        if missing:
            found = await self._read(missing)
            self._known |= {place: note for place, note in found.items() if place not in self._known}

    @asynccontextmanager
    async def asking(self, table: str, spec: Mapping[str, Any]) -> AsyncIterator[None]:
        """Remember this spec while it is requested, and afterwards unless the platform refuses it."""
        # An earlier request whose answer was lost may be why the platform refuses this one.
        before = self._known.get((_REQUEST, table)) or (await self._read([table])).get((_REQUEST, table))
        request = _Note(None, spec, datetime.now(UTC))
        await self._replace_request(table, request)
        try:
            yield
        except (ForbiddenError, PlatformError):
            known = self._known.get((_TABLE, table)) or (await self._read([table])).get((_TABLE, table))
            if known and known.at == request.at:
                # The table of another client was seen before the platform has refused this request.
                self._note(_TABLE, table, None)
            await self._replace_request(table, before)
            raise

    async def forget(self, table: str) -> None:
        """Forget what was requested, which the platform has refused, unless the table was seen."""
        await self._replace_request(table, None)

    async def of(self, table: str, uid: str | None, created_at: datetime | None) -> Mapping[str, Any] | None:
        """The spec of the synced table with this uid and time of creation; None if it is not known."""
        await self._write()
        if (known := self._known.get((_TABLE, table))) and known.uid == uid:
            return known.spec
        found = await self._read([table])
        if (known := found.get((_TABLE, table))) and known.uid == uid:
            self._known[_TABLE, table] = known
            return known.spec
        created_at = created_at or datetime.now(UTC)
        requests = (self._known.get((_REQUEST, table)), found.get((_REQUEST, table)))
        request = next((one for one in requests if one and abs(created_at - one.at) <= _NEAR), None)
        if request and uid:
            self._note(_TABLE, table, _Note(uid, request.spec, request.at))
            await self._replace_request(table, None)
        return request.spec if request else None

    async def _replace_request(self, table: str, note: _Note | None) -> None:
        self._note(_REQUEST, table, note)
        await self._write()

    def _note(self, kind: str, table: str, note: _Note | None) -> None:
        self._known[kind, table] = note
        self._unwritten.add((kind, table))

    async def _read(self, tables: Sequence[str]) -> dict[tuple[str, str], _Note]:
        try:
            rows = await self._rows(
                """
                SELECT kind, name, uid, spec, noted_at FROM {schema}.asked_for
                WHERE name = ANY(CAST(:names AS text[])) AND home = :home
                """,
                {"names": tables},
            )
        except (UnavailableError, TimeoutError):
            return {}
        return {(kind, name): _Note(uid, spec, at) for kind, name, uid, spec, at in rows}

    async def _write(self) -> None:
        """Write what waits in memory, if the database answers. What is requested does not depend on it."""
        for kind, table in tuple(self._unwritten):
            note = self._known[kind, table]
            try:
                await (self._delete(kind, table) if note is None else self._save(kind, table, note))
            except (UnavailableError, TimeoutError):
                return
            if self._known[kind, table] == note:
                self._unwritten.discard((kind, table))

    async def _save(self, kind: str, table: str, note: _Note) -> None:
        """Write a row, unless another process has written a later one."""
        await self._rows(
            """
            INSERT INTO {schema}.asked_for AS present (kind, name, uid, spec, home, noted_at)
            VALUES (:kind, :name, :uid, CAST(:spec AS jsonb), :home, :at)
            ON CONFLICT (kind, name) DO UPDATE
            SET uid = excluded.uid, spec = excluded.spec, home = excluded.home, noted_at = excluded.noted_at
            WHERE present.home <> excluded.home OR present.noted_at <= excluded.noted_at
            RETURNING name
            """,
            {"kind": kind, "name": table, "uid": note.uid, "spec": json.dumps(note.spec), "at": note.at},
        )

    async def _delete(self, kind: str, table: str) -> None:
        await self._rows(
            "DELETE FROM {schema}.asked_for WHERE kind = :kind AND name = :name AND home = :home RETURNING name",
            {"kind": kind, "name": table},
        )

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> Any:
        if not self._runs_statements:
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, "The database is left alone.")
        async with asyncio.timeout(_SECONDS):
            return await self._tables.rows(
                statement.format(schema=self._tables.schema), {**values, "home": await self._tables.home()}
            )
