"""The lineage of the served database: what it is a copy of, and the epoch of its history of changes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from contextvars import Context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from schema.deadline import SharedDeadline, follow
from schema.errors import ApiError
from schema.ports.admin.administration import CopyOf
from server.observability.log_setup import silence_failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.database import Database, Provenance
    from server.lakebase.database.home import Home
    from server.lakebase.database.own_tables import OwnTables

NO_COPY: Final = "no"
NOT_LOOKED_UP: Final = "not looked up yet"
NOT_KNOWN: Final = "not known"
# Six bytes are exact in JavaScript's numbers too.
_EPOCH_BYTES: Final = 6
# If the platform does not tell which database this is, or the home cannot be written, this is tried again later.
_AGAIN_SECONDS: Final = 30.0
_ACCEPT: Final = (
    "If it has taken the place of the original for good, make its branch the default one with "
    "updateDatabaseBranch(default: true); for a dump, or another address in DATABASE_URL, delete the older rows of "
    "{schema}.lineage."
)
_REFUSED: Final = (
    "Nothing that was begun in the original is carried out here, and cursors of the original are refused. "
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table: a home of the history, where it was, and the epoch of the cursors that were issued there."""

    home: str
    instance: str | None
    branch: str | None
    database: str | None
    epoch: int
    since: datetime | None

    @property
    def files(self) -> str:
        """The half of the home that a copy of the files shares."""
        return "/".join(self.home.split("/")[-3:])


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known for one origin: the own row, the rows before it, and whether all are in the table."""

    origin: str
    own: _Row
    earlier: tuple[_Row, ...]
    recorded: bool
    copy: CopyOf | None


class Lineage:
    """Finds out whether the served database is a copy, and records its home in it.

    The history of changes has an epoch, which is part of its cursors. In the original it is 0. In a copy it is computed
    from the home of the copy, so all processes have the same one, even if none of them may write it down.

    A home that is not in the table is a copy's if another home is, or if the platform names the source of the branch.
    A root branch whose files have not changed is the original under another name, and keeps its epoch.
    """

    def __init__(self, database: Database, tables: OwnTables, home: Home) -> None:
        self._database = database
        self._tables = tables
        self._home = home
        self._found: _Found | None = None
        self._looking: asyncio.Task[_Found] | None = None
        # The epoch until the platform is asked again.
        self._assumed = (0, 0.0)
        self._record_after = 0.0
        self._deadline = SharedDeadline()
        # For /readyz, which opens no connection.
        self.state = NOT_LOOKED_UP

    async def epoch(self) -> int:
        """The epoch of the history. If the platform does not tell which database this is, the last one that is known.

        Raises:
            UnavailableError: the database does not answer.
        """
        assumed, until = self._assumed
        if time.monotonic() < until:
            return assumed
        known = self._found
        try:
            # This asks the platform only if the address was looked up again.
            if known is not None and known.origin == await self._origin():
                return known.own.epoch
            return (await self._look()).own.epoch
        except _UnknownOriginError:
            rows = [known.own] if known else await self._rows()
            self._assumed = (rows[-1].epoch if rows else 0, time.monotonic() + _AGAIN_SECONDS)
            return self._assumed[0]

    async def _origin(self) -> str:
        try:
            return await self._database.origin()
        except ApiError as error:
            self.state = f"{NOT_KNOWN}: {error.message}"
            raise _UnknownOriginError from error

    async def copy_of(self) -> CopyOf | None:
        """What the database is a copy of, looked up now. If the database does not answer, as the platform knows it."""
        self.forget()
        try:
            return (await self._look()).copy
        except _UnknownOriginError:
            return None
        except ApiError:
            return self._copy((), None, await self._database.provenance())

    async def record(self) -> None:
        """Write the home into the table, if it is not there and the server may. Costs nothing once that is done."""
        with contextlib.suppress(ApiError, _UnknownOriginError):
            if (self._found is not None and self._found.recorded) or time.monotonic() < self._record_after:
                return
            self._record_after = time.monotonic() + _AGAIN_SECONDS
            # This creates the tables, which are a part of the home.
            with contextlib.suppress(ApiError):
                await self._tables.home()
            self._looking = None
            found = await self._look()
            if not found.recorded:
                await self._tables.run(lambda connection: self._insert(connection, found), transaction=True)
                self._looking = None
                await self._look()

    def forget(self) -> None:
        """Look again next time: the tables are new, or an operation may have changed the branch."""
        self._found, self._looking, self._assumed, self._record_after = None, None, (0, 0.0), 0.0

    async def _look(self) -> _Found:
        if self._looking is None or self._looking.done():
            self._deadline = SharedDeadline()
            self._looking = asyncio.create_task(self._find(self._deadline), name="lineage", context=Context())
            self._looking.add_done_callback(silence_failure)
        self._deadline.join()
        return await asyncio.shield(self._looking)

    async def _find(self, deadline: SharedDeadline) -> _Found:
        # A wake-up of the database extends the deadline of every request that waits for this.
        follow((deadline,))
        origin = await self._origin()
        try:
            provenance = await self._database.provenance()
        except ApiError as error:
            self.state = f"{NOT_KNOWN}: {error.message}"
            raise _UnknownOriginError from error
        home = await self._home.read(self._tables.found)
        rows = await self._rows()
        at = next((index for index, row in enumerate(rows) if row.home == home), None)
        if at is not None:
            own, earlier = rows[at], tuple(rows[:at])
        else:
            earlier = tuple(rows) or await self._evidence(home)
            own = await self._new(home, earlier, provenance)
        copy = self._copy(earlier, own, provenance)
        found = _Found(origin, own, earlier, at is not None, copy)
        self.state = copy.message if copy else NO_COPY
        if self._looking is asyncio.current_task():
            # Otherwise it was to be forgotten meanwhile.
            self._found = found
        return found

    async def _rows(self) -> list[_Row]:
        columns = "home, instance, branch, database, epoch, since"
        statement = f"SELECT {columns} FROM {self._tables.schema}.lineage ORDER BY number, since"  # noqa: S608 # the setting is an identifier, and quoted
        return [_Row(*row) for row in await self._tables.found(statement, {})]

    async def _evidence(self, home: str) -> tuple[_Row, ...]:
        """The home in which the newest entry of the audit was written, if it is another: the table is younger."""
        newest = "WHERE home IS NOT NULL ORDER BY at DESC, id DESC LIMIT 1"
        statement = f"SELECT home, at FROM {self._tables.schema}.admin_audit {newest}"  # noqa: S608 # as above
        rows = await self._tables.found(statement, {})
        return tuple(_Row(row[0], None, None, None, 0, row[1]) for row in rows if row[0] != home)

    async def _new(self, home: str, earlier: tuple[_Row, ...], provenance: Provenance) -> _Row:
        ((database,),) = await self._tables.found("SELECT current_database()", {})
        row = _Row(home, provenance.instance, provenance.branch, database, 0, None)
        last = earlier[-1] if earlier else None
        if last is None or last.files == row.files:
            # The platform does not know when a dump was made.
            row = replace(row, since=provenance.moment)
            if last is not None and provenance.is_root:
                return replace(row, epoch=last.epoch)
        if last is None and provenance.source is None:
            return row
        digest = hashlib.sha256(home.encode()).digest()[:_EPOCH_BYTES]
        return replace(row, epoch=int.from_bytes(digest) or 1)

    def _copy(self, earlier: tuple[_Row, ...], own: _Row | None, provenance: Provenance) -> CopyOf | None:
        """What the database is a copy of: of an earlier home, or of what the platform says."""
        excused = provenance.is_root or provenance.is_main
        later = own
        for row in reversed(earlier):
            if later is not None and (row.files != later.files or not excused):
                if row.files == later.files and provenance.source:
                    break
                return self._said(row.instance, row.branch, row.database, later.since, row.home)
            later = row
        if provenance.source and not excused:
            branch = provenance.source if provenance.branch else None
            instance = provenance.instance if provenance.branch else provenance.source
            return self._said(instance, branch, own.database if own else None, provenance.moment, None)
        return None

    def _said(
        self, instance: str | None, branch: str | None, database: str | None, since: datetime | None, home: str | None
    ) -> CopyOf:
        place = ", ".join(
            f"{kind} {name}"
            for kind, name in (("instance", instance), ("branch", branch), ("database", database))
            if name
        )
        if home and not instance:
            address = home.rsplit("/", 3)[0]
            place = f"the database {database or ''} at {address}".replace("  ", " ")
        moment = f" since {since:%Y-%m-%d %H:%M} UTC" if since else ""
        message = f"The database is a copy of {place}{moment}. {_REFUSED}"
        return CopyOf(instance, branch, database, since, message + _ACCEPT.format(schema=self._tables.schema))

    async def _insert(self, connection: AsyncConnection, found: _Found) -> None:
        async def rows(statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
            return (await connection.execute(sa.text(statement), dict(values))).all()

        if await self._home.read(rows) != found.own.home:
            # Another database has the name meanwhile. It is looked up when it is used.
            return
        for row in (*found.earlier, found.own):
            await connection.execute(
                sa.text(
                    f"""
                    INSERT INTO {self._tables.schema}.lineage (home, number, instance, branch, database, epoch, since)
                    SELECT :home, COALESCE(max(number), 0) + 1, :instance, :branch, :database, :epoch,
                           COALESCE(:since, clock_timestamp())
                    FROM {self._tables.schema}.lineage
                    ON CONFLICT (home) DO NOTHING
                    """  # noqa: S608 # as above
                ),
                {name: getattr(row, name) for name in ("home", "instance", "branch", "database", "epoch", "since")},
            )


class _UnknownOriginError(Exception):
    """The platform does not tell which database this is."""
