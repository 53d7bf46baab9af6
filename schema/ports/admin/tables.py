"""Catalogs and synced tables: what the platform reports of them, and what is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from schema.ports.admin.instances import Flavour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schema.ports.columns import Table


class SyncState(Enum):
    """The state of a synced table and its pipeline."""

    PROVISIONING = "PROVISIONING"
    PROVISIONING_PIPELINE_RESOURCES = "PROVISIONING_PIPELINE_RESOURCES"
    PROVISIONING_INITIAL_SNAPSHOT = "PROVISIONING_INITIAL_SNAPSHOT"
    ONLINE = "ONLINE"
    ONLINE_NO_PENDING_UPDATE = "ONLINE_NO_PENDING_UPDATE"
    ONLINE_UPDATING_PIPELINE_RESOURCES = "ONLINE_UPDATING_PIPELINE_RESOURCES"
    ONLINE_TRIGGERED_UPDATE = "ONLINE_TRIGGERED_UPDATE"
    ONLINE_CONTINUOUS_UPDATE = "ONLINE_CONTINUOUS_UPDATE"
    ONLINE_PIPELINE_FAILED = "ONLINE_PIPELINE_FAILED"
    OFFLINE = "OFFLINE"
    OFFLINE_FAILED = "OFFLINE_FAILED"
    UNKNOWN = "UNKNOWN"


# What orders are copied from unless an operator says otherwise.
ORDERS_SOURCE: Final = "samples.tpch.orders"
SYNC_FAILED: Final = frozenset({SyncState.OFFLINE_FAILED, SyncState.ONLINE_PIPELINE_FAILED})


class SyncPolicy(Enum):
    """When a synced table is updated from its source."""

    SNAPSHOT = "SNAPSHOT"
    TRIGGERED = "TRIGGERED"
    CONTINUOUS = "CONTINUOUS"


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog in Unity Catalog that registers one database of an instance, in `branch` if it has any."""

    name: str
    uid: str | None
    instance_name: str | None
    database_name: str | None
    branch: str | None = None
    flavour: Flavour = Flavour.PROVISIONED

    @property
    def server(self) -> str | None:
        """The name by which the PostgreSQL with the database is connected to; None if it is not known."""
        return _server(self.flavour, self.instance_name, self.branch)


@dataclass(frozen=True, slots=True)
class SyncedTable:
    """A synced table, as the platform reports it, and as it was asked for. What neither tells is None.

    `name` is catalog.schema.table; `progress` is from 0 to 1.
    """

    name: str
    uid: str | None
    instance_name: str | None
    database_name: str | None
    source: str | None
    primary_key: Sequence[str] | None
    timeseries_key: str | None
    policy: SyncPolicy | None
    state: SyncState
    message: str | None
    catalog_state: str | None
    progress: float | None
    rows_synced: int | None
    rows_total: int | None
    estimated_completion_seconds: float | None
    last_sync_started_at: datetime | None
    last_sync_finished_at: datetime | None
    source_version: int | None
    source_committed_at: datetime | None
    pipeline_id: str | None
    pipeline_url: str | None
    branch: str | None = None
    flavour: Flavour = Flavour.PROVISIONED

    @property
    def server(self) -> str | None:
        """The name by which the PostgreSQL with its rows is connected to; None if it is not known."""
        return _server(self.flavour, self.instance_name, self.branch)


def branch_path(instance: str, branch: str) -> str:
    """The path of a branch, by which its PostgreSQL is connected to."""
    return f"projects/{instance}/branches/{branch}"


def branch_name(path: str) -> str:
    """The name of a branch, from its path."""
    return path.rpartition("/")[2]


def _server(flavour: Flavour, instance: str | None, branch: str | None) -> str | None:
    if flavour is Flavour.PROVISIONED:
        return instance
    # The bare name would be that of an instance of the other API.
    return branch_path(instance, branch) if instance and branch else None


@dataclass(frozen=True, slots=True)
class ServedTable:
    """A table that the server serves beside the orders: the name of its synced table, and what it declares."""

    name: str
    table: Table


@dataclass(frozen=True, slots=True)
class TableIndex:
    """An index on the PostgreSQL table. An invalid index is not used, and blocks a new one of its name."""

    name: str
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class CatalogSpec:
    """The wanted state of a catalog. `create_database` creates the database if the instance does not have it.

    `branch` is the name of a branch of the instance; None is its default branch.
    """

    name: str
    instance_name: str
    database_name: str
    create_database: bool = True
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class SyncedTableSpec:
    """The wanted state of a synced table.

    In a catalog that registers a database, instance, branch and database follow from the catalog and stay None. The
    pipeline keeps its own tables in the storage catalog and schema; None means the server's settings. Any other
    property that is None is taken as it is found. If the synced table has to be created, `with_defaults` sets it.
    """

    name: str
    source: str | None = None
    primary_key: tuple[str, ...] | None = None
    policy: str | None = None
    timeseries_key: str | None = None
    instance_name: str | None = None
    database_name: str | None = None
    storage_catalog: str | None = None
    storage_schema: str | None = None
    branch: str | None = None

    def with_defaults(self) -> SyncedTableSpec:
        """The spec of a synced table to create: the orders of TPC-H by their key, unless it says otherwise."""
        return replace(
            self,
            source=self.source or ORDERS_SOURCE,
            primary_key=self.primary_key or ("o_orderkey",),
            policy=self.policy or SyncPolicy.SNAPSHOT.value,
        )
