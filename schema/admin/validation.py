"""Validation of admin inputs. It finds all mistakes of an input at once, before anything is sent to the platform."""

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
_NODES: Final = range(1, 4)
_NODES_WITH_SECONDARIES: Final = 2
# The most columns that an index of PostgreSQL can have.
_MAX_KEY_COLUMNS: Final = 32
_TEARDOWN_RULES: Final[dict[str, NameRule | TableNameRule]] = {
    "instanceName": INSTANCE,
    "catalogName": CATALOG,
    "tableName": SYNCED_TABLE,
}
_Kind = ports.OperationKind


class InputValidation:
    """Checks one input and turns it into a request. The request may be sent only if `mistakes` stays empty."""

    def __init__(self, configured: ports.Configured) -> None:
        self.mistakes: list[ports.AdminRefusal] = []
        self._configured = configured

    def create_instance(self, input_: inputs.CreateDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of createDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.CREATE_INSTANCE,
            instance=self._instance_spec(self._name(input_.name, INSTANCE, "name"), input_),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def update_instance(self, input_: inputs.UpdateDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of updateDatabaseInstance."""
        capacity, secondaries = given(input_.capacity), given(input_.enable_readable_secondaries)
        nodes, days, stopped = given(input_.node_count), given(input_.retention_window_in_days), given(input_.stopped)
        self._instance_properties(nodes, days, secondaries=bool(secondaries))
        if (capacity, nodes, secondaries, days, stopped) == (None,) * 5:
            self._setting(
                None,
                "There is nothing to change: give at least one of `capacity`, `nodeCount`, "
                "`enableReadableSecondaries`, `retentionWindowInDays` and `stopped`.",
            )
        return ports.AdminRequest(
            _Kind.UPDATE_INSTANCE,
            change=ports.InstanceChange(
                self._name(input_.name, INSTANCE, "name"),
                capacity=None if capacity is None else str(capacity.value),
                node_count=nodes,
                readable_secondaries=secondaries,
                retention_days=days,
                stopped=stopped,
            ),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def delete_instance(self, input_: inputs.DeleteDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of deleteDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.DELETE_INSTANCE,
            instance_name=self._name(input_.name, INSTANCE, "name"),
            confirm_deletion=input_.confirm_deletion,
            discard_status_changes=input_.discard_status_changes,
            dry_run=input_.dry_run,
        )

    def create_catalog(self, input_: inputs.CreateDatabaseCatalogInput) -> ports.AdminRequest:
        """The request of createDatabaseCatalog."""
        return ports.AdminRequest(
            _Kind.CREATE_CATALOG,
            catalog=ports.CatalogSpec(
                self._name(input_.name, CATALOG, "name"),
                self._name(input_.instance_name, INSTANCE, "instanceName"),
                self._name(input_.database_name, DATABASE, "databaseName"),
                create_database=input_.create_database,
            ),
            dry_run=input_.dry_run,
        )

    def delete_catalog(self, input_: inputs.DeleteDatabaseCatalogInput) -> ports.AdminRequest:
        """The request of deleteDatabaseCatalog."""
        return ports.AdminRequest(
            _Kind.DELETE_CATALOG,
            catalog_name=self._name(input_.name, CATALOG, "name"),
            confirm_deletion=input_.confirm_deletion,
            discard_status_changes=input_.discard_status_changes,
            dry_run=input_.dry_run,
        )

    def create_synced_table(self, input_: inputs.CreateSyncedTableInput) -> ports.AdminRequest:
        """The request of createSyncedTable."""
        instance, database = given(input_.instance_name), given(input_.database_name)
        if (instance is None) != (database is None):
            missing = "instanceName" if instance is None else "databaseName"
            self._setting(missing, "Give both `instanceName` and `databaseName`, or neither.")
        name = self._name(input_.name, SYNCED_TABLE, "name")
        return ports.AdminRequest(
            _Kind.CREATE_SYNCED_TABLE,
            table=self._table_spec(
                name,
                input_,
                instance_name=self._name_if_given(instance, INSTANCE, "instanceName"),
                database_name=self._name_if_given(database, DATABASE, "databaseName"),
            ),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def delete_synced_table(self, input_: inputs.DeleteSyncedTableInput) -> ports.AdminRequest:
        """The request of deleteSyncedTable."""
        return ports.AdminRequest(
            _Kind.DELETE_SYNCED_TABLE,
            table_name=self._name(input_.name, SYNCED_TABLE, "name"),
            confirm_deletion=input_.confirm_deletion,
            dry_run=input_.dry_run,
        )

    def refresh_synced_table(self, input_: inputs.RefreshSyncedTableInput) -> ports.AdminRequest:
        """The request of refreshSyncedTable."""
        return ports.AdminRequest(
            _Kind.REFRESH_SYNCED_TABLE, table_name=self._table_name(given(input_.name), "name"), dry_run=input_.dry_run
        )

    def ensure_order_indexes(self, input_: inputs.EnsureOrderIndexesInput) -> ports.AdminRequest:
        """The request of ensureOrderIndexes."""
        return ports.AdminRequest(
            _Kind.ENSURE_INDEXES,
            table_name=self._table_name(given(input_.table_name), "tableName"),
            dry_run=input_.dry_run,
        )

    def provision(self, input_: inputs.ProvisionLakebaseInput) -> ports.AdminRequest:
        """The request of provisionLakebase."""
        instance = self._instance_name(given(input_.instance_name))
        catalog = self._catalog_name(given(input_.catalog_name))
        table = self._table_name(given(input_.table_name), "tableName")
        self._table_in_catalog(table, catalog)
        database = self._or_configured(
            given(input_.database_name),
            self._configured.database_name,
            DATABASE,
            "databaseName",
            "LAKEBASE_DATABASE_NAME",
        )
        return ports.AdminRequest(
            _Kind.PROVISION,
            instance=self._instance_spec(instance, input_),
            catalog=ports.CatalogSpec(catalog, instance, database, create_database=input_.create_database),
            table=self._table_spec(table, input_),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def teardown(self, input_: inputs.TeardownLakebaseInput) -> ports.AdminRequest:
        """The request of teardownLakebase."""
        named = {
            "instanceName": given(input_.instance_name),
            "catalogName": given(input_.catalog_name),
            "tableName": given(input_.table_name),
        }
        absent = [field for field, name in named.items() if name is None]
        if 0 < len(absent) < len(named):
            # A mix of given and configured names could delete the served table with the catalog of another deployment.
            for field in absent:
                self._mistake(
                    Reason.NAME_INVALID,
                    field,
                    "Give all three names, or none to tear down those that the server is configured with.",
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
            confirm_deletion=input_.confirm_deletion,
            discard_status_changes=input_.discard_status_changes,
            dry_run=input_.dry_run,
        )

    def _instance_spec(
        self, name: str, input_: inputs.CreateDatabaseInstanceInput | inputs.ProvisionLakebaseInput
    ) -> ports.InstanceSpec:
        capacity, secondaries = given(input_.capacity), given(input_.enable_readable_secondaries)
        nodes, days = given(input_.node_count), given(input_.retention_window_in_days)
        self._instance_properties(nodes, days, secondaries=bool(secondaries))
        return ports.InstanceSpec(
            name,
            capacity=None if capacity is None else str(capacity.value),
            node_count=nodes,
            readable_secondaries=secondaries,
            retention_days=days,
        )

    def _instance_properties(self, nodes: int | None, days: int | None, *, secondaries: bool) -> None:
        if nodes is not None and nodes not in _NODES:
            self._setting("nodeCount", f"`nodeCount` is {nodes}; it must be from {_NODES[0]} to {_NODES[-1]}.")
        elif nodes is not None and secondaries and nodes < _NODES_WITH_SECONDARIES:
            self._setting(
                "enableReadableSecondaries", f"Readable secondaries need at least two nodes; `nodeCount` is {nodes}."
            )
        if days is not None and days not in _RETENTION_DAYS:
            self._setting(
                "retentionWindowInDays",
                f"`retentionWindowInDays` is {days}; it must be from {_RETENTION_DAYS[0]} to {_RETENTION_DAYS[-1]}.",
            )

    def _table_spec(
        self,
        name: str,
        input_: inputs.CreateSyncedTableInput | inputs.ProvisionLakebaseInput,
        *,
        instance_name: str | None = None,
        database_name: str | None = None,
    ) -> ports.SyncedTableSpec:
        source, key, policy = given(input_.source_table), given(input_.primary_key), given(input_.policy)
        if key is not None:
            self._primary_key(key)
        storage = self._name_if_given(given(input_.storage_catalog), STORAGE_CATALOG, "storageCatalog")
        return ports.SyncedTableSpec(
            name,
            source=self._name_if_given(source, SOURCE_TABLE, "sourceTable"),
            primary_key=None if key is None else tuple(key),
            policy=None if policy is None else policy.value.value,
            timeseries_key=self._name_if_given(given(input_.timeseries_key), COLUMN, "timeseriesKey"),
            instance_name=instance_name,
            database_name=database_name,
            storage_catalog=storage,
            storage_schema=self._name_if_given(given(input_.storage_schema), STORAGE_SCHEMA, "storageSchema"),
        )

    def _primary_key(self, columns: list[str]) -> None:
        if not 1 <= len(columns) <= _MAX_KEY_COLUMNS:
            self._setting(
                "primaryKey", f"`primaryKey` has {len(columns)} columns; it must have from 1 to {_MAX_KEY_COLUMNS}."
            )
        elif len(set(columns)) < len(columns):
            self._setting("primaryKey", "`primaryKey` names a column twice.")
        for index, column in enumerate(columns[:_MAX_KEY_COLUMNS]):
            self._name(column, COLUMN, f"primaryKey.{index}")

    def _instance_name(self, name: str | None) -> str:
        return self._or_configured(
            name, self._configured.instance_name, INSTANCE, "instanceName", "LAKEBASE_INSTANCE_NAME"
        )

    def _catalog_name(self, name: str | None) -> str:
        return self._or_configured(name, self._configured.catalog_name, CATALOG, "catalogName", "LAKEBASE_CATALOG_NAME")

    def _table_name(self, name: str | None, field: str) -> str:
        # The configured table is ORDERS_TABLE in this catalog.
        return self._or_configured(name, self._configured.table_name, SYNCED_TABLE, field, "LAKEBASE_CATALOG_NAME")

    def _or_configured(
        self, name: str | None, configured: str | None, rule: NameRule | TableNameRule, field: str, setting: str
    ) -> str:
        if name is not None:
            return self._name(name, rule, field)
        if configured is None:
            self._mistake(
                Reason.NAME_INVALID,
                field,
                f"Give `{field}`, or configure the server's setting `{setting}`. The setting does not "
                "count if `LAKEBASE_ENDPOINT` names another branch or project.",
            )
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
            self._mistake(Reason.NAME_INVALID, "tableName", "The synced table is not in the catalog `catalogName`.")

    def _setting(self, field: str | None, message: str) -> None:
        self._mistake(Reason.SETTING_INVALID, field, message)

    def _mistake(self, reason: Reason, field: str | None, message: str) -> None:
        self.mistakes.append(ports.AdminRefusal(reason, message, field))


def _catalog_of(table: str) -> str:
    # Names in Unity Catalog are case-insensitive.
    return table.partition(".")[0].lower()
