"""The port of administration: what an operator asks for, and the outcome.

Nothing here is specific to one control plane, except where it says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from schema.ports.admin.instances import Flavour

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from datetime import datetime

    from schema.errors import Reason
    from schema.ports.admin.audit import AuditEntry, AuditFilter, AuditPage, AuditPosition
    from schema.ports.admin.branches import Branch, BranchChange, BranchSpec, Endpoint, Snapshot, SnapshotSpec
    from schema.ports.admin.instances import Instance, InstanceChange, InstancePage, InstanceSpec
    from schema.ports.admin.operations import Operation, OperationKind, OperationPage
    from schema.ports.admin.plans import Difference, Plan
    from schema.ports.admin.tables import Catalog, CatalogSpec, ServedTable, SyncedTable, SyncedTableSpec, TableIndex


@dataclass(frozen=True, slots=True)
class Configured:
    """The names that this server is configured with; None for each that is not configured.

    `table_name` is the synced table of the orders, and `others` are the other served tables. `flavour` is that of all
    instances. `branch` is the branch of the instance that is served, if instances have any.
    """

    instance_name: str | None
    catalog_name: str | None
    database_name: str | None
    table_name: str | None
    flavour: Flavour = Flavour.PROVISIONED
    branch: str | None = None
    others: tuple[ServedTable, ...] = ()

    @property
    def table_names(self) -> tuple[str, ...]:
        """The synced tables of all served tables, that of the orders first; none if no catalog is configured."""
        return () if self.table_name is None else (self.table_name, *(one.name for one in self.others))

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


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """What an operator asks for. Which fields are set depends on the kind.

    CREATE_INSTANCE: instance. UPDATE_INSTANCE: change. CREATE_CATALOG: catalog. CREATE_SYNCED_TABLE: table.
    PROVISION: instance, catalog and table. DELETE_INSTANCE, UNDELETE_INSTANCE: instance_name. DELETE_CATALOG:
    catalog_name. DELETE_SYNCED_TABLE, REFRESH_SYNCED_TABLE, ENSURE_INDEXES: table_name. TEARDOWN: all three names.
    CREATE_BRANCH, RESTORE: branch. UPDATE_BRANCH: branch_change. DELETE_BRANCH, UNDELETE_BRANCH: instance_name and
    branch_name. CREATE_SNAPSHOT: snapshot. DELETE_SNAPSHOT: instance_name and snapshot_name. REFRESH_SYNCED_TABLE and
    TEARDOWN may ask for a `safety_net`. PROVISION, TEARDOWN, REFRESH_SYNCED_TABLE and ENSURE_INDEXES may be about
    `others` too: more synced tables in the same catalog. Only PROVISION needs more of them than their names.
    ENSURE_INDEXES may be about indexes of `text` too.
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
    others: tuple[SyncedTableSpec, ...] = ()
    text: bool = False


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
