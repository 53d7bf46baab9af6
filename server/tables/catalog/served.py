"""The served tables of one database together, for statements that read several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import UnavailableError
from server.db.errors import TABLES_NAMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.tables.reading.read_connection import Lookup
    from server.tables.reading.readiness import Readiness
    from server.tables.source import Source


class Sources:
    """The sources of the served tables at one time. Compared by identity, so that caches can use it as a key cheaply.

    Args:
        found: by the name of the table: its source, or why there is none.
    """

    def __init__(self, found: Mapping[str, Source | UnavailableError]) -> None:
        self.found = found
        self._together: dict[str, Source] = {}

    def __getitem__(self, table: str) -> Source:
        """The source of the table with this name, beside the others. It is always the same object.

        Raises:
            UnavailableError: it cannot be read.
        """
        source = self._together.get(table)
        if source is None:
            found = self.found[table]
            if isinstance(found, UnavailableError):
                raise found
            source = self._together[table] = found.beside(self)
        return source


class ServedTables:
    """Looks up all served tables. A table that is missing does not keep the others from being read.

    Args:
        tables: the lookup of each table, by its name.
    """

    named = TABLES_NAMED

    def __init__(self, tables: Mapping[str, Lookup[Source]]) -> None:
        self._tables = tables
        self._sources = Sources({})

    @property
    def known(self) -> Sources | None:
        """The sources as last looked up; None if one has to be looked up."""
        found = {name: source for name, table in self._tables.items() if (source := table.known) is not None}
        return self._of(found) if len(found) == len(self._tables) else None

    async def resolve(self, connection: AsyncConnection) -> Sources:
        """The sources as they are known, or looked up on this connection."""
        found: dict[str, Source | UnavailableError] = {}
        for name, table in self._tables.items():
            try:
                found[name] = await table.resolve(connection)
            except UnavailableError as error:
                found[name] = error
        return self._of(found)

    def forget(self) -> None:
        """Look all of them up again next time."""
        for table in self._tables.values():
            table.forget()

    def _of(self, found: Mapping[str, Source | UnavailableError]) -> Sources:
        # As long as nothing has changed it is the same object, and so are the statements cached for it.
        if [*self._sources.found.values()] != [*found.values()]:
            self._sources = Sources(found)
        return self._sources


class TableBesideOthers:
    """Looks up one of the served tables, for statements whose conditions are about others too.

    Args:
        tables: the lookup of all of them.
        name: the name of the table.
    """

    def __init__(self, tables: ServedTables, name: str) -> None:
        # Its own conditions narrow what a statement reads.
        self.named = TABLES_NAMED._replace(name=name)
        self._tables = tables
        self._name = name

    @property
    def known(self) -> Source | None:
        """Its source as last looked up; None if any of the tables has to be looked up."""
        sources = self._tables.known
        return None if sources is None else sources[self._name]

    async def resolve(self, connection: AsyncConnection) -> Source:
        """Its source as it is known, or looked up on this connection.

        Raises:
            UnavailableError: it is not there.
        """
        return (await self._tables.resolve(connection))[self._name]

    def forget(self) -> None:
        """Look all of them up again next time."""
        self._tables.forget()


class TableHealth:
    """Whether a table beside the orders can be read, and if not, why. The orders' readiness does not depend on it.

    Args:
        readiness: whether orders can be served. It is told if the whole database fails.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self.reason: str | None = None

    def succeeded(self) -> None:
        """Note that a statement has succeeded."""
        self.reason = None
        self._readiness.used()

    def failed(self, error: UnavailableError, *, cause: Exception) -> None:
        """Note that a statement has failed."""
        if error.reason is TABLES_NAMED.reason:
            self.reason = f"{error.reason.name}: {error}"
        else:
            self._readiness.failed(error, cause=cause)
