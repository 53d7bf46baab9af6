"""Grants and indexes of a synced table, kept while a sync or a deletion replaces the table."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.db.database import DatabaseAbsentError

if TYPE_CHECKING:
    from server.lakebase.database.own_tables import OwnTables


@dataclass(frozen=True, slots=True)
class GrantsAndIndexes:
    """The statements that restore the grants and indexes of a table. PostgreSQL drops both with the table."""

    grants: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.grants) + len(self.indexes)

    def without(self, other: GrantsAndIndexes) -> GrantsAndIndexes:
        """These statements, except those that `other` has too."""
        return GrantsAndIndexes(
            tuple(one for one in self.grants if one not in other.grants),
            tuple(one for one in self.indexes if one not in other.indexes),
        )

    def union(self, other: GrantsAndIndexes) -> GrantsAndIndexes:
        """The statements of both, each once."""
        return GrantsAndIndexes(
            tuple(dict.fromkeys((*self.grants, *other.grants))), tuple(dict.fromkeys((*self.indexes, *other.indexes)))
        )


class GrantsAndIndexesStore:
    """The grants and indexes that are still to be restored, by the synced table's name.

    They are rows of `synced_table_belongings`. Without a database they are kept in this process's memory. In a copy of
    the database, the rows of the original are not restored: the copy may be meant for other readers. A row without a
    home is from before homes were recorded, and counts as this database's own: otherwise it would be lost.
    """

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables
        self._memory: dict[str, GrantsAndIndexes] = {}

    async def add(self, table: str, found: GrantsAndIndexes) -> None:
        """Keep the present grants and indexes of a table, besides those that were kept before and not restored yet.

        Raises:
            UnavailableError: the database does not answer.
        """
        await self.replace(table, (await self.get(table)).union(found))

    async def get(self, table: str) -> GrantsAndIndexes:
        """The grants and indexes of a table that were kept and not restored yet.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            rows = await self._tables.rows(
                f"SELECT grants, indexes FROM {self._tables.schema}.synced_table_belongings "  # noqa: S608 # the setting is an identifier, and quoted
                "WHERE name = :name AND COALESCE(home, :home) = :home",
                {"name": table.lower(), "home": await self._tables.home()},
            )
        except DatabaseAbsentError:
            return self._memory.get(table.lower(), GrantsAndIndexes())
        return GrantsAndIndexes(*(tuple(part) for part in rows[0])) if rows else GrantsAndIndexes()

    async def replace(self, table: str, left: GrantsAndIndexes) -> None:
        """Keep only these, which are left to restore.

        Raises:
            UnavailableError: the database does not answer.
        """
        self._memory[table.lower()] = left
        with contextlib.suppress(DatabaseAbsentError):
            await self._tables.rows(
                f"""
                INSERT INTO {self._tables.schema}.synced_table_belongings (name, grants, indexes, home)
                VALUES (:name, CAST(:grants AS jsonb), CAST(:indexes AS jsonb), :home)
                ON CONFLICT (name) DO UPDATE
                SET grants = excluded.grants, indexes = excluded.indexes, home = excluded.home,
                    noted_at = clock_timestamp()
                RETURNING name
                """,  # noqa: S608 # as above
                {
                    "name": table.lower(),
                    "grants": json.dumps(left.grants),
                    "indexes": json.dumps(left.indexes),
                    "home": await self._tables.home(),
                },
            )
