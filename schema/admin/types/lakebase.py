"""What this server is configured to serve, as the schema shows it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time

import strawberry

from schema.admin.guard import WithDeadline
from schema.admin.types.instances import DatabaseInstance, instance_named
from schema.admin.types.tables import PRESENT, DatabaseCatalog, SyncedTable, synced_table_named
from schema.context import Info  # noqa: TC001 # as above


@strawberry.type(description="What the served database is a copy of. What the server does not know is null.")
class DatabaseCopy:
    """The original, as the database and the platform tell it."""

    instance_name: str | None = strawberry.field(description="The name of the original's instance.")
    branch: str | None = strawberry.field(description="The name of the original's branch, or of the snapshot.")
    database_name: str | None = strawberry.field(description="The name of the original database.")
    since: datetime | None = strawberry.field(
        description="The moment of the copy if the platform tells it, otherwise when a server first noticed."
    )
    message: str = strawberry.field(description="The same in words, and what to do if the copy takes its place.")


@strawberry.type(description="The instance, catalog and synced tables that this server is configured to serve.")
class Lakebase:
    """The configured names, and the objects with these names."""

    instance_name: str | None = strawberry.field(description="The name of the configured instance, if any.")
    catalog_name: str | None = strawberry.field(description="The name of the configured catalog, if any.")
    database_name: str | None = strawberry.field(description="The name of the configured database, if any.")
    table_name: str | None = strawberry.field(
        description="The name of the synced table of the orders, catalog.schema.table, if one is configured."
    )
    table_names: list[str] = strawberry.field(
        description="The names of the synced tables of all served tables, that of the orders first."
    )

    @strawberry.field(
        description=(
            "What the served database is a copy of, as far as the server knows; null if it is the original, or has "
            "become the default branch."
        ),
        extensions=[WithDeadline()],
    )
    async def copy_of(self, info: Info) -> DatabaseCopy | None:
        """Looked up in the database and on the platform."""
        found = await info.context.lakebase.copy_of()
        return None if found is None else DatabaseCopy(**asdict(found))

    @strawberry.field(description=f"The configured instance. {PRESENT}", extensions=[WithDeadline()])
    async def instance(self, info: Info) -> DatabaseInstance | None:
        """Makes one call to the platform."""
        return await instance_named(info, self.instance_name)

    @strawberry.field(description=f"The configured catalog. {PRESENT}", extensions=[WithDeadline()])
    async def catalog(self, info: Info) -> DatabaseCatalog | None:
        """Makes one call to the platform."""
        lakebase = info.context.lakebase
        found = None if self.catalog_name is None else await lakebase.catalog(self.catalog_name)
        return DatabaseCatalog.of(found) if found and lakebase.configured.is_place(found) else None

    @strawberry.field(description=f"The synced table of the orders. {PRESENT}", extensions=[WithDeadline()])
    async def synced_table(self, info: Info) -> SyncedTable | None:
        """Makes one call to the platform."""
        return await _served(info, self.table_name)

    @strawberry.field(
        description=(
            "The synced tables of all served tables, that of the orders first, side by side with `tableNames`: null "
            "for one that does not exist. Looked up only if selected."
        ),
        extensions=[WithDeadline()],
    )
    async def synced_tables(self, info: Info) -> list[SyncedTable | None] | None:
        """Makes one call to the platform for each table, all at once."""
        return list(await asyncio.gather(*(_served(info, name) for name in self.table_names)))


async def _served(info: Info, name: str | None) -> SyncedTable | None:
    """The synced table with this name, if it is in the served database."""
    found = await synced_table_named(info, name)
    return found if found and info.context.lakebase.configured.is_place(found.table) else None
