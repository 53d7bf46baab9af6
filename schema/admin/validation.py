"""Owns the checking of admin inputs: all that is wrong with one is found at once, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.admin.names import (
    CATALOG,
    COLUMN,
    DATABASE,
    INSTANCE,
    SOURCE_TABLE,
    STORAGE_CATALOG,
    STORAGE_SCHEMA,
    SYNCED_TABLE,
    NameRule,
    TableNameRule,
)
from schema.errors import Reason
from schema.ports import administration as ports
from schema.relay.pagination import given

if TYPE_CHECKING:
    from schema.admin import inputs

_RETENTION_DAYS: Final = range(2, 36)
_NODES_WITH_SECONDARIES: Final = 2
# An index of PostgreSQL has no more columns.
_MAX_KEY_COLUMNS: Final = 32
_TEARDOWN_RULES: Final[dict[str, NameRule | TableNameRule]] = {
    "instanceName": INSTANCE,
    "catalogName": CATALOG,
    "tableName": SYNCED_TABLE,
}
_Kind = ports.OperationKind


class Checks:
    """Checks one input, and keeps what is wrong with it: nothing may be sent once `mistakes` has any."""

    def __init__(self, configured: ports.Configured) -> None:
        self.mistakes: list[ports.AdminRefusal] = []
        self._configured = configured

    def create_instance(self, asked: inputs.CreateDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of createDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.CREATE_INSTANCE,
            instance=self._instance_spec(self._name(asked.name, INSTANCE, "name"), asked),
            acknowledge_cost=asked.acknowledge_cost,
            dry_run=asked.dry_run,
        )

    def update_instance(self, asked: inputs.UpdateDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of updateDatabaseInstance."""
        capacity, secondaries = given(asked.capacity), given(asked.enable_readable_secondaries)
        nodes, days, stopped = given(asked.node_count), given(asked.retention_window_in_days), given(asked.stopped)
        self._instance_properties(nodes, days, secondaries=bool(secondaries))
        if (capacity, nodes, secondaries, days, stopped) == (None,) * 5:
            self._setting(
                None,
                "Nothing is to change: give one of `capacity`, `nodeCount`, `enableReadableSecondaries`, "
                "`retentionWindowInDays` and `stopped`.",
            )
        return ports.AdminRequest(
            _Kind.UPDATE_INSTANCE,
            change=ports.InstanceChange(
                self._name(asked.name, INSTANCE, "name"),
                capacity=None if capacity is None else str(capacity.value),
                node_count=nodes,
                readable_secondaries=secondaries,
                retention_days=days,
                stopped=stopped,
            ),
            acknowledge_cost=asked.acknowledge_cost,
            dry_run=asked.dry_run,
        )

    def delete_instance(self, asked: inputs.DeleteDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of deleteDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.DELETE_INSTANCE,
            instance_name=self._name(asked.name, INSTANCE, "name"),
            confirm_deletion=asked.confirm_deletion,
            discard_status_changes=asked.discard_status_changes,
            dry_run=asked.dry_run,
        )

    def create_catalog(self, asked: inputs.CreateDatabaseCatalogInput) -> ports.AdminRequest:
        """The request of createDatabaseCatalog."""
        return ports.AdminRequest(
            _Kind.CREATE_CATALOG,
            catalog=ports.CatalogSpec(
                self._name(asked.name, CATALOG, "name"),
                self._name(asked.instance_name, INSTANCE, "instanceName"),
                self._name(asked.database_name, DATABASE, "databaseName"),
                create_database=asked.create_database,
            ),
            dry_run=asked.dry_run,
        )

    def delete_catalog(self, asked: inputs.DeleteDatabaseCatalogInput) -> ports.AdminRequest:
        """The request of deleteDatabaseCatalog."""
        return ports.AdminRequest(
            _Kind.DELETE_CATALOG,
            catalog_name=self._name(asked.name, CATALOG, "name"),
            confirm_deletion=asked.confirm_deletion,
            discard_status_changes=asked.discard_status_changes,
            dry_run=asked.dry_run,
        )

    def create_synced_table(self, asked: inputs.CreateSyncedTableInput) -> ports.AdminRequest:
        """The request of createSyncedTable."""
        instance, database = given(asked.instance_name), given(asked.database_name)
        if (instance is None) != (database is None):
            missing = "instanceName" if instance is None else "databaseName"
            self._setting(missing, "`instanceName` and `databaseName` go together: give both, or neither.")
        name = self._name(asked.name, SYNCED_TABLE, "name")
        return ports.AdminRequest(
            _Kind.CREATE_SYNCED_TABLE,
            table=self._table_spec(
                name,
                asked,
                instance_name=self._name_if_given(instance, INSTANCE, "instanceName"),
                database_name=self._name_if_given(database, DATABASE, "databaseName"),
            ),
            acknowledge_cost=asked.acknowledge_cost,
            dry_run=asked.dry_run,
        )

    def delete_synced_table(self, asked: inputs.DeleteSyncedTableInput) -> ports.AdminRequest:
        """The request of deleteSyncedTable."""
        return ports.AdminRequest(
            _Kind.DELETE_SYNCED_TABLE,
            table_name=self._name(asked.name, SYNCED_TABLE, "name"),
            confirm_deletion=asked.confirm_deletion,
            dry_run=asked.dry_run,
        )

    def refresh_synced_table(self, asked: inputs.RefreshSyncedTableInput) -> ports.AdminRequest:
        """The request of refreshSyncedTable."""
        return ports.AdminRequest(
            _Kind.REFRESH_SYNCED_TABLE, table_name=self._table_name(given(asked.name), "name"), dry_run=asked.dry_run
        )

    def ensure_order_indexes(self, asked: inputs.EnsureOrderIndexesInput) -> ports.AdminRequest:
        """The request of ensureOrderIndexes."""
        return ports.AdminRequest(
            _Kind.ENSURE_INDEXES,
            table_name=self._table_name(given(asked.table_name), "tableName"),
            dry_run=asked.dry_run,
        )

    def provision(self, asked: inputs.ProvisionLakebaseInput) -> ports.AdminRequest:
        """The request of provisionLakebase."""
        instance = self._instance_name(given(asked.instance_name))
        catalog = self._catalog_name(given(asked.catalog_name))
        table = self._table_name(given(asked.table_name), "tableName")
        self._table_in_catalog(table, catalog)
        database = self._or_configured(
            given(asked.database_name),
            self._configured.database_name,
            DATABASE,
            "databaseName",
            "LAKEBASE_DATABASE_NAME",
        )
        return ports.AdminRequest(
            _Kind.PROVISION,
            instance=self._instance_spec(instance, asked),
            catalog=ports.CatalogSpec(catalog, instance, database, create_database=asked.create_database),
            table=self._table_spec(table, asked),
            acknowledge_cost=asked.acknowledge_cost,
            dry_run=asked.dry_run,
        )

    def teardown(self, asked: inputs.TeardownLakebaseInput) -> ports.AdminRequest:
        """The request of teardownLakebase."""
        named = {
            "instanceName": given(asked.instance_name),
            "catalogName": given(asked.catalog_name),
            "tableName": given(asked.table_name),
        }
        absent = [field for field, name in named.items() if name is None]
        if 0 < len(absent) < len(named):
            # Or the table that is served would go with a catalog and an instance that were only tried out.
            for field in absent:
                self._mistake(
                    Reason.NAME_INVALID, field, "Give all three names, or none for what the server is set to."
                )
            instance, catalog, table = (
                self._name_if_given(name, _TEARDOWN_RULES[field], field) or "" for field, name in named.items()
            )
        else:
            instance = self._instance_name(named["instanceName"])
            catalog = self._catalog_name(named["catalogName"])
            table = self._table_name(named["tableName"], "tableName")
        self._table_in_catalog(table, catalog)
        return ports.AdminRequest(
            _Kind.TEARDOWN,
            instance_name=instance,
            catalog_name=catalog,
            table_name=table,
            confirm_deletion=asked.confirm_deletion,
            discard_status_changes=asked.discard_status_changes,
            dry_run=asked.dry_run,
        )

    def _instance_spec(
        self, name: str, asked: inputs.CreateDatabaseInstanceInput | inputs.ProvisionLakebaseInput
    ) -> ports.InstanceSpec:
        secondaries = asked.enable_readable_secondaries
        self._instance_properties(asked.node_count, asked.retention_window_in_days, secondaries=secondaries)
        return ports.InstanceSpec(
            name,
            capacity=str(asked.capacity.value),
            node_count=asked.node_count,
            readable_secondaries=secondaries,
            retention_days=asked.retention_window_in_days,
        )

    def _instance_properties(self, nodes: int | None, days: int | None, *, secondaries: bool) -> None:
        if nodes is not None and nodes < 1:
            self._setting("nodeCount", f"{nodes} nodes: there is at least the primary, 1.")
        elif nodes is not None and secondaries and nodes < _NODES_WITH_SECONDARIES:
            self._setting(
                "enableReadableSecondaries", f"Readable secondaries take at least two nodes; `nodeCount` is {nodes}."
            )
        if days is not None and days not in _RETENTION_DAYS:
            self._setting(
                "retentionWindowInDays",
                f"{days} days: it has to be from {_RETENTION_DAYS[0]} to {_RETENTION_DAYS[-1]}.",
            )

    def _table_spec(
        self,
        name: str,
        asked: inputs.CreateSyncedTableInput | inputs.ProvisionLakebaseInput,
        *,
        instance_name: str | None = None,
        database_name: str | None = None,
    ) -> ports.SyncedTableSpec:
        self._primary_key(asked.primary_key)
        storage = self._name_if_given(given(asked.storage_catalog), STORAGE_CATALOG, "storageCatalog")
        if storage and instance_name is None and storage.lower() == _catalog_of(name):
            self._setting(
                "storageCatalog", "The pipeline keeps its tables in a standard catalog, not in that of the database."
            )
        return ports.SyncedTableSpec(
            name,
            source=self._name(asked.source_table, SOURCE_TABLE, "sourceTable"),
            primary_key=tuple(asked.primary_key),
            policy=asked.policy.value.value,
            timeseries_key=self._name_if_given(given(asked.timeseries_key), COLUMN, "timeseriesKey"),
            instance_name=instance_name,
            database_name=database_name,
            storage_catalog=storage,
            storage_schema=self._name_if_given(given(asked.storage_schema), STORAGE_SCHEMA, "storageSchema"),
        )

    def _primary_key(self, columns: list[str]) -> None:
        if not 1 <= len(columns) <= _MAX_KEY_COLUMNS:
            self._setting("primaryKey", f"{len(columns)} columns: it has to be from 1 to {_MAX_KEY_COLUMNS}.")
        elif len(set(columns)) < len(columns):
            self._setting("primaryKey", "A column stands twice in it.")
        for index, column in enumerate(columns[:_MAX_KEY_COLUMNS]):
            self._name(column, COLUMN, f"primaryKey.{index}")

    def _instance_name(self, name: str | None) -> str:
        return self._or_configured(
            name, self._configured.instance_name, INSTANCE, "instanceName", "LAKEBASE_INSTANCE_NAME"
        )

    def _catalog_name(self, name: str | None) -> str:
        return self._or_configured(name, self._configured.catalog_name, CATALOG, "catalogName", "LAKEBASE_CATALOG_NAME")

    def _table_name(self, name: str | None, field: str) -> str:
        # The table that the server serves is that catalog's ORDERS_TABLE.
        return self._or_configured(name, self._configured.table_name, SYNCED_TABLE, field, "LAKEBASE_CATALOG_NAME")

    def _or_configured(
        self, name: str | None, configured: str | None, rule: NameRule | TableNameRule, field: str, setting: str
    ) -> str:
        if name is not None:
            return self._name(name, rule, field)
        if configured is None:
            self._mistake(Reason.NAME_INVALID, field, f"Give `{field}`: the setting `{setting}` names none either.")
            return ""
        if mistake := rule.mistake(configured):
            self._mistake(Reason.NAME_INVALID, field, f"{mistake} It comes from the setting `{setting}`.")
        return configured

    def _name(self, name: str, rule: NameRule | TableNameRule, field: str) -> str:
        if mistake := rule.mistake(name):
            self._mistake(Reason.NAME_INVALID, field, mistake)
        return name

    def _name_if_given(self, name: str | None, rule: NameRule | TableNameRule, field: str) -> str | None:
        return None if name is None else self._name(name, rule, field)

    def _table_in_catalog(self, table: str, catalog: str) -> None:
        if table and catalog and _catalog_of(table) != catalog.lower():
            self._mistake(Reason.NAME_INVALID, "tableName", "The synced table is not in the catalog of `catalogName`.")

    def _setting(self, field: str | None, message: str) -> None:
        self._mistake(Reason.SETTING_INVALID, field, message)

    def _mistake(self, reason: Reason, field: str | None, message: str) -> None:
        self.mistakes.append(ports.AdminRefusal(reason, message, field))


def _catalog_of(table: str) -> str:
    # Unity Catalog's names are the same in upper and lower case.
    return table.partition(".")[0].lower()
