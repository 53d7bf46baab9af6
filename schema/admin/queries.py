"""The root fields that read the instances, catalogs, synced tables and operations behind the API."""

from __future__ import annotations

import functools
from typing import Annotated

import strawberry
from strawberry import UNSET

from schema.admin.audit import AdminAuditConnection, AdminAuditFilter
from schema.admin.forward_pages import After, First  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.admin.guard import RequiresAdmin
from schema.admin.operations import Operation, OperationConnection, operation_key_of, operation_with_key
from schema.admin.pages import audit_page, instance_page, operation_page
from schema.admin.requests.names import CATALOG, SYNCED_TABLE, checked_name, instance_rule
from schema.admin.types.instances import DatabaseInstance, DatabaseInstanceConnection, instance_named
from schema.admin.types.lakebase import Lakebase
from schema.admin.types.tables import DatabaseCatalog, SyncedTable, catalog_named, synced_table_named
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.relay.pagination import given

_administers = functools.partial(strawberry.field, extensions=(RequiresAdmin(),))


@strawberry.type
class AdminQueries:
    """The root fields for administrators. A field that fails is null; the others keep their data."""

    @_administers(description="The instance, catalog and synced tables that this server is configured to serve.")
    async def lakebase(self, info: Info) -> Lakebase | None:
        """Return the names. The objects themselves are looked up only if selected."""
        configured = info.context.lakebase.configured
        return Lakebase(
            instance_name=configured.instance_name,
            catalog_name=configured.catalog_name,
            database_name=configured.database_name,
            table_name=configured.table_name,
            table_names=list(configured.table_names),
        )

    @_administers(
        description=(
            "A page of the database instances that the server's own identity may see, in the platform's order. Paging "
            "is forward only, as the platform's is."
        )
    )
    async def database_instances(
        self, info: Info, first: First = UNSET, after: After = UNSET
    ) -> DatabaseInstanceConnection | None:
        """Makes one call to the platform if there are few instances, and none if nothing selected needs it."""
        return await instance_page(info, first=given(first), after=given(after))

    @_administers(
        description="The database instance with this name, also one that is deleted and not purged; null without one."
    )
    async def database_instance(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The name of the instance.")]
    ) -> DatabaseInstance | None:
        """Looked up on the platform."""
        rule = instance_rule(info.context.lakebase.configured.flavour)
        return await instance_named(info, checked_name(name, rule))

    @_administers(
        description=(
            "The catalog with this name, or null if there is none. Only catalogs that register a database are found. "
            "The platform offers no list of them."
        )
    )
    async def database_catalog(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The name of the catalog.")]
    ) -> DatabaseCatalog | None:
        """Looked up on the platform."""
        return await catalog_named(info, checked_name(name, CATALOG))

    @_administers(
        description="The synced table with this name, or null if there is none. The platform offers no list of them."
    )
    async def synced_table(
        self,
        info: Info,
        name: Annotated[str, strawberry.argument(description="The name of the table: catalog.schema.table.")],
    ) -> SyncedTable | None:
        """Looked up on the platform."""
        return await synced_table_named(info, checked_name(name, SYNCED_TABLE))

    @_administers(description="The operation with this id, or null if there is none.")
    async def operation(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The `id` of the operation.")],  # noqa: A002 # the argument's name in the schema
    ) -> Operation | None:
        """The state as this process or the database has it now."""
        return await operation_with_key(info, operation_key_of(id))

    @_administers(
        description="A page of the operations started through this API, newest first. Paging is forward only."
    )
    async def operations(self, info: Info, first: First = UNSET, after: After = UNSET) -> OperationConnection | None:
        """The states as this process or the database has them now."""
        return await operation_page(info, first=given(first), after=given(after))

    @_administers(
        description=(
            "A page of the audit of administration, newest first: who did what, with which input, and what became of "
            "it, refusals included. Paging is forward only."
        )
    )
    async def admin_audit(
        self,
        info: Info,
        filter: Annotated[  # noqa: A002 # the argument's name in the schema
            AdminAuditFilter | None, strawberry.argument(description="Which entries; all by default.")
        ] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
    ) -> AdminAuditConnection | None:
        """The entries of the database, and those that wait in memory while there is none."""
        wanted = (given(filter) or AdminAuditFilter()).wanted()
        return await audit_page(info, wanted, first=given(first), after=given(after))
