"""The payloads of the admin mutations: the plan, the operation, the errors, and the object as it is now."""

from __future__ import annotations

from typing import TypeVar

import strawberry

from schema.admin.guard import WithDeadline
from schema.admin.operations import Operation
from schema.admin.plans import AdminError, Plan
from schema.admin.types.branches import DatabaseBranch
from schema.admin.types.instances import DatabaseInstance, instance_named
from schema.admin.types.tables import DatabaseCatalog, SyncedTable, catalog_named, synced_table_named
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.ports.admin import administration as ports  # noqa: TC001 # as above

_NOW = (
    "as it is now, usually before the operation has done its work. Looked up only if selected; null if it does not "
    "exist, or if the input was invalid."
)


@strawberry.interface(
    description=(
        "The outcome of an admin mutation. If it was refused: `userErrors`, and the plan if one could be made. For a "
        "dry run: the plan, and in `userErrors` what would prevent it. If everything is as wanted already: the plan. "
        "Otherwise: the plan, and the operation, started now or already running. The mutation does not wait for the "
        "operation: watch `operationProgress`."
    )
)
class AdminPayload:
    """The fields of every payload. `request` is None if the input was invalid."""

    request: strawberry.Private[ports.AdminRequest | None]

    operation: Operation | None = strawberry.field(
        description=(
            "The operation, started now or already running; for `cancelOperation` the one to cancel. Null for a dry "
            "run, a refusal, or if everything is as wanted already."
        )
    )
    plan: Plan | None = strawberry.field(
        description="The steps, what exists already, and what changes. Null if the input was invalid."
    )
    user_errors: list[AdminError] = strawberry.field(
        description="Why nothing was started, or what would prevent a dry run's plan. Empty on success."
    )


@strawberry.type
class _InstancePayload(AdminPayload):
    @strawberry.field(description=f"The instance {_NOW}", extensions=[WithDeadline()])
    async def database_instance(self, info: Info) -> DatabaseInstance | None:
        """Makes one call to the platform."""
        if self.request is None:
            return None
        wanted = self.request.instance or self.request.change
        return await instance_named(info, wanted.name if wanted else self.request.instance_name)


@strawberry.type
class _CatalogPayload(AdminPayload):
    @strawberry.field(description=f"The catalog {_NOW}", extensions=[WithDeadline()])
    async def database_catalog(self, info: Info) -> DatabaseCatalog | None:
        """Makes one call to the platform."""
        wanted = self.request and self.request.catalog
        return await catalog_named(info, wanted.name if wanted else None)


@strawberry.type
class _TablePayload(AdminPayload):
    @strawberry.field(description=f"The synced table {_NOW}", extensions=[WithDeadline()])
    async def synced_table(self, info: Info) -> SyncedTable | None:
        """Makes one call to the platform."""
        if self.request is None:
            return None
        wanted = self.request.table
        return await synced_table_named(info, wanted.name if wanted else self.request.table_name)


@strawberry.type(description="The outcome of createDatabaseInstance.")
class CreateDatabaseInstancePayload(_InstancePayload):
    """One outcome."""


@strawberry.type(description="The outcome of updateDatabaseInstance.")
class UpdateDatabaseInstancePayload(_InstancePayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteDatabaseInstance.")
class DeleteDatabaseInstancePayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of undeleteDatabaseInstance.")
class UndeleteDatabaseInstancePayload(_InstancePayload):
    """One outcome."""


@strawberry.type(description="The outcome of createDatabaseCatalog.")
class CreateDatabaseCatalogPayload(_CatalogPayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteDatabaseCatalog.")
class DeleteDatabaseCatalogPayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of createSyncedTable.")
class CreateSyncedTablePayload(_TablePayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteSyncedTable.")
class DeleteSyncedTablePayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of refreshSyncedTable.")
class RefreshSyncedTablePayload(_TablePayload):
    """One outcome."""


@strawberry.type(description="The outcome of ensureIndexes.")
class EnsureIndexesPayload(_TablePayload):
    """One outcome."""


@strawberry.type(description="The outcome of provisionLakebase.")
class ProvisionLakebasePayload(_InstancePayload, _CatalogPayload, _TablePayload):
    """One outcome."""


@strawberry.type(description="The outcome of teardownLakebase.")
class TeardownLakebasePayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of cancelOperation. Its `plan` is null.")
class CancelOperationPayload(AdminPayload):
    """One outcome."""


@strawberry.type
class _BranchPayload(AdminPayload):
    @strawberry.field(
        description=(
            "The branch as it is now, usually before the operation has done its work. Looked up only if selected; null "
            "if it does not exist, or if the input was invalid."
        ),
        extensions=[WithDeadline()],
    )
    async def database_branch(self, info: Info) -> DatabaseBranch | None:
        """Makes one call to the platform."""
        if self.request is None:
            return None
        wanted = self.request.branch or self.request.branch_change
        instance, name = (
            (wanted.instance_name, wanted.name) if wanted else (self.request.instance_name, self.request.branch_name)
        )
        found = await info.context.lakebase.branch(instance, name) if instance and name else None
        return None if found is None else DatabaseBranch.of(found)


@strawberry.type(description="The outcome of createDatabaseBranch.")
class CreateDatabaseBranchPayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of updateDatabaseBranch.")
class UpdateDatabaseBranchPayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteDatabaseBranch.")
class DeleteDatabaseBranchPayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of undeleteDatabaseBranch.")
class UndeleteDatabaseBranchPayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of restoreDatabase.")
class RestoreDatabasePayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of createDatabaseSnapshot.")
class CreateDatabaseSnapshotPayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteDatabaseSnapshot.")
class DeleteDatabaseSnapshotPayload(AdminPayload):
    """One outcome."""


PayloadT = TypeVar("PayloadT", bound=AdminPayload)


def payload(kind: type[PayloadT], request: ports.AdminRequest | None, outcome: ports.AdminOutcome) -> PayloadT:
    """The payload of this kind for an outcome."""
    return kind(
        request=request,
        operation=None if outcome.operation is None else Operation.of(outcome.operation),
        plan=None if outcome.plan is None else Plan.of(outcome.plan),
        user_errors=[AdminError.of(refusal) for refusal in outcome.refusals],
    )
