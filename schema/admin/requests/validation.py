"""Validation of admin inputs. It finds all mistakes of an input at once, before anything is sent to the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.admin.requests.branches import BranchValidation
from schema.admin.requests.names import (
    CATALOG,
    COLUMN,
    DATABASE,
    SOURCE_TABLE,
    STORAGE_CATALOG,
    STORAGE_SCHEMA,
    SYNCED_TABLE,
    NameRule,
    TableNameRule,
    instance_rule,
)
from schema.errors import Reason
from schema.ports.admin import administration as ports
from schema.ports.admin import operations as operation_ports
from schema.ports.admin import tables as table_ports
from schema.relay.pagination import given

if TYPE_CHECKING:
    from schema.admin.requests import inputs

# The most columns that an index of PostgreSQL can have.
_MAX_KEY_COLUMNS: Final = 32
_TEARDOWN_RULES: Final[dict[str, NameRule | TableNameRule]] = {
    "catalogName": CATALOG,
    "tableName": SYNCED_TABLE,
}
_Kind = operation_ports.OperationKind


class InputValidation(BranchValidation):
    """Checks one input and turns it into a request. The request may be sent only if `mistakes` stays empty."""

    def create_catalog(self, input_: inputs.CreateDatabaseCatalogInput) -> ports.AdminRequest:
        """The request of createDatabaseCatalog."""
        return ports.AdminRequest(
            _Kind.CREATE_CATALOG,
            catalog=table_ports.CatalogSpec(
                self._name(input_.name, CATALOG, "name"),
                self._instance(input_.instance_name, "instanceName"),
                self._name(input_.database_name, DATABASE, "databaseName"),
                create_database=input_.create_database,
                branch=self._branch(given(input_.branch)),
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
        branch = self._branch(given(input_.branch))
        if branch is not None and instance is None:
            self._setting("branch", "Give `branch` only with `instanceName`: otherwise it follows from the catalog.")
        name = self._name(input_.name, SYNCED_TABLE, "name")
        return ports.AdminRequest(
            _Kind.CREATE_SYNCED_TABLE,
            table=self._table_spec(
                name,
                input_,
                instance_name=None if instance is None else self._instance(instance, "instanceName"),
                database_name=self._name_if_given(database, DATABASE, "databaseName"),
                branch=branch,
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
            _Kind.REFRESH_SYNCED_TABLE,
            table_name=self._table_name(given(input_.name), "name"),
            others=self._others() if given(input_.name) is None else (),
            safety_net=self._safety_net(wanted=input_.safety_net),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def ensure_indexes(self, input_: inputs.EnsureIndexesInput) -> ports.AdminRequest:
        """The request of ensureIndexes."""
        return ports.AdminRequest(
            _Kind.ENSURE_INDEXES,
            table_name=self._table_name(given(input_.table_name), "tableName"),
            others=self._others() if given(input_.table_name) is None else (),
            text=input_.text,
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
        branch = self._branch(given(input_.branch))
        if branch is None and instance == self._configured.instance_name:
            branch = self._configured.branch
        spec = self._table_spec(table, input_)
        return ports.AdminRequest(
            _Kind.PROVISION,
            instance=self._instance_spec(instance, input_),
            catalog=table_ports.CatalogSpec(
                catalog, instance, database, create_database=input_.create_database, branch=branch
            ),
            table=spec,
            others=self._others(spec) if self._is_configured(table) else (),
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
            rules = {"instanceName": instance_rule(self._configured.flavour), **_TEARDOWN_RULES}
            # A mix of given and configured names could delete the served table with the catalog of another deployment.
            for field in absent:
                self._mistake(
                    Reason.NAME_INVALID,
                    field,
                    "Give all three names, or none to tear down those that the server is configured with.",
                )
            instance, catalog, table = (
                self._name_if_given(name, rules[field], field) or "" for field, name in named.items()
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
            others=self._others() if self._is_configured(table) else (),
            confirm_deletion=input_.confirm_deletion,
            discard_status_changes=input_.discard_status_changes,
            dry_run=input_.dry_run,
            purge=input_.purge,
            safety_net=self._safety_net(wanted=input_.safety_net, purge=input_.purge),
            acknowledge_cost=input_.acknowledge_cost,
        )

    def _safety_net(self, *, wanted: bool, purge: bool = False) -> bool:
        """Whether there is to be a safety net. It is a branch, so it does not outlive the purge of its instance."""
        if wanted and not self._autoscales:
            self._setting(
                "safetyNet",
                "This server administers instances of the Provisioned API, which have neither branches nor snapshots. "
                "Save the status changes with `export-changes`, and leave `safetyNet` out.",
            )
        elif wanted and purge:
            self._setting(
                "safetyNet",
                "`purge: true` deletes the branches and snapshots of the instance too, so no safety net would be left. "
                "Give one of the two.",
            )
        return wanted

    def _table_spec(
        self,
        name: str,
        input_: inputs.CreateSyncedTableInput | inputs.ProvisionLakebaseInput,
        *,
        instance_name: str | None = None,
        database_name: str | None = None,
        branch: str | None = None,
    ) -> table_ports.SyncedTableSpec:
        source, key, policy = given(input_.source_table), given(input_.primary_key), given(input_.policy)
        if key is not None:
            self._primary_key(key)
        storage = self._name_if_given(given(input_.storage_catalog), STORAGE_CATALOG, "storageCatalog")
        return table_ports.SyncedTableSpec(
            name,
            source=self._name_if_given(source, SOURCE_TABLE, "sourceTable"),
            primary_key=None if key is None else tuple(key),
            policy=None if policy is None else policy.value.value,
            timeseries_key=self._name_if_given(given(input_.timeseries_key), COLUMN, "timeseriesKey"),
            instance_name=instance_name,
            database_name=database_name,
            branch=branch,
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
        setting = "LAKEBASE_ENDPOINT" if self._autoscales else "LAKEBASE_INSTANCE_NAME"
        rule = instance_rule(self._configured.flavour)
        return self._or_configured(name, self._configured.instance_name, rule, "instanceName", setting)

    def _catalog_name(self, name: str | None) -> str:
        return self._or_configured(name, self._configured.catalog_name, CATALOG, "catalogName", "LAKEBASE_CATALOG_NAME")

    def _table_name(self, name: str | None, field: str) -> str:
        # The configured table is ORDERS_TABLE in this catalog.
        return self._or_configured(name, self._configured.table_name, SYNCED_TABLE, field, "LAKEBASE_CATALOG_NAME")

    def _is_configured(self, table: str) -> bool:
        """Whether it is the configured table. With another one an operator means something else than what is served."""
        return table.lower() == (self._configured.table_name or "").lower()

    def _others(self, orders: table_ports.SyncedTableSpec | None = None) -> tuple[table_ports.SyncedTableSpec, ...]:
        """The other served tables. If they are to be created, it is in the manner of the orders."""
        names = [(one.name, one.table.source) for one in self._configured.others]
        if orders is None:
            return tuple(table_ports.SyncedTableSpec(name) for name, _ in names)
        schema = orders.source and orders.source.rpartition(".")[0]
        return tuple(
            table_ports.SyncedTableSpec(
                name,
                source=schema and f"{schema}.{source}",
                policy=orders.policy,
                storage_catalog=orders.storage_catalog,
                storage_schema=orders.storage_schema,
            )
            for name, source in names
        )

    def _table_in_catalog(self, table: str, catalog: str) -> None:
        if table and catalog and _catalog_of(table) != catalog.lower():
            self._mistake(Reason.NAME_INVALID, "tableName", "The synced table is not in the catalog `catalogName`.")


def _catalog_of(table: str) -> str:
    # Names in Unity Catalog are case-insensitive.
    return table.partition(".")[0].lower()
