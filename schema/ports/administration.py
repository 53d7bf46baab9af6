"""Owns the questions that administration asks of the world: what stands behind the API, and the work that changes it.

Nothing here is of one control plane alone: an instance may be a Lakebase instance, or a project with its branch and
endpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from datetime import datetime

    from schema.errors import Reason


class InstanceState(Enum):
    """What an instance is doing. UNKNOWN is a word of the platform's that is not known here: not a failure."""

    STARTING = "STARTING"
    AVAILABLE = "AVAILABLE"
    UPDATING = "UPDATING"
    FAILING_OVER = "FAILING_OVER"
    STOPPED = "STOPPED"
    DELETING = "DELETING"
    UNKNOWN = "UNKNOWN"


class SyncState(Enum):
    """What a synced table is doing, as far as its pipeline has come."""

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


class SyncPolicy(Enum):
    """When a synced table is brought up to date."""

    SNAPSHOT = "SNAPSHOT"
    TRIGGERED = "TRIGGERED"
    CONTINUOUS = "CONTINUOUS"


@dataclass(frozen=True, slots=True)
class Instance:
    """A database instance as the platform says it is. What it does not say is None."""

    name: str
    uid: str | None
    state: InstanceState
    capacity: str | None
    node_count: int | None
    readable_secondaries: bool | None
    retention_days: int | None
    stopped: bool | None
    postgres_version: str | None
    creator: str | None
    created_at: datetime | None
    host: str | None
    read_only_host: str | None


@dataclass(frozen=True, slots=True)
class InstancePage:
    """Some instances, and the platform's token of the next page; None after the last."""

    instances: Sequence[Instance]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog of Unity Catalog that registers one database of an instance."""

    name: str
    uid: str | None
    instance_name: str | None
    database_name: str | None


@dataclass(frozen=True, slots=True)
class SyncedTable:
    """A synced table as the platform says it is. `name` is catalog.schema.table; `progress` is 0 to 1."""

    name: str
    uid: str | None
    instance_name: str | None
    database_name: str | None
    source: str | None
    primary_key: Sequence[str]
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


@dataclass(frozen=True, slots=True)
class TableIndex:
    """An index on the PostgreSQL table. One that is not valid is of no use, and in the way of a new one."""

    name: str
    definition: str
    valid: bool


@dataclass(frozen=True, slots=True)
class Configured:
    """The names that this server is set to serve; None where it is not set to any."""

    instance_name: str | None
    catalog_name: str | None
    database_name: str | None
    table_name: str | None


class OperationKind(Enum):
    """What an operation does."""

    CREATE_INSTANCE = "CREATE_INSTANCE"
    UPDATE_INSTANCE = "UPDATE_INSTANCE"
    DELETE_INSTANCE = "DELETE_INSTANCE"
    CREATE_CATALOG = "CREATE_CATALOG"
    DELETE_CATALOG = "DELETE_CATALOG"
    CREATE_SYNCED_TABLE = "CREATE_SYNCED_TABLE"
    DELETE_SYNCED_TABLE = "DELETE_SYNCED_TABLE"
    REFRESH_SYNCED_TABLE = "REFRESH_SYNCED_TABLE"
    ENSURE_INDEXES = "ENSURE_INDEXES"
    PROVISION = "PROVISION"
    TEARDOWN = "TEARDOWN"


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """An instance as it is wanted."""

    name: str
    capacity: str = "CU_1"
    node_count: int = 1
    readable_secondaries: bool = False
    retention_days: int = 7


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """What is wanted otherwise of an instance; None leaves a thing as it is."""

    name: str
    capacity: str | None = None
    node_count: int | None = None
    readable_secondaries: bool | None = None
    retention_days: int | None = None
    stopped: bool | None = None


@dataclass(frozen=True, slots=True)
class CatalogSpec:
    """A catalog as it is wanted; `create_database` makes the database where the instance has none of that name."""

    name: str
    instance_name: str
    database_name: str
    create_database: bool = True


@dataclass(frozen=True, slots=True)
class SyncedTableSpec:
    """A synced table as it is wanted.

    In a catalog of a database its instance and database are those of the catalog, and stay None. The pipeline keeps
    its own tables in the storage catalog and schema; None takes the ones that the server is set to.
    """

    name: str
    source: str
    primary_key: tuple[str, ...]
    policy: str = SyncPolicy.SNAPSHOT.value
    timeseries_key: str | None = None
    instance_name: str | None = None
    database_name: str | None = None
    storage_catalog: str | None = None
    storage_schema: str | None = None


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """What an operator asks for: what stands in it depends on the kind.

    CREATE_INSTANCE: instance. UPDATE_INSTANCE: change. CREATE_CATALOG: catalog. CREATE_SYNCED_TABLE: table.
    PROVISION: instance, catalog and table. DELETE_INSTANCE: instance_name. DELETE_CATALOG: catalog_name.
    DELETE_SYNCED_TABLE, REFRESH_SYNCED_TABLE, ENSURE_INDEXES: table_name. TEARDOWN: all three names.
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


