"""Owns what the admin mutations answer with: the plan, the operation, why nothing was begun, and what is there now."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

import strawberry

from schema.admin.guard import InTime
from schema.admin.operations import Operation, operation_with_key
from schema.admin.types import (
    DatabaseCatalog,
    DatabaseInstance,
    SyncedTable,
    catalog_named,
    instance_named,
    synced_table_named,
)
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.errors import Reason
from schema.ports import administration as ports

_NOW = (
    "as it is now, which is often before the operation has come that far. Looked up when it is selected; null where "
    "there is none, and where the input was refused."
)


@strawberry.enum(description="Why nothing was begun.")
class AdminErrorCode(Enum):
    """The reasons that stand in `userErrors`."""

    NAME_INVALID = strawberry.enum_value(
        Reason.NAME_INVALID, description="A name that the platform does not take, or one that is missing."
    )
    SETTING_INVALID = strawberry.enum_value(
        Reason.SETTING_INVALID, description="A property out of its range, or one that does not go with another."
    )
    COST_NOT_ACKNOWLEDGED = strawberry.enum_value(
        Reason.COST_NOT_ACKNOWLEDGED, description="It costs money, and `acknowledgeCost` is not `true`."
    )
    DELETION_NOT_CONFIRMED = strawberry.enum_value(
        Reason.DELETION_NOT_CONFIRMED, description="It deletes, and `confirmDeletion` is not `true`."
    )
    STATUS_CHANGES_AT_STAKE = strawberry.enum_value(
        Reason.STATUS_CHANGES_AT_STAKE,
        description="Status changes would lose their only copy, and `discardStatusChanges` is not `true`.",
    )
    SPEC_CONFLICT = strawberry.enum_value(
        Reason.SPEC_CONFLICT, description="The name is taken by one that is otherwise: `differences` says how."
    )
    OPERATION_IN_PROGRESS = strawberry.enum_value(
        Reason.OPERATION_IN_PROGRESS, description="Another operation is at work on the same: `operation` is that one."
    )
    RESOURCE_NOT_FOUND = strawberry.enum_value(Reason.RESOURCE_NOT_FOUND, description="There is nothing of this name.")
    RESOURCE_IN_USE = strawberry.enum_value(
        Reason.RESOURCE_IN_USE, description="Something stands on it: delete that first."
    )
    RESOURCE_NOT_READY = strawberry.enum_value(
        Reason.RESOURCE_NOT_READY, description="It is in no state for this: stopped, say."
    )
    SOURCE_INVALID = strawberry.enum_value(
        Reason.SOURCE_INVALID, description="The source does not exist, may not be read, or lacks a column."
    )


@strawberry.enum(description="What a step of a plan would do.")
class PlanAction(Enum):
    """A value is the port's."""

    CREATE = strawberry.enum_value(ports.PlanAction.CREATE, description="Make it.")
    UPDATE = strawberry.enum_value(ports.PlanAction.UPDATE, description="Change it.")
    START = strawberry.enum_value(ports.PlanAction.START, description="Start it.")
    STOP = strawberry.enum_value(ports.PlanAction.STOP, description="Stop it.")
    DELETE = strawberry.enum_value(ports.PlanAction.DELETE, description="Delete it.")
    SYNC = strawberry.enum_value(ports.PlanAction.SYNC, description="Copy the source again.")
    BUILD = strawberry.enum_value(ports.PlanAction.BUILD, description="Build its indexes.")
    NOTHING = strawberry.enum_value(ports.PlanAction.NOTHING, description="Leave it: it is as wanted.")


@strawberry.type(description="A property that is not as it is wanted.")
class Difference:
    """One property."""

    field: str = strawberry.field(description="The property, as the input names it.")
    current: str = strawberry.field(description="How it is, as text.")
    wanted: str = strawberry.field(description="How it is wanted, as text.")

    @classmethod
    def of(cls, one: ports.Difference) -> Difference:
        """The difference as it is answered."""
        return cls(field=one.field, current=one.current, wanted=one.wanted)


@strawberry.type(description="One step of a plan.")
class PlannedStep:
    """One step."""

    name: str = strawberry.field(description="What it does, as a short name: that of the operation's step.")
    action: PlanAction = strawberry.field(description="What it would do.")
    resource: str = strawberry.field(description="What it would do it to: `instance orders-pg`, say.")
    exists: bool | None = strawberry.field(description="Whether that exists already; null where it cannot be known.")
    message: str = strawberry.field(description="The same in words.")
    differences: list[Difference] = strawberry.field(description="What would change of it, or is otherwise.")
    costs: bool = strawberry.field(description="Whether it costs money from then on: give `acknowledgeCost: true`.")


