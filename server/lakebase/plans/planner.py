"""Plans a request: what exists, what would be done, and why it may be refused. Planning changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.plans import PlanAction
from server.lakebase.plans.branch import BranchPlans
from server.lakebase.plans.catalog import CatalogPlans
from server.lakebase.plans.drafts.dependents import Dependents
from server.lakebase.plans.drafts.draft import Draft
from server.lakebase.plans.drafts.originals import Originals
from server.lakebase.plans.instance import InstancePlans
from server.lakebase.plans.safety_net import SafetyNetPlans
from server.lakebase.plans.served_tables import ServedTablePlans
from server.lakebase.plans.snapshot import SnapshotPlans
from server.lakebase.plans.synced_table import SyncedTablePlans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from schema.ports.admin.administration import AdminRequest, Configured, CopyOf
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.services import Services

_DELETES: Final = frozenset(
    {
        OperationKind.DELETE_INSTANCE,
        OperationKind.DELETE_CATALOG,
        OperationKind.DELETE_SYNCED_TABLE,
        OperationKind.TEARDOWN,
        OperationKind.DELETE_BRANCH,
        OperationKind.DELETE_SNAPSHOT,
    }
)


class Planner:
    """Plans requests of every kind."""

    def __init__(
        self,
        services: Services,
        store: OperationStore,
        configured: Configured,
        *,
        hosting: str | None,
        app_schema: str,
        copy_of: Callable[[], Awaitable[CopyOf | None]],
    ) -> None:
        dependents = Dependents(services, store, configured)
        originals = Originals(configured, copy_of, hosting=hosting)
        self._instances = InstancePlans(services, dependents, configured, hosting=hosting)
        self._catalogs = CatalogPlans(services, dependents, originals)
        tables = SyncedTablePlans(services, configured, originals, app_schema=app_schema)
        self._served = ServedTablePlans(tables)
        self._nets = SafetyNetPlans(services, store)
        branches = BranchPlans(services, dependents, configured, hosting=hosting)
        snapshots = SnapshotPlans(services)
        self._originals = originals
        self._kinds: Mapping[OperationKind, Callable[[Draft], Awaitable[None]]] = {
            OperationKind.CREATE_INSTANCE: self._instances.create,
            OperationKind.UPDATE_INSTANCE: self._instances.update,
            OperationKind.DELETE_INSTANCE: self._instances.delete,
            OperationKind.UNDELETE_INSTANCE: self._instances.undelete,
            OperationKind.CREATE_CATALOG: self._catalogs.create,
            OperationKind.DELETE_CATALOG: self._catalogs.delete,
            OperationKind.CREATE_SYNCED_TABLE: self._served.create,
            OperationKind.DELETE_SYNCED_TABLE: tables.delete_alone,
            OperationKind.REFRESH_SYNCED_TABLE: self._refresh,
            OperationKind.ENSURE_INDEXES: self._served.build_indexes,
            OperationKind.PROVISION: self._provision,
            OperationKind.TEARDOWN: self._teardown,
            OperationKind.CREATE_BRANCH: branches.create,
            OperationKind.UPDATE_BRANCH: branches.update,
            OperationKind.DELETE_BRANCH: branches.delete,
            OperationKind.UNDELETE_BRANCH: branches.undelete,
            OperationKind.RESTORE: branches.restore,
            OperationKind.CREATE_SNAPSHOT: snapshots.create,
            OperationKind.DELETE_SNAPSHOT: snapshots.delete,
        }

    async def plan(self, request: AdminRequest) -> Draft:
        """The plan of a request, with the reasons to refuse it.

        Raises:
            ApiError: the platform does not answer, or refuses.
        """
        draft = Draft(request)
        await self._kinds[request.kind](draft)
        if branched := request.branch or request.branch_change or request.snapshot:
            # Its instance must not be deleted or changed meanwhile.
            draft.reserve(f"instance {branched.instance_name}")
        elif request.branch_name or request.snapshot_name:
            draft.reserve(f"instance {request.instance_name}")
        if not request.dry_run:
            _check_flags(draft)
        return draft

    async def _provision(self, draft: Draft) -> None:
        await self._instances.create(draft)
        await self._catalogs.create(draft)
        await self._served.create(draft)

    async def _refresh(self, draft: Draft) -> None:
        await self._nets.add(draft)
        await self._served.refresh(draft)

    async def _teardown(self, draft: Draft) -> None:
        await self._nets.add(draft)
        await self._served.delete(draft)
        await self._catalogs.delete(draft)
        await self._instances.delete(draft)
        await self._originals.guard_instance(draft)


def _check_flags(draft: Draft) -> None:
    request, lost = draft.request, draft.status_changes_lost
    if request.kind in _DELETES and not request.confirm_deletion:
        draft.refuse(
            Reason.DELETION_NOT_CONFIRMED,
            "This deletes what the plan shows. Send it with confirmDeletion: true to confirm that.",
            "confirmDeletion",
        )
    if lost != 0 and not request.discard_status_changes:
        held = "Status changes that cannot be counted now" if lost is None else f"{lost:,} recorded status change(s)"
        draft.refuse(
            Reason.STATUS_CHANGES_AT_STAKE,
            f"{held} may lose their only copy. Save them first (python -m server export-changes), or send this with "
            "discardStatusChanges: true.",
            "discardStatusChanges",
        )
    # A sync costs only until it ends, and programs request it often. The plan shows its cost, which is enough.
    costly = [step.resource for step in draft.steps if step.costs and step.action is not PlanAction.SYNC]
    if costly and not request.acknowledge_cost:
        draft.refuse(
            Reason.COST_NOT_ACKNOWLEDGED,
            f"This makes the following cost money, or cost more: {', '.join(dict.fromkeys(costly))}. Send it with "
            "acknowledgeCost: true to accept that.",
            "acknowledgeCost",
        )
