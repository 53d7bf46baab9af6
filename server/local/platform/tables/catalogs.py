"""Catalogs, each of which registers a database of an instance, and single registered tables, as REST resources."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.instances import sql
from server.local.platform.rest.bodies import (
    CatalogBody,
    DatabaseTableBody,
    catalog_name,
    database_name,
    instance_name,
    table_parts,
)
from server.local.platform.rest.errors import conflict, invalid, not_found
from server.local.platform.state import Catalog

if TYPE_CHECKING:
    from server.local.platform.identities.credentials import Identity
    from server.local.platform.instances.instances import Instances
    from server.local.platform.instances.lifecycle import Lifecycle
    from server.local.platform.state import Store
    from server.local.platform.tables.unity import UnityCatalog


class Catalogs:
    """The catalogs. Deleting a catalog keeps its database."""

    def __init__(self, store: Store, lifecycle: Lifecycle, instances: Instances, unity: UnityCatalog) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._instances = instances
        self._unity = unity
        # One creation at a time: the name is checked first, and taken only after an await.
        self._creating = asyncio.Lock()

    async def create(self, body: CatalogBody, creator: Identity) -> dict[str, Any]:
        """Register a database. With `create_database_if_not_exists` it is created if it is missing."""
        name, database = catalog_name(body.name), database_name(body.database_name)
        async with self._creating:
            self._unity.check_free(name)
            instance = self._instances.find(instance_name(body.database_instance_name))
            connection = await self._lifecycle.connect(instance)
            try:
                if body.create_database_if_not_exists:
                    await sql.make_database(connection, database)
                elif not await sql.database_exists(connection, database):
                    raise not_found(f"Database '{database}' does not exist in instance '{instance.name}'.")
            finally:
                await connection.close()
            # The instance may have been deleted meanwhile.
            if self._instances.find(instance.name).uid != instance.uid or instance.state != "AVAILABLE":
                raise conflict(f"Database instance '{instance.name}' is {instance.state}.")
            catalog = Catalog(
                name=name, uid=str(uuid.uuid4()), instance=instance.name, database=database, creator=creator.name
            )
            self._store.state.catalogs[name] = catalog
            self._store.save()
        return _as_json(catalog)

    def get(self, name: str) -> dict[str, Any]:
        """The DatabaseCatalog with this name."""
        return _as_json(self._find(name))

    def delete(self, name: str) -> None:
        """Delete the registration. Refused while the catalog holds tables."""
        catalog = self._find(name)
        state = self._store.state
        for table in (*state.synced_tables, *state.database_tables):
            if table.startswith(f"{catalog.name}."):
                raise conflict(f"Catalog '{name}' still holds the table '{table}': delete that first.")
        del state.catalogs[catalog.name]
        self._store.save()

    async def create_table(self, body: DatabaseTableBody) -> dict[str, Any]:
        """Register a table that exists in a database."""
        catalog, schema, table = table_parts(body.name)
        full_name = f"{catalog}.{schema}.{table}"
        registered = self._store.state.catalogs.get(catalog)
        if registered is None and not self._unity.is_standard(catalog):
            self._unity.catalog(catalog)
            raise invalid(f"name: catalog '{catalog}' does not accept tables.")
        instance = self._instances.find(body.database_instance_name or (registered.instance if registered else ""))
        database = body.logical_database_name or (registered.database if registered else "")
        connection = await self._lifecycle.connect(instance, database_name(database))
        try:
            found = await connection.fetchval("SELECT to_regclass($1)", f"{sql.quoted(schema)}.{sql.quoted(table)}")
        finally:
            await connection.close()
        if found is None:
            raise not_found(f"Table '{schema}.{table}' does not exist in database '{database}'.")
        state = self._store.state
        self._unity.check_table_free(full_name)
        reply = {"name": full_name, "database_instance_name": instance.name, "logical_database_name": database}
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

    def _find(self, name: str) -> Catalog:
        catalog = self._store.state.catalogs.get(name.lower())
        if catalog is None:
            raise not_found(f"Database catalog '{name}' not found.")
        return catalog


def _as_json(catalog: Catalog) -> dict[str, Any]:
    # The platform does not return create_database_if_not_exists, which is input only.
    return {
        "name": catalog.name,
        "uid": catalog.uid,
        "database_instance_name": catalog.instance,
        "database_name": catalog.database,
    }