@strawberry.type(description="What a mutation does, or would do, in its order.")
class Plan:
    """The steps."""

    steps: list[PlannedStep] = strawberry.field(description="The steps, in their order.")
    status_changes_lost: int | None = strawberry.field(
        description=(
            "How many status changes would be destroyed with their only copy: 0 where none would, null where they "
            "could not be counted."
        )
    )

    @classmethod
    def of(cls, plan: ports.Plan) -> Plan:
        """The plan as it is answered."""
        return cls(
            steps=[
                PlannedStep(
                    name=step.name,
                    action=PlanAction(step.action),
                    resource=step.resource,
                    exists=step.exists,
                    message=step.message,
                    differences=[Difference.of(one) for one in step.differences],
                    costs=step.costs,
                )
                for step in plan.steps
            ],
            status_changes_lost=plan.status_changes_lost,
        )


@strawberry.type(description="Why nothing was begun, or could not be. All mistakes are told at once.")
class AdminError:
    """One refusal."""

    operation_key: strawberry.Private[str | None]

    code: AdminErrorCode = strawberry.field(description="Why, for programs.")
    field: list[str] = strawberry.field(description="The path of the argument that it is about, from `input` on.")
    message: str = strawberry.field(description="Why, for people, and what to do.")
    differences: list[Difference] = strawberry.field(description="With SPEC_CONFLICT: what is otherwise than wanted.")

    @strawberry.field(
        description="With OPERATION_IN_PROGRESS: that operation, as it is now. Looked up when it is selected.",
        extensions=[InTime()],
    )
    async def operation(self, info: Info) -> Operation | None:
        """The one that is in the way."""
        return None if self.operation_key is None else await operation_with_key(info, self.operation_key)

    @classmethod
    def of(cls, refusal: ports.AdminRefusal) -> AdminError:
        """The refusal as it is answered."""
        return cls(
            code=AdminErrorCode(refusal.reason),
            field=["input", *(refusal.field.split(".") if refusal.field else [])],
            message=refusal.message,
            differences=[Difference.of(one) for one in refusal.differences],
            operation_key=refusal.operation_id,
        )


@strawberry.interface(
    description=(
        "What became of an admin mutation. Refused: `userErrors`, and the plan where one could be made. A dry run: "
        "the plan, and in `userErrors` what stands in its way. Otherwise the operation, begun or found under way, and "
        "the plan. None of it waits for the end: watch the operation."
    )
)
class AdminPayload:
    """The fields of every payload. `request` is None where the input was refused as it stands."""

    request: strawberry.Private[ports.AdminRequest | None]

    operation: Operation | None = strawberry.field(
        description="The work that was begun, or was under way already. Null in a dry run and where it was refused."
    )
    plan: Plan | None = strawberry.field(
        description="The steps, what exists already and what changes. Null where the input was refused as it stands."
    )
    user_errors: list[AdminError] = strawberry.field(
        description="Why nothing was begun, or in a dry run could not be; empty where all is well."
    )


@strawberry.type
class _OfInstance(AdminPayload):
    @strawberry.field(description=f"The instance {_NOW}", extensions=[InTime()])
    async def database_instance(self, info: Info) -> DatabaseInstance | None:
        """A question of its own to the platform."""
        asked = self.request and (self.request.instance or self.request.change)
        return await instance_named(info, asked.name if asked else None)


@strawberry.type
class _OfCatalog(AdminPayload):
    @strawberry.field(description=f"The catalog {_NOW}", extensions=[InTime()])
    async def database_catalog(self, info: Info) -> DatabaseCatalog | None:
        """A question of its own to the platform."""
        asked = self.request and self.request.catalog
        return await catalog_named(info, asked.name if asked else None)


@strawberry.type
class _OfTable(AdminPayload):
    @strawberry.field(description=f"The synced table {_NOW}", extensions=[InTime()])
    async def synced_table(self, info: Info) -> SyncedTable | None:
        """A question of its own to the platform."""
        if self.request is None:
            return None
        wanted = self.request.table
        return await synced_table_named(info, wanted.name if wanted else self.request.table_name)


@strawberry.type(description="What became of createDatabaseInstance.")
class CreateDatabaseInstancePayload(_OfInstance):
    """One outcome."""


@strawberry.type(description="What became of updateDatabaseInstance.")
class UpdateDatabaseInstancePayload(_OfInstance):
    """One outcome."""


@strawberry.type(description="What became of deleteDatabaseInstance.")
class DeleteDatabaseInstancePayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="What became of createDatabaseCatalog.")
class CreateDatabaseCatalogPayload(_OfCatalog):
    """One outcome."""


@strawberry.type(description="What became of deleteDatabaseCatalog.")
class DeleteDatabaseCatalogPayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="What became of createSyncedTable.")
class CreateSyncedTablePayload(_OfTable):
    """One outcome."""


@strawberry.type(description="What became of deleteSyncedTable.")
class DeleteSyncedTablePayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="What became of refreshSyncedTable.")
class RefreshSyncedTablePayload(_OfTable):
    """One outcome."""


@strawberry.type(description="What became of ensureOrderIndexes.")
class EnsureOrderIndexesPayload(_OfTable):
    """One outcome."""


@strawberry.type(description="What became of provisionLakebase.")
class ProvisionLakebasePayload(_OfInstance, _OfCatalog, _OfTable):
    """One outcome."""


@strawberry.type(description="What became of teardownLakebase.")
class TeardownLakebasePayload(AdminPayload):
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
