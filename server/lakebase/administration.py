"""The schema's `Administration`: plans and begins operations, finds them, and reads resources of the platform."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from schema.errors import ForbiddenError, PlatformError, Reason, UnavailableError
from schema.ports.admin.administration import AdminOutcome, AdminRefusal
from schema.ports.admin.audit import AuditOutcome
from schema.ports.admin.operations import OperationPage
from server.lakebase.database.audit_entry import ACTIONS, CANCEL, INPUT, RESOURCES, input_text, new_entry
from server.lakebase.database.inspection import location_of
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.plans.planner import Planner
from server.observability.redaction import secrets_known

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from schema.ports.admin.administration import AdminRequest, Configured, CopyOf
    from schema.ports.admin.audit import AuditEntry, AuditFilter, AuditPage, AuditPosition
    from schema.ports.admin.branches import Branch, Endpoint, Snapshot
    from schema.ports.admin.instances import Instance, InstancePage
    from schema.ports.admin.operations import Operation
    from schema.ports.admin.tables import Catalog, SyncedTable, TableIndex
    from server.lakebase.database.audit import AuditLog
    from server.lakebase.database.lineage import Lineage
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.runner import Runner
    from server.lakebase.services import Services

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_UNKNOWN_OPERATION: Final = AdminRefusal(
    Reason.RESOURCE_NOT_FOUND,
    "Neither the database nor this process knows an operation with this id. An operation that is not `durable` is "
    "known only to the process that runs it: send this again until it reaches that process, or stop that process.",
    "id",
)


class LakebaseAdministration:
    """The schema's `Administration`, over one workspace.

    Most methods also start a search for orphaned operations, in the background.

    Args:
        services: makes the services of plans and steps.
        store: where operations are kept.
        audit: the audit.
        runner: runs the operations of this process.
        configured: the names that this server is configured with.
        lineage: knows whether the served database is a copy.
        hosting: the instance whose database keeps the operations.
        app_schema: the schema of the server's own tables.
    """

    def __init__(
        self,
        services: Callable[[], Awaitable[Services]],
        store: OperationStore,
        audit: AuditLog,
        runner: Runner,
        configured: Configured,
        lineage: Lineage,
        *,
        hosting: str | None,
        app_schema: str,
    ) -> None:
        self._app_schema = app_schema
        self._services = services
        self._store = store
        self._audit = audit
        self._runner = runner
        self._configured = configured
        self._lineage = lineage
        self._hosting = hosting

    @property
    def configured(self) -> Configured:
        """The names that this server is configured with."""
        return self._configured

    async def copy_of(self) -> CopyOf | None:
        """What the served database is a copy of, looked up now."""
        return await self._lineage.copy_of()

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of instances, by one call."""
        self._runner.look_for_orphans()
        return await (await self._services()).platform.instances(size=size, token=token)

    async def instances_in_full(self, instances: Sequence[Instance]) -> Sequence[Instance]:
        """The same instances with what the platform's page left out, as far as it can be read in time."""
        return await (await self._services()).platform.in_full(instances)

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name, also one that is deleted and not purged."""
        self._runner.look_for_orphans()
        platform = (await self._services()).platform
        return await platform.instance(name) or await platform.deleted_instance(name)

    async def branches(self, instance: str) -> Sequence[Branch]:
        """The branches of an instance, by one call; deleted ones that are not purged too."""
        return await (await self._services()).platform.branches(instance)

    async def branch(self, instance: str, name: str) -> Branch | None:
        """The branch with this name, by one call; also one that is deleted and not purged."""
        branching = (await self._services()).platform.branching
        return await branching.branch(instance, name) if branching else None

    async def endpoints(self, branch: Branch) -> Sequence[Endpoint]:
        """The endpoints of a branch, by one call."""
        return await (await self._services()).platform.endpoints(branch.path)

    async def snapshots(self, instance: str) -> Sequence[Snapshot]:
        """The snapshots of an instance, by one call."""
        branching = (await self._services()).platform.branching
        return await branching.snapshots(instance) if branching else ()

    async def catalog(self, name: str) -> Catalog | None:
        """The catalog with this name, by one call."""
        self._runner.look_for_orphans()
        return await (await self._services()).platform.catalog(name)

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name. If the platform does not tell its id, Unity Catalog does."""
        self._runner.look_for_orphans()
        platform = (await self._services()).platform
        found = await platform.synced_table(name)
        if found is None or found.uid is not None:
            return found
        try:
            return replace(found, uid=await platform.unity.table_uid(name))
        except (ForbiddenError, PlatformError):
            return found

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """The indexes of a synced table, by one statement on a new connection."""
        return await (await self._services()).indexes.found(location_of(table))

    async def submit(self, request: AdminRequest, user: str, arguments: Mapping[str, Any]) -> AdminOutcome:
        """Plan a request, and begin its operation unless it is refused, a dry run, or everything is as wanted."""
        self._runner.look_for_orphans()
        services = await self._services()
        planner = Planner(
            services,
            self._store,
            self._configured,
            hosting=self._hosting,
            app_schema=self._app_schema,
            copy_of=self._lineage.copy_of,
        )
        draft = await planner.plan(request)
        if request.dry_run:
            return AdminOutcome(draft.plan, refusals=tuple(draft.refusals))
        draft.facts[INPUT] = input_text(arguments)
        draft.facts[RESOURCES] = [secrets_known.scrub(resource) for resource in draft.resources]
        operation = OperationRecord(request, tuple(draft.resources), draft.operation_steps, draft.facts, user)
        other = self._runner.conflicting(operation) or await self._store.conflicting(operation)
        if other is None and not draft.refusals and draft.changes_nothing:
            await self._note(operation, AuditOutcome.UNCHANGED)
            return AdminOutcome(draft.plan)
        if other is None and not draft.refusals:
            # Shielded: if the client disconnects now, an operation that was stored must still be started and audited.
            other = await asyncio.shield(asyncio.create_task(self._begin(operation)))
        if other is not None and other.ended:
            raise UnavailableError(
                Reason.DATABASE_UNAVAILABLE,
                f"{ACTIONS[other.request.kind]} has ended on the same resources, but the database has not recorded it "
                "yet. Try again shortly.",
            )
        if other is not None and other.fingerprint == operation.fingerprint:
            await self._note(operation, AuditOutcome.FOUND, id_=other.id)
            return AdminOutcome(draft.plan, other.snapshot())
        if other is not None:
            # The other operation is about to change what the plan found, so the plan's refusals mean nothing.
            draft.refusals.clear()
            draft.refuse(
                Reason.OPERATION_IN_PROGRESS,
                f"Another operation ({ACTIONS[other.request.kind]}) is working on "
                f"{', '.join(sorted(set(other.resources) & set(operation.resources)))}. Wait until it ends.",
                operation_id=other.id,
            )
        if draft.refusals:
            await self._note(operation, AuditOutcome.REFUSED, reason=draft.refusals[0].reason)
            return AdminOutcome(draft.plan, refusals=tuple(draft.refusals))
        return AdminOutcome(draft.plan, operation.snapshot())

    async def _begin(self, operation: OperationRecord) -> OperationRecord | None:
        """Store and start an operation. If a conflicting one exists, return that one instead."""
        insist = f"instance {self._hosting}".lower() in operation.resources
        other = await self._store.begin(operation, insist=insist)
        if other is None:
            self._runner.start(operation)
            await self._note(operation, AuditOutcome.BEGUN, id_=operation.id)
        return other

    async def cancel(self, id_: str, user: str, arguments: Mapping[str, Any]) -> AdminOutcome:
        """Ask for the cancellation of an operation, whichever process runs it. The operation ends at its next look."""
        self._runner.look_for_orphans()
        found = await self._runner.request_cancel(id_, user) if _UUID.fullmatch(id_) else None
        if found is None:
            await self.note_refused(user, CANCEL, Reason.RESOURCE_NOT_FOUND, arguments)
            return AdminOutcome(refusals=(_UNKNOWN_OPERATION,))
        await self._audit.write(
            new_entry(
                user,
                CANCEL,
                AuditOutcome.FOUND if found.ended else AuditOutcome.BEGUN,
                input_=input_text(arguments),
                resources=found.resources,
                operation_id=found.id,
            )
        )
        return AdminOutcome(operation=found.snapshot())

    async def operation(self, id_: str) -> Operation | None:
        """The operation with this id, whichever process runs it."""
        self._runner.look_for_orphans()
        operation = await self._runner.find(id_) if _UUID.fullmatch(id_) else None
        return operation.snapshot() if operation else None

    async def operations(self, *, size: int, after: str | None) -> OperationPage:
        """Operations, newest first, by one statement."""
        self._runner.look_for_orphans()
        last = await self._runner.find(after) if after and _UUID.fullmatch(after) else None
        found = await self._store.page(size=size + 1, after=last)
        # An operation that this process runs may be ahead of its row.
        current = [self._runner.running(operation.id) or operation for operation in found[:size]]
        return OperationPage([operation.snapshot() for operation in current], more=len(found) > size)

    async def progress(self, id_: str) -> AsyncGenerator[Operation, None]:
        """Yield the operation now and after every change. The database is polled for one of another process."""
        self._runner.look_for_orphans()
        if _UUID.fullmatch(id_):
            async for operation in self._runner.progress(id_):
                yield operation

    async def audit(self, wanted: AuditFilter, *, size: int, after: AuditPosition | None) -> AuditPage:
        """A page of the audit, newest first."""
        self._runner.look_for_orphans()
        return await self._audit.page(wanted, size=size, after=after)

    async def audit_entry(self, id_: str) -> AuditEntry | None:
        """The entry of the audit with this id."""
        return await self._audit.find(id_)

    async def note_refused(self, user: str, action: str, reason: Reason, arguments: Mapping[str, Any]) -> None:
        """Write an audit entry of a refused action."""
        await self._audit.write(
            new_entry(user, action, AuditOutcome.REFUSED, input_=input_text(arguments), reason=reason)
        )

    async def _note(
        self, operation: OperationRecord, outcome: AuditOutcome, *, reason: Reason | None = None, id_: str | None = None
    ) -> None:
        """Write an audit entry; `id_` is the operation that was returned to the caller."""
        await self._audit.write(
            new_entry(
                operation.requested_by,
                ACTIONS[operation.request.kind],
                outcome,
                input_=operation.facts[INPUT],
                resources=operation.resources,
                reason=reason,
                operation_id=id_,
            )
        )
