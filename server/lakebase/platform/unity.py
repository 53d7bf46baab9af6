"""The calls to Unity Catalog: sources, catalogs of every kind, schemas, and lists of catalogs and tables."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from databricks.sdk.service import catalog as api

from server.lakebase.platform.failures import Action

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from server.lakebase.platform.sdk_client import SdkClient

# The most catalogs, and the most tables of one catalog, that are listed.
_MAX_CATALOGS: Final = 1_000
_MAX_TABLES: Final = 100
# Catalogs of these types register no database, and no pipeline can create tables in them.
_OTHER_CATALOGS: Final = frozenset(
    {api.CatalogType.DELTASHARING_CATALOG, api.CatalogType.FOREIGN_CATALOG, api.CatalogType.SYSTEM_CATALOG}
)
_CHANGE_FEED: Final = "delta.enableChangeDataFeed"
# Sources of these types have no change data feed, whatever their properties say.
_WITHOUT_FEED: Final = frozenset({api.TableType.VIEW, api.TableType.METRIC_VIEW, api.TableType.FOREIGN})
# The SDK does not escape names in paths, so only these are sent.
_CATALOG: Final = re.compile(r"\w{1,255}", re.ASCII)
_TABLE: Final = re.compile(r"\w{1,255}(\.\w{1,255}){2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of Unity Catalog as a source.

    `columns` are the names of its columns. `change_feed` says whether a pipeline can read its changes; None if the
    platform does not tell. `in_postgres` says that it is itself a table of PostgreSQL, which no pipeline can copy.
    """

    columns: frozenset[str]
    change_feed: bool | None
    in_postgres: bool


class UnityCatalog:
    """Unity Catalog as the server's identity sees it. All methods raise ApiError, as `failures.to_api_error` says."""

    def __init__(self, client: SdkClient) -> None:
        self._client = client

    async def source(self, name: str) -> SourceTable | None:
        """The source table with this name; None if there is none."""
        found = await self._client.find(Action.GET_SOURCE, lambda client: client.tables.get(name))
        return read_source(found) if found else None

    async def table_uid(self, name: str) -> str | None:
        """The id of a table, which a later table of the same name does not have; None if not reported."""
        found = await self._client.find(Action.GET_TABLE, lambda client: client.tables.get(name))
        return found.table_id if found else None

    async def takes_tables(self, catalog: str) -> bool | None:
        """Whether a pipeline can create tables in a catalog, as far as its type tells; None if there is none."""
        found = await self._client.find(Action.GET_CATALOG, lambda client: client.catalogs.get(catalog))
        return found.catalog_type not in _OTHER_CATALOGS if found else None

    async def has_schema(self, catalog: str, schema: str) -> bool:
        """Whether a catalog has a schema."""
        name = f"{catalog}.{schema}"
        return await self._client.find(Action.GET_SCHEMA, lambda client: client.schemas.get(name)) is not None

    async def catalogs(self) -> list[str]:
        """The names of the catalogs that can register a database or hold synced tables, at most 1,000."""

        def request(client: WorkspaceClient) -> list[str]:
            listed = itertools.islice(client.catalogs.list(max_results=0), _MAX_CATALOGS)
            names = [one.name for one in listed if one.name and one.catalog_type not in _OTHER_CATALOGS]
            return [name for name in names if _CATALOG.fullmatch(name)]

        return await self._client.call(Action.LIST_CATALOGS, request)

    async def tables(self, catalog: str, *, foreign: bool = False) -> list[str]:
        """The full names of tables in a catalog, at most 100; with `foreign` only those whose rows are elsewhere."""

        def request(client: WorkspaceClient) -> list[str]:
            listed = client.tables.list_summaries(catalog)
            names = (
                one.full_name
                for one in listed
                if one.full_name and (not foreign or one.table_type in {None, api.TableType.FOREIGN})
            )
            return list(itertools.islice(filter(_TABLE.fullmatch, names), _MAX_TABLES))

        return await self._client.call(Action.LIST_TABLES, request)


def read_source(found: api.TableInfo) -> SourceTable:
    """A table of Unity Catalog as a source."""
    enabled = (found.properties or {}).get(_CHANGE_FEED, "").lower() == "true"
    known = found.properties is not None or found.table_type in _WITHOUT_FEED
    return SourceTable(
        frozenset(column.name for column in found.columns or [] if column.name),
        change_feed=enabled and found.table_type not in _WITHOUT_FEED if known else None,
        in_postgres=found.data_source_format is api.DataSourceFormat.POSTGRESQL_FORMAT,
    )
