"""The port of administration: the instance, catalog and synced table behind the API, and operations on them.

Nothing here is specific to one control plane, except where it says so. `instances.py` has the instances.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from schema.ports.instances import Flavour

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime

    from schema.errors import Reason
    from schema.ports.audit import AuditEntry, AuditFilter, AuditPage, AuditPosition
    from schema.ports.branches import Branch, BranchChange, BranchSpec, Endpoint, Snapshot, SnapshotSpec
    from schema.ports.instances import Instance, InstanceChange, InstancePage, InstanceSpec


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
class TableIndex:
    """An index on the PostgreSQL table. An invalid index is not used, and blocks a new one of its name."""

    name: str
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Configured:
    """The names that this server is configured with; None for each that is not configured.

    `flavour` is that of all instances. `branch` is the branch of the instance that is served, if instances have any.
    """

    instance_name: str | None
    catalog_name: str | None
    database_name: str | None
    table_name: str | None
    flavour: Flavour = Flavour.PROVISIONED
    branch: str | None = None

    def is_place(self, found: Catalog | SyncedTable) -> bool:
        """Whether a catalog or table is in the configured instance, branch and database, as far as that is known.

        A copy of the database may be served under the catalog's name of the original.
        """
        pairs = (
            (found.instance_name, self.instance_name),
            (found.database_name, self.database_name),
            (found.branch, self.branch),
        )
        return all(not found or not own or found.lower() == own.lower() for found, own in pairs)


@dataclass(frozen=True, slots=True)
class CopyOf:
    """What the served database is a copy of, as far as the server knows. What it does not know is None.

    `since` is the moment of the copy if the platform tells it, otherwise when a server first noticed.
    """

    instance_name: str | None
    branch: str | None
    database_name: str | None
    since: datetime | None
    message: str


class OperationKind(Enum):
    """What an operation does."""

    CREATE_INSTANCE = "CREATE_INSTANCE"
    UPDATE_INSTANCE = "UPDATE_INSTANCE"
    DELETE_INSTANCE = "DELETE_INSTANCE"
    UNDELETE_INSTANCE = "UNDELETE_INSTANCE"
    CREATE_CATALOG = "CREATE_CATALOG"
    DELETE_CATALOG = "DELETE_CATALOG"
    CREATE_SYNCED_TABLE = "CREATE_SYNCED_TABLE"
    DELETE_SYNCED_TABLE = "DELETE_SYNCED_TABLE"
    REFRESH_SYNCED_TABLE = "REFRESH_SYNCED_TABLE"
    ENSURE_INDEXES = "ENSURE_INDEXES"
    PROVISION = "PROVISION"
    TEARDOWN = "TEARDOWN"
    CREATE_BRANCH = "CREATE_BRANCH"
    UPDATE_BRANCH = "UPDATE_BRANCH"
    DELETE_BRANCH = "DELETE_BRANCH"
    UNDELETE_BRANCH = "UNDELETE_BRANCH"
    RESTORE = "RESTORE"
    CREATE_SNAPSHOT = "CREATE_SNAPSHOT"
    DELETE_SNAPSHOT = "DELETE_SNAPSHOT"


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
            source=self.source or "samples.tpch.orders",
            primary_key=self.primary_key or ("o_orderkey",),
            policy=self.policy or SyncPolicy.SNAPSHOT.value,
        )


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """What an operator asks for. Which fields are set depends on the kind.

    CREATE_INSTANCE: instance. UPDATE_INSTANCE: change. CREATE_CATALOG: catalog. CREATE_SYNCED_TABLE: table.
    PROVISION: instance, catalog and table. DELETE_INSTANCE, UNDELETE_INSTANCE: instance_name. DELETE_CATALOG:
    catalog_name. DELETE_SYNCED_TABLE, REFRESH_SYNCED_TABLE, ENSURE_INDEXES: table_name. TEARDOWN: all three names.
    CREATE_BRANCH, RESTORE: branch. UPDATE_BRANCH: branch_change. DELETE_BRANCH, UNDELETE_BRANCH: instance_name and
    branch_name. CREATE_SNAPSHOT: snapshot. DELETE_SNAPSHOT: instance_name and snapshot_name. REFRESH_SYNCED_TABLE and
    TEARDOWN may ask for a `safety_net`.
    """

    kind: OperationKind
    instance: InstanceSpec | None = None
    change: InstanceChange | None = None
    catalog: CatalogSpec | None = None
    table: SyncedTableSpec | None = None
    instance_name: str | None = None
    catalog_name: str | None = None
    table_name: str | None = None
    acknowledge_cost: bool = False
    confirm_deletion: bool = False
    discard_status_changes: bool = False
    dry_run: bool = False
    purge: bool = False
    branch: BranchSpec | None = None
    branch_change: BranchChange | None = None
    branch_name: str | None = None
    snapshot: SnapshotSpec | None = None
    snapshot_name: str | None = None
    safety_net: bool = False


class PlanAction(Enum):
    """What a step of a plan would do."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    START = "START"
    STOP = "STOP"
    DELETE = "DELETE"
    UNDELETE = "UNDELETE"
    SYNC = "SYNC"
    BUILD = "BUILD"
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class Difference:
    """A property that differs from the wanted state, with both values as text."""

    field: str
    current: str
    wanted: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan: the resource ("instance orders-pg"), whether it exists, and what would change.

    `exists` is None if it cannot be known beforehand. `costs` says that the resource costs money from then on; a
    sync costs while its pipeline runs.
    """

    name: str
    action: PlanAction
    resource: str
    exists: bool | None
    message: str
    differences: Sequence[Difference] = ()
    costs: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, in order, and how many status changes would lose their only copy.

    `status_changes_lost` is None if they could not be counted.
    """

    steps: Sequence[PlannedStep]
    status_changes_lost: int | None = 0


