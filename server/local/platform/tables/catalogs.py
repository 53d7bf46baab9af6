"""Catalogs, each of which registers a database of a branch, and single registered tables, as REST resources."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.compute import sql
from server.local.platform.compute.lifecycle import available
from server.local.platform.projects.operations import CREATE, DELETE
from server.local.platform.rest.bodies import (
    CatalogBody,
    DatabaseTableBody,
    catalog_name,
    database_name,
    instance_name,
    table_parts,
)
from server.local.platform.rest.errors import absent, conflict, invalid, not_found
from server.local.platform.rest.values import branch_parts
from server.local.platform.state.tables import Catalog
from server.local.platform.state.times import now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.identities.credentials import Identity
    from server.local.platform.instances.instances import Instances
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.projects.operations import Operations
    from server.local.platform.rest import postgres_bodies
    from server.local.platform.state.projects import Branch, Project
    from server.local.platform.state.store import Store
    from server.local.platform.tables.unity import UnityCatalog


class Catalogs:
    """The catalogs. Deleting a catalog keeps its database."""

    def __init__(
        self,
        store: Store,
        lifecycle: Lifecycle,
        instances: Instances,
        lookup: Lookup,
        operations: Operations,
        unity: UnityCatalog,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._instances = instances
        self._lookup = lookup
        self._operations = operations
        self._unity = unity
        # One creation at a time: the name is checked first, and taken only after an await.
        self._creating = asyncio.Lock()

    async def create(self, body: CatalogBody, creator: Identity) -> dict[str, Any]:
        """Register a database. With `create_database_if_not_exists` it is created if it is missing."""
        name, database = catalog_name(body.name), database_name(body.database_name)
        self._unity.check_free(name)
        project, branch = self._instances.served(instance_name(body.database_instance_name))
        catalog = await self._register(
            name, project, branch, database, creator, create=bool(body.create_database_if_not_exists)
        )
        return _as_json(catalog)

    def begin_to_create(
        self, body: postgres_bodies.CatalogBody, query: Mapping[str, str], creator: Identity
    ) -> dict[str, Any]:
        """Begin to register a database of a branch. The operation fails if there is no such database."""
        if not query.get("catalog_id"):
            raise invalid("Field 'catalog_id' is required, expected non-default value (not \"\")!")
        name, database = catalog_name(query["catalog_id"]), database_name(body.spec.postgres_database)
        self._unity.check_free(name)
        project, branch = self._lookup.ready_branch(body.spec.branch, "spec.branch")

        async def work() -> dict[str, Any]:
            create = bool(body.spec.create_database_if_missing)
            return _as_resource(
                await self._register(name, project, branch, database, creator, create=create, only_one=True)
            )

        return self._operations.begin(f"catalogs/{name}", CREATE, work)

    def get(self, name: str) -> dict[str, Any]:
        """The DatabaseCatalog with this name."""
        return _as_json(self._find(name))

    def resource(self, name: str) -> dict[str, Any]:
        """The Catalog of the Postgres API with this name."""
        return _as_resource(self._find_resource(name))

    def delete(self, name: str) -> None:
        """Delete the registration. Refused while the catalog holds tables."""
        self._delete(self._find(name))

    def begin_to_delete(self, name: str) -> dict[str, Any]:
        """The same, as an operation."""
        catalog = self._find_resource(name)
        self._delete(catalog)

        async def work() -> None:
            pass

        return self._operations.begin(f"catalogs/{catalog.name}", DELETE, work)

    async def create_table(self, body: DatabaseTableBody) -> dict[str, Any]:
        """Register a table that exists in a database."""
        catalog, schema, table = table_parts(body.name)
        full_name = f"{catalog}.{schema}.{table}"
        registered = self._store.state.catalogs.get(catalog)
        if registered is None and not self._unity.is_standard(catalog):
            self._unity.catalog(catalog)
            raise invalid(f"name: catalog '{catalog}' does not accept tables.")
        instance = body.database_instance_name or (branch_parts(registered.branch, "")[0] if registered else "")
        project, branch = self._instances.served(instance)
        database = body.logical_database_name or (registered.database if registered else "")
        connection = await self._lifecycle.connect(project, branch, database_name(database))
        try:
            found = await connection.fetchval("SELECT to_regclass($1)", f"{sql.quoted(schema)}.{sql.quoted(table)}")
        finally:
            await connection.close()
        if found is None:
            raise not_found(f"Table '{schema}.{table}' does not exist in database '{database}'.")
        state = self._store.state
        self._unity.check_table_free(full_name)
        reply = {"name": full_name, "database_instance_name": project.id, "logical_database_name": database}
        state.database_tables[full_name] = reply
        self._store.save()
        return reply

    def get_table(self, name: str) -> dict[str, Any]:
        """The DatabaseTable with this name."""
        found = self._store.state.database_tables.get(name.lower())
        if found is None:
            raise not_found(f"Database table '{name}' not found.")
        return dict(found)

    def delete_table(self, name: str) -> None:
        """Delete the registration. The table itself stays."""
        self.get_table(name)
        del self._store.state.database_tables[name.lower()]
        self._store.save()

    async def _register(
        self,
        name: str,
        project: Project,
        branch: Branch,
        database: str,
        creator: Identity,
        *,
        create: bool,
        only_one: bool = False,
    ) -> Catalog:
        """Register a database. `only_one` refuses it if the database is registered, here or in what this is a copy of.

        Only the Postgres API documents that, so only there it is refused.
        """
        async with self._creating:
            self._unity.check_free(name)
            connection = await self._lifecycle.connect(project, branch)
            try:
                if create:
                    await sql.make_database(connection, database)
                oid = await sql.database_oid(connection, database)
            finally:
                await connection.close()
            if oid is None:
                raise not_found(f"Database '{database}' does not exist in instance '{project.id}'.")
            # The branch may have been deleted meanwhile.
            if self._lookup.branch(project.id, branch.id)[1] is not branch:
                raise absent("branch")
            available(project, branch)
            if only_one and (other := self._registered(project, branch, database, oid)):
                raise conflict(f"Database '{database}' is registered with the catalog '{other}': delete that first.")
            catalog = Catalog(
                name=name,
                uid=str(uuid.uuid4()),
                create_time=now(),
                branch=project.branch_name(branch),
                database=database,
                oid=oid,
                creator=creator.name,
            )
            self._store.state.catalogs[name] = catalog
            self._store.save()
            return catalog

    def _registered(self, project: Project, branch: Branch, database: str, oid: int) -> str | None:
        """The catalog of a database, or of the one that it is a copy of: that has the same name and the same oid."""
        lineage = {project.branch_name(branch)}
        while branch.source is not None and (
            original := next((one for one in project.branches.values() if one.uid == branch.source.uid), None)
        ):
            branch = original
            lineage.add(project.branch_name(branch))
        for catalog in self._store.state.catalogs.values():
            if catalog.branch in lineage and (catalog.database, catalog.oid) == (database, oid):
                return catalog.name
        return None

    def _delete(self, catalog: Catalog) -> None:
        state = self._store.state
        for table in (*state.synced_tables, *state.database_tables):
            if table.startswith(f"{catalog.name}."):
                raise conflict(f"Catalog '{catalog.name}' still holds the table '{table}': delete that first.")
        del state.catalogs[catalog.name]
        self._store.save()

    def _find(self, name: str) -> Catalog:
        catalog = self._store.state.catalogs.get(name.lower())
        if catalog is None:
            raise not_found(f"Database catalog '{name}' not found.")
        return catalog

    def _find_resource(self, name: str) -> Catalog:
        catalog = self._store.state.catalogs.get(name.lower())
        if catalog is None:
            raise absent("catalog")
        return catalog


def _as_json(catalog: Catalog) -> dict[str, Any]:
    # The platform does not return create_database_if_not_exists, which is input only.
    return {
        "name": catalog.name,
        "uid": catalog.uid,
        "database_instance_name": branch_parts(catalog.branch, "")[0],
        "database_name": catalog.database,
    }


def _as_resource(catalog: Catalog) -> dict[str, Any]:
    return {
        "name": f"catalogs/{catalog.name}",
        "catalog_id": catalog.name,
        "uid": catalog.uid,
        "create_time": catalog.create_time,
        "update_time": catalog.create_time,
        "status": {
            "branch": catalog.branch,
            "postgres_database": catalog.database,
            "project": catalog.branch.partition("/branches/")[0],
        },
    }
