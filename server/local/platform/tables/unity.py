"""Unity Catalog: the catalogs, their schemas, and descriptions of tables."""

from __future__ import annotations

import fnmatch
import uuid
from typing import TYPE_CHECKING, Any

from server.local.platform.rest.bodies import table_parts
from server.local.platform.rest.errors import PlatformError, exists, invalid
from server.local.platform.tables.sources import SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.state.store import Store
    from server.local.platform.state.tables import SyncedTable

# The catalogs of a workspace that register no database, with their schemas. Callers can create tables in the first
# ones, and not in the others.
_STANDARD = {"main": ["default", "lakebase_meta"], "sandbox": ["default"]}
_SHARED = {"samples": ["tpch"], "system": ["information_schema"]}
_SAMPLES_OWNER = "System user"


class UnityCatalog:
    """Read-only views of the standard catalogs, the catalogs of databases, the source tables and the synced tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def is_standard(self, catalog: str) -> bool:
        """Whether callers can create tables in the catalog, and it registers no database."""
        return catalog in _STANDARD

    def check_free(self, catalog: str) -> None:
        """Raise ALREADY_EXISTS if the name of a catalog is taken."""
        if catalog.lower() in {*_STANDARD, *_SHARED, *self._store.state.catalogs}:
            raise exists(f"Catalog '{catalog}' already exists.")

    def check_table_free(self, full_name: str) -> None:
        """Raise ALREADY_EXISTS if the name of a table is taken."""
        if full_name.lower() in self._tables():
            raise exists(f"Table '{full_name}' already exists.")

    def check_storage(self, catalog: str | None, schema: str | None) -> None:
        """Raise a PlatformError if a pipeline cannot keep its files in this catalog and schema."""
        if not catalog or not schema:
            raise invalid("new_pipeline_spec: storage_catalog and storage_schema are required.")
        catalog = catalog.lower()
        if catalog in self._store.state.catalogs:
            raise invalid(f"new_pipeline_spec: storage_catalog '{catalog}' must be a standard catalog.")
        if catalog in _SHARED:
            raise PlatformError(403, "PERMISSION_DENIED", f"User does not have CREATE TABLE on Catalog '{catalog}'.")
        self.schema(f"{catalog}.{schema}")

    def all(self) -> list[dict[str, Any]]:
        """The CatalogInfo of every catalog, ordered by name."""
        return [self.catalog(name) for name in sorted((*_STANDARD, *_SHARED, *self._store.state.catalogs))]

    def catalog(self, name: str) -> dict[str, Any]:
        """The CatalogInfo of a catalog."""
        name = name.lower()
        registered = self._store.state.catalogs.get(name)
        if registered is None and name not in (*_STANDARD, *_SHARED):
            raise PlatformError(404, "CATALOG_DOES_NOT_EXIST", f"Catalog '{name}' does not exist.")
        return {
            "name": name,
            "full_name": name,
            "securable_type": "CATALOG",
            "owner": registered.creator if registered else _SAMPLES_OWNER,
            "catalog_type": "SYSTEM_CATALOG" if name in _SHARED else "MANAGED_CATALOG",
        }

    def schema(self, full_name: str) -> dict[str, Any]:
        """The SchemaInfo of a schema. A database's catalog has `public` and the schemas of its tables."""
        full_name = full_name.lower()
        catalog, _, schema = full_name.partition(".")
        info, registered = self.catalog(catalog), self._store.state.catalogs.get(catalog)
        known = {*_STANDARD.get(catalog, []), *_SHARED.get(catalog, [])}
        if registered:
            known |= {"public", *(name.split(".")[1] for name in self._tables() if name.startswith(f"{catalog}."))}
        if schema not in known:
            raise PlatformError(404, "SCHEMA_DOES_NOT_EXIST", f"Schema '{full_name}' does not exist.")
        return {
            "name": schema,
            "catalog_name": catalog,
            "full_name": full_name,
            # Another catalog of this name has other schemas.
            "schema_id": _stable_id(full_name + (registered.uid if registered else "")),
            "owner": info["owner"],
        }

    def table(self, full_name: str) -> dict[str, Any]:
        """The TableInfo, with columns, of a source table or a synced table; without them of a registered table.

        Raises:
            PlatformError: TABLE_DOES_NOT_EXIST, or the same for its catalog or schema.
        """
        catalog, schema, name = table_parts(full_name)
        full_name = f"{catalog}.{schema}.{name}"
        table = self._store.state.synced_tables.get(full_name)
        known = {"name": name, "catalog_name": catalog, "schema_name": schema, "full_name": full_name}
        if table is not None:
            return known | _synced_info(table)
        if full_name in SOURCES:
            return known | {
                "table_id": _stable_id(full_name),
                "table_type": "MANAGED",
                "data_source_format": "DELTA",
                "owner": _SAMPLES_OWNER,
                "columns": SOURCES[full_name].catalog_columns(required=[]),
                # No delta.enableChangeDataFeed: the tables of `samples` have no change data feed.
                "properties": {"delta.minReaderVersion": "1"},
            }
        if full_name in self._store.state.database_tables:
            return known | {"table_id": _stable_id(full_name), "table_type": "FOREIGN"}
        self.schema(f"{catalog}.{schema}")
        raise PlatformError(404, "TABLE_DOES_NOT_EXIST", f"Table '{full_name}' does not exist.")

    def summaries(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """A TableSummary for each table of a catalog whose schema and name match the LIKE patterns, ordered by name."""
        catalog = query.get("catalog_name", "").lower()
        if not catalog:
            raise invalid("catalog_name is required.")
        self.catalog(catalog)
        found = []
        for full_name in sorted(self._tables()):
            table_catalog, schema, name = full_name.split(".")
            if (
                table_catalog == catalog
                and _like(schema, query.get("schema_name_pattern"))
                and _like(name, query.get("table_name_pattern"))
            ):
                found.append({"full_name": full_name, "table_type": "MANAGED" if full_name in SOURCES else "FOREIGN"})
        return found

    def _tables(self) -> set[str]:
        state = self._store.state
        return {*SOURCES, *state.synced_tables, *state.database_tables}


def _synced_info(table: SyncedTable) -> dict[str, Any]:
    source = SOURCES[table.spec["source_table_full_name"]]
    return {
        "table_id": table.uid,
        "table_type": "FOREIGN",
        "data_source_format": "POSTGRESQL_FORMAT",
        "owner": table.creator,
        "columns": source.catalog_columns(required=table.spec["primary_key_columns"]),
        "pipeline_id": table.pipeline,
    }


def _like(text: str, pattern: str | None) -> bool:
    return not pattern or fnmatch.fnmatchcase(text, pattern.replace("%", "*"))


def _stable_id(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
