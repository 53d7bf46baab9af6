"""Owns the admin root fields that read: what stands behind the API, and the work on it."""

from __future__ import annotations

import functools
from typing import Annotated

import strawberry
from strawberry import UNSET

from schema.admin.guard import Administers
from schema.admin.names import CATALOG, INSTANCE, SYNCED_TABLE, checked_name
from schema.admin.operations import Operation, OperationConnection, operation_key_of, operation_with_key
from schema.admin.pages import instance_page, operation_page
from schema.admin.types import (
    DatabaseCatalog,
    DatabaseInstance,
    DatabaseInstanceConnection,
    Lakebase,
    SyncedTable,
    catalog_named,
    instance_named,
    synced_table_named,
)
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.relay.pagination import given

_First = Annotated[
    int | None, strawberry.argument(description="How many to take after `after`: 50 where absent, from 0 to 100.")
]
_After = Annotated[str | None, strawberry.argument(description="The cursor to start after: `pageInfo.endCursor`, say.")]
_administers = functools.partial(strawberry.field, extensions=(Administers(),))


@strawberry.type
class AdminQueries:
    """The root fields of administrators. A field that fails is null and leaves the others alone."""

    @_administers(description="What this server is set to serve: its instance, catalog and synced table at a glance.")
    async def lakebase(self, info: Info) -> Lakebase | None:
        """The names alone; what has them is looked up where it is selected."""
        configured = info.context.lakebase.configured
        return Lakebase(
            instance_name=configured.instance_name,
            catalog_name=configured.catalog_name,
            database_name=configured.database_name,
            table_name=configured.table_name,
        )

    @_administers(
        description=(
            "The database instances that the server's own identity may see, page by page, in the platform's order. "
            "The platform pages forward only."
        )
    )
    async def database_instances(
        self, info: Info, first: _First = UNSET, after: _After = UNSET
    ) -> DatabaseInstanceConnection | None:
        """One page of the platform where they are few."""
        return await instance_page(info.context.lakebase, first=given(first), after=given(after))

    @_administers(description="The database instance with this name, or null where there is none.")
    async def database_instance(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The instance's name.")]
    ) -> DatabaseInstance | None:
        """The platform is asked."""
        return await instance_named(info, checked_name(name, INSTANCE))

    @_administers(
        description=(
            "The catalog of a database with this name, or null where there is none. Other catalogs are not found, and "
            "the platform offers no list."
        )
    )
    async def database_catalog(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The catalog's name.")]
    ) -> DatabaseCatalog | None:
        """The platform is asked."""
        return await catalog_named(info, checked_name(name, CATALOG))

    @_administers(
        description="The synced table with this name, or null where there is none. The platform offers no list."
    )
    async def synced_table(
        self,
        info: Info,
        name: Annotated[str, strawberry.argument(description="The table's name: catalog.schema.table.")],
    ) -> SyncedTable | None:
        """The platform is asked."""
        return await synced_table_named(info, checked_name(name, SYNCED_TABLE))

    @_administers(description="The operation with this id, or null where there is none.")
    async def operation(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The operation's `id`.")],  # noqa: A002 # the argument's name in the schema
    ) -> Operation | None:
        """As it is now."""
        return await operation_with_key(info, operation_key_of(id))

    @_administers(description="The operations that were begun here, newest first, page by page. It goes forward only.")
    async def operations(self, info: Info, first: _First = UNSET, after: _After = UNSET) -> OperationConnection | None:
        """As they are now."""
        return await operation_page(info.context.lakebase, first=given(first), after=given(after))