@dataclass(frozen=True, slots=True)
class AdminRefusal:
    """Why nothing was started. `field` is the path of the field in the input ("acknowledgeCost").

    `purge_at` is when a deleted instance that holds the name will be purged.
    """

    reason: Reason
    message: str
    field: str | None = None
    differences: Sequence[Difference] = ()
    operation_id: str | None = None
    purge_at: datetime | None = None


class OperationState(Enum):
    """The state of an operation or of one of its steps. SKIPPED is a step that was not reached."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class OperationStep:
    """One step of an operation. Its times are by the clock of the process that runs it; `progress` is from 0 to 1."""

    name: str
    resource: str
    state: OperationState = OperationState.PENDING
    progress: float = 0.0
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OperationFailure:
    """Why an operation failed, and what to do. `reason` is one of this API's, not the platform's."""

    reason: Reason
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """Long-running work. `durable` says that it is stored in the database and outlives this process.

    `cancel_requested_by` is the user who asked for its cancellation; None if nobody did.
    """

    id: str
    kind: OperationKind
    state: OperationState
    progress: float
    steps: Sequence[OperationStep]
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    durable: bool
    failure: OperationFailure | None = None
    cancel_requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Operations, newest first; `more` says whether older ones follow."""

    operations: Sequence[Operation]
    more: bool


@dataclass(frozen=True, slots=True)
class AdminOutcome:
    """The outcome of a request.

    Refused: the refusals, and the plan if one could be made. Dry run: the plan, and the refusals that would prevent it.
    Started, or already running: the operation and the plan. Nothing to do: the plan.
    """

    plan: Plan | None = None
    operation: Operation | None = None
    refusals: Sequence[AdminRefusal] = field(default=())


class Administration(Protocol):
    """Reads and changes the instance, catalog and synced table behind the API.

    Every method may raise ApiError: CONTROL_PLANE_NOT_CONFIGURED if no platform is configured, one of the other
    CONTROL_PLANE reasons if the platform does not answer, or PERMISSION_MISSING. The caller has checked all names.
    """

    @property
    def configured(self) -> Configured:
        """The names that this server is configured with."""

    async def copy_of(self) -> CopyOf | None:
        """What the served database is a copy of; None if it is the original, or no database can be reached."""

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One of the platform's pages of the instances that the server's identity may see."""

    async def instances_in_full(self, instances: Sequence[Instance]) -> Sequence[Instance]:
        """The same instances of a page with what the platform's page left out, as far as it can be read in time."""

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name, also one that is deleted and not purged."""

    async def branches(self, instance: str) -> Sequence[Branch]:
        """The branches of an instance, deleted ones too; none if it has no branches."""

    async def branch(self, instance: str, name: str) -> Branch | None:
        """The branch with this name, also one that is deleted and not purged."""

    async def endpoints(self, branch: Branch) -> Sequence[Endpoint]:
        """The endpoints of a branch."""

    async def snapshots(self, instance: str) -> Sequence[Snapshot]:
        """The snapshots of an instance."""

    async def catalog(self, name: str) -> Catalog | None:
        """The catalog with this name, if it registers a database."""

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name, catalog.schema.table."""

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """The indexes on its PostgreSQL table, read from the database."""

    async def submit(self, request: AdminRequest, user: str, arguments: Mapping[str, Any]) -> AdminOutcome:
        """Plan the work and start it, unless it is refused or a dry run. It does not wait for the work.

        It writes the audit entry of every outcome that it returns. If it raises, the caller writes it. `arguments` are
        the field's arguments as the client gave them, for the audit.
        """

    async def cancel(self, id_: str, user: str, arguments: Mapping[str, Any]) -> AdminOutcome:
        """Ask for the cancellation of the operation with this id. It does not wait for its end.

        The outcome has the operation, unchanged if it has ended; or the refusal RESOURCE_NOT_FOUND. Like `submit`, this
        writes the audit entry of every outcome that it returns.
        """

    async def operation(self, id_: str) -> Operation | None:
        """The operation with this id."""

    async def operations(self, *, size: int, after: str | None) -> OperationPage:
        """A page of operations, newest first, after the one with this id."""

    def progress(self, id_: str) -> AsyncGenerator[Operation, None]:
        """The operation as it is now, and again after each change, until it ends. Empty if there is no operation."""

    async def audit(self, wanted: AuditFilter, *, size: int, after: AuditPosition | None) -> AuditPage:
        """A page of the audit, newest first."""

    async def audit_entry(self, id_: str) -> AuditEntry | None:
        """The entry of the audit with this id."""

    async def note_refused(self, user: str, action: str, reason: Reason, arguments: Mapping[str, Any]) -> None:
        """Write an audit entry of a refused action. It never fails.

        `action` is the field's name, and `arguments` are its arguments as the client gave them.
        """
