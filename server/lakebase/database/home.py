"""The home of a row: the identity of the database that it was written in. A copy of the database is another home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from server.db.app_tables import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.db.database import Database

# A restored dump has other oids, even in the same database.
_OIDS: Final = """
SELECT d.oid, to_regclass(:table)::oid, has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
FROM pg_catalog.pg_database d WHERE d.datname = current_database()
"""
# PostgreSQL checks the privilege even where the function would not be called, so this is a statement of its own.
_SYSTEM: Final = "SELECT system_identifier FROM pg_catalog.pg_control_system()"


_NO_TABLE: Final = "none"


class _Rows(Protocol):
    async def __call__(self, statement: str, parameters: Mapping[str, Any], /) -> Sequence[Any]: ...


class Home:
    """Reads the home of the served database.

    It has two halves. A copy of the files, such as a branch, a point-in-time child or a base backup, shares everything
    that PostgreSQL itself shows. The database's origin differs there: the platform's uid, or the address in the URL. A
    restored dump may share the origin, and has other oids. A restart, a failover or a new token changes neither half.
    """

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._table = f"{quoted(schema)}.operation"

    async def read(self, rows: _Rows) -> str:
        """The home of the database that `rows` runs statements in.

        Raises:
            DatabaseAbsentError: there is no database.
            UnavailableError: the database or the platform does not answer.
        """
        while True:
            origin = await self._database.origin()
            ((database, table, readable),) = await rows(_OIDS, {"table": self._table})
            system = (await rows(_SYSTEM, {}))[0][0] if readable else "-"
            # A statement may have waited until another database had the name.
            if await self._database.origin() == origin:
                return f"{origin}/{system}/{database}/{table or _NO_TABLE}"


def lacks_tables(home: str) -> bool:
    """Whether the home was read before the server's tables were created, which are a part of it."""
    return home.endswith(f"/{_NO_TABLE}")