class PlanAction(Enum):
    """What a step of a plan would do."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    START = "START"
    STOP = "STOP"
    DELETE = "DELETE"
    SYNC = "SYNC"
    BUILD = "BUILD"
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class Difference:
    """One property that is not as wanted, both values as text."""

    field: str
    current: str
    wanted: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step: on which resource ("instance orders-pg"), whether that exists, and what would change.

    `exists` is None where it cannot be known beforehand. `costs` says that money is spent from then on.
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
    """The steps in their order, and how many status changes would be destroyed with their only copy.

    `status_changes_lost` is 0 where none would, and None where they could not be counted.
    """

    steps: Sequence[PlannedStep]
    status_changes_lost: int | None = 0


@dataclass(frozen=True, slots=True)
class AdminRefusal:
    """Why nothing was begun. `field` is the path in the input that it is about ("acknowledgeCost")."""

    reason: Reason
    message: str
    field: str | None = None
    differences: Sequence[Difference] = ()
    operation_id: str | None = None


class WorkState(Enum):
    """How far an operation or one of its steps has come. SKIPPED: a step that was not reached."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class OperationStep:
    """One step of an operation. Its times are the clock's of whoever runs it; `progress` is 0 to 1."""

    name: str
    resource: str
    state: WorkState = WorkState.PENDING
    progress: float = 0.0
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OperationFailure:
    """Why an operation ended without its end being reached, and what to do. `reason` is one of ours."""

    reason: Reason
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """A piece of long work. `durable` says that it is kept in the database, and outlives this process."""

    id: str
    kind: OperationKind
    state: WorkState
    progress: float
    steps: Sequence[OperationStep]
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    durable: bool
    failure: OperationFailure | None = None


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Operations, newest first."""

    operations: Sequence[Operation]
    more: bool


@dataclass(frozen=True, slots=True)
class AdminOutcome:
    """What became of a request.

    Refused: refusals, and the plan where one could be made. A dry run: the plan, and as refusals what stands in its
    way. Begun or found under way: the operation and the plan.
    """

    plan: Plan | None = None
    operation: Operation | None = None
    refusals: Sequence[AdminRefusal] = field(default=())


class Administration(Protocol):
    """What stands behind the API, and the changing of it.

    All of it may raise ApiError: CONTROL_PLANE_NOT_CONFIGURED where no platform is set, CONTROL_PLANE_UNAVAILABLE and
    the like where it does not answer, PERMISSION_MISSING. Names are checked by the caller, before they come here.
    """

    @property
    def configured(self) -> Configured:
        """The names that this server is set to."""

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of all instances that the server's identity may see, as the platform pages them."""

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name."""

    async def catalog(self, name: str) -> Catalog | None:
        """The catalog of a database with this name."""

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name, catalog.schema.table."""

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """The indexes on its PostgreSQL table, which is asked."""

    async def submit(self, request: AdminRequest, user: str) -> AdminOutcome:
        """Plan the work, and begin it unless something is in the way or it is a dry run. Answers at once.

        What it tells in an outcome it has left an audit entry of; what it raises, the caller notes.
        """

    async def operation(self, id_: str) -> Operation | None:
        """The operation with this id."""

    async def operations(self, *, size: int, after: str | None) -> OperationPage:
        """Operations, newest first, after the one with that id."""

    def progress(self, id_: str) -> AsyncGenerator[Operation, None]:
        """The operation as it is, and anew whenever it has come further; ends with its end. Nothing where none is."""

    async def note_refused(self, user: str, action: str, reason: Reason) -> None:
        """Leave an audit entry of an action that was not let through: a field's name, and why. It never fails."""
