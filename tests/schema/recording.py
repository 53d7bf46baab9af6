"""An administration that records its calls, and the execution of documents against it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from schema import DocumentLimits, build_schema
from schema.context import Context, PageLimits
from schema.errors import ApiError
from schema.permissions import Principal, Role
from schema.ports.admin import administration as ports
from schema.ports.admin import branches as branch_ports
from schema.ports.admin import instances as instance_ports
from schema.ports.admin import operations as operation_ports
from schema.ports.admin import tables as table_ports
from schema.ports.admin.audit import AuditEntry, AuditPage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from strawberry.types import ExecutionResult

    from schema.errors import Reason
    from schema.ports.admin.audit import AuditFilter, AuditPosition

SCHEMA = build_schema(limits=DocumentLimits(root_mutations=2))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONFIGURED = ports.Configured("orders-pg", "orders", "orders_db", "orders.public.orders_synced")
UNSET = ports.Configured(None, None, None, None)


def instance(name: str = "orders-pg") -> instance_ports.Instance:
    """An instance with this name."""
    return instance_ports.Instance(
        name=name,
        uid="8c66",
        state=instance_ports.InstanceState.AVAILABLE,
        capacity="CU_1",
        node_count=1,
        readable_secondaries=False,
        retention_days=7,
        stopped=False,
        postgres_version="PG_VERSION_16",
        creator="ann@example.com",
        created_at=NOON,
        host="10.0.0.1",
        read_only_host=None,
    )


def branch(name: str = "production", instance: str = "orders-pg") -> branch_ports.Branch:
    """A branch with this name."""
    return branch_ports.Branch(
        path=f"projects/{instance}/branches/{name}",
        name=name,
        instance_name=instance,
        uid="b1",
        state=branch_ports.BranchState.READY,
        is_default=name == "production",
        is_protected=False,
        source=None if name == "production" else "production",
        source_time=None if name == "production" else NOON,
        source_snapshot=None,
        created_at=NOON,
        expires_at=None,
        deleted_at=None,
        purge_at=None,
        size_bytes=3_000_000_000,
    )


def endpoint(of: branch_ports.Branch) -> branch_ports.Endpoint:
    """The endpoint of a branch, which is asleep."""
    return branch_ports.Endpoint(
        path=f"{of.path}/endpoints/primary",
        name="primary",
        uid="e1",
        kind=branch_ports.EndpointKind.READ_WRITE,
        state=branch_ports.EndpointState.IDLE,
        changing=False,
        host="10.0.0.1",
        read_only_host=None,
        min_cu=0.5,
        max_cu=4.0,
        size=1,
        readable_secondaries=False,
        suspend_after_seconds=300,
        disabled=False,
        last_active_at=NOON,
    )


def synced_table(name: str = "orders.public.orders_synced") -> table_ports.SyncedTable:
    """A synced table with this name, half copied."""
    return table_ports.SyncedTable(
        name=name,
        uid="77f5",
        instance_name="orders-pg",
        database_name="orders_db",
        source="samples.tpch.orders",
        primary_key=("o_orderkey",),
        timeseries_key=None,
        policy=table_ports.SyncPolicy.SNAPSHOT,
        state=table_ports.SyncState.PROVISIONING_INITIAL_SNAPSHOT,
        message="Copying.",
        catalog_state="ACTIVE",
        progress=0.5,
        rows_synced=3_000_000_000,
        rows_total=6_000_000_000,
        estimated_completion_seconds=60.0,
        last_sync_started_at=None,
        last_sync_finished_at=None,
        source_version=None,
        source_committed_at=None,
        pipeline_id="p1",
        pipeline_url="https://example.com/pipelines/p1",
    )


def operation(
    id_: str = "op1", state: operation_ports.OperationState = operation_ports.OperationState.RUNNING, **more: Any
) -> operation_ports.Operation:
    """An operation with this id."""
    step = operation_ports.OperationStep("create instance", "instance orders-pg", state, progress=0.5, started_at=NOON)
    return operation_ports.Operation(
        id=id_,
        kind=operation_ports.OperationKind.PROVISION,
        state=state,
        progress=0.5,
        steps=(step,),
        requested_by="ann",
        requested_at=NOON,
        finished_at=None,
        durable=False,
        **more,
    )


@dataclass
class RecordingAdministration:
    """An Administration that records its calls in `calls`, the audited refusals in `refused`, and arguments in `given`.

    A method with an entry in `failures` raises it. A method in `slow` never returns.
    """

    configured: ports.Configured = CONFIGURED
    outcome: ports.AdminOutcome | None = None
    failures: dict[str, Exception] = field(default_factory=dict)
    slow: frozenset[str] = frozenset()
    story: Sequence[operation_ports.Operation] = ()
    pages: dict[str | None, instance_ports.InstancePage] = field(default_factory=dict)
    calls: list[tuple[str, object]] = field(default_factory=list)
    refused: list[tuple[str, str, Reason]] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    entries: Sequence[AuditEntry] = ()
    copy: ports.CopyOf | None = None

    async def copy_of(self) -> ports.CopyOf | None:
        """The original."""
        await self._record("copy_of", None)
        return self.copy

    async def instances(self, *, size: int, token: str | None) -> instance_ports.InstancePage:
        """One of `pages`."""
        await self._record("instances", (size, token))
        return self.pages[token]

    async def instances_in_full(
        self, instances: Sequence[instance_ports.Instance]
    ) -> Sequence[instance_ports.Instance]:
        """The same instances."""
        await self._record("instances_in_full", [one.name for one in instances])
        return instances

    async def instance(self, name: str) -> instance_ports.Instance | None:
        """An object with this name."""
        await self._record("instance", name)
        return instance(name)

    async def branches(self, instance: str) -> Sequence[branch_ports.Branch]:
        """Two branches, of which one is deleted."""
        await self._record("branches", instance)
        return [branch("production", instance), branch("dev", instance)]

    async def branch(self, instance: str, name: str) -> branch_ports.Branch | None:
        """A branch with this name."""
        await self._record("branch", (instance, name))
        return branch(name, instance)

    async def endpoints(self, branch: branch_ports.Branch) -> Sequence[branch_ports.Endpoint]:
        """One endpoint, which is asleep."""
        await self._record("endpoints", branch.name)
        return [endpoint(branch)]

    async def snapshots(self, instance: str) -> Sequence[branch_ports.Snapshot]:
        """One snapshot."""
        await self._record("snapshots", instance)
        path = f"projects/{instance}/snapshots/monday"
        return [branch_ports.Snapshot(path, "monday", instance, "5a", "production", NOON, None, 2_000, 1_000)]

    async def catalog(self, name: str) -> table_ports.Catalog | None:
        """An object with this name."""
        await self._record("catalog", name)
        return table_ports.Catalog(name, "5eed", "orders-pg", "orders_db")

    async def synced_table(self, name: str) -> table_ports.SyncedTable | None:
        """An object with this name."""
        await self._record("synced_table", name)
        return synced_table(name)

    async def indexes(self, table: table_ports.SyncedTable) -> Sequence[table_ports.TableIndex]:
        """One index."""
        await self._record("indexes", table.name)
        return [table_ports.TableIndex("orders_pkey", "CREATE UNIQUE INDEX ...", valid=True)]

    async def submit(self, request: ports.AdminRequest, user: str, arguments: Mapping[str, Any]) -> ports.AdminOutcome:
        """The outcome. A test that expects no request has none."""
        self.given.append(dict(arguments))
        await self._record("submit", (user, request))
        assert self.outcome is not None, f"sent: {request}"
        return self.outcome

    async def cancel(self, id_: str, user: str, arguments: Mapping[str, Any]) -> ports.AdminOutcome:
        """The outcome."""
        await self._record("cancel", (id_, user, arguments))
        assert self.outcome is not None
        return self.outcome

    async def operation(self, id_: str) -> operation_ports.Operation | None:
        """The first state of this operation in the story."""
        await self._record("operation", id_)
        return next((one for one in self.story if one.id == id_), None)

    async def operations(self, *, size: int, after: str | None) -> operation_ports.OperationPage:
        """A page of the story."""
        await self._record("operations", (size, after))
        keys = [one.id for one in self.story]
        start = 0 if after is None else keys.index(after) + 1
        return operation_ports.OperationPage(self.story[start : start + size], more=start + size < len(keys))

    async def progress(self, id_: str) -> AsyncGenerator[operation_ports.Operation, None]:
        """All states of an operation in the story."""
        await self._record("progress", id_)
        for one in self.story:
            if one.id == id_:
                yield one

    async def note_refused(self, user: str, action: str, reason: Reason, arguments: Mapping[str, Any]) -> None:
        """Record it."""
        self.refused.append((user, action, reason))
        self.given.append(dict(arguments))

    async def audit(self, wanted: AuditFilter, *, size: int, after: AuditPosition | None) -> AuditPage:
        """A page of `entries`, which are newest first. Only `principal` is filtered by."""
        await self._record("audit", (wanted, size, after))
        matching = [one for one in self.entries if wanted.principal in {None, one.principal}]
        found = [one for one in matching if after is None or (one.at, one.id) < (after.at, after.id)]
        return AuditPage(found[:size], len(found) > size, len(found) < len(matching))

    async def audit_entry(self, id_: str) -> AuditEntry | None:
        """The entry of `entries` with this id."""
        await self._record("audit_entry", id_)
        return next((one for one in self.entries if one.id == id_), None)

    async def _record(self, method: str, argument: object) -> None:
        self.calls.append((method, argument))
        if method in self.failures:
            raise self.failures[method]
        if method in self.slow:
            await asyncio.Event().wait()


@dataclass
class RecordingAccount:
    """An account with enough points for everything. It records what it was asked for."""

    paid: list[int] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)

    def pay(self, points: int) -> None:
        """Record it."""
        self.paid.append(points)

    def settle(self, points: int) -> None:
        """Record it."""
        self.settled.append(points)


def context(administration: RecordingAdministration, role: Role = Role.ADMIN) -> Context:
    """A context with an administration, and without the ports of orders."""
    nothing = cast("Any", None)
    return Context(
        principal=Principal("ann", frozenset({role})),
        tables=nothing,
        orders=nothing,
        groups=nothing,
        new_lookup=nothing,
        statuses=nothing,
        history=nothing,
        new_change_lookup=nothing,
        feed=nothing,
        lakebase=administration,
        limits=PageLimits(),
    )


async def run(
    administration: RecordingAdministration, document: str, role: Role = Role.ADMIN, **variables: object
) -> ExecutionResult:
    """The result of a document."""
    return await SCHEMA.execute(document, variable_values=variables, context_value=context(administration, role))


async def answer(administration: RecordingAdministration, document: str, **variables: object) -> dict[str, Any]:
    """The data of a document that has no errors."""
    result = await run(administration, document, Role.ADMIN, **variables)
    assert result.errors is None, result.errors
    assert result.data is not None
    return result.data


def reasons(result: ExecutionResult) -> list[str]:
    """The reason of each error of a result, in order."""
    found = []
    for error in result.errors or []:
        assert isinstance(error.original_error, ApiError), error
        found.append(error.original_error.reason.name)
    return found
