"""Plans and refusals, as the schema shows them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from enum import Enum

import strawberry

from schema.admin.guard import WithDeadline
from schema.admin.operations import Operation, operation_with_key
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.errors import Reason
from schema.ports.admin import administration as ports
from schema.ports.admin import plans as plan_ports


@strawberry.enum(description="Why nothing was started.")
class AdminErrorCode(Enum):
    """The reasons that are reported in `userErrors`."""

    NAME_INVALID = strawberry.enum_value(
        Reason.NAME_INVALID, description="A name is missing, or is not valid on the platform."
    )
    SETTING_INVALID = strawberry.enum_value(
        Reason.SETTING_INVALID, description="A property is out of range, or does not fit another one."
    )
    COST_NOT_ACKNOWLEDGED = strawberry.enum_value(
        Reason.COST_NOT_ACKNOWLEDGED, description="This costs money, and `acknowledgeCost` is not `true`."
    )
    DELETION_NOT_CONFIRMED = strawberry.enum_value(
        Reason.DELETION_NOT_CONFIRMED, description="This deletes something, and `confirmDeletion` is not `true`."
    )
    STATUS_CHANGES_AT_STAKE = strawberry.enum_value(
        Reason.STATUS_CHANGES_AT_STAKE,
        description="Status changes would lose their only copy, and `discardStatusChanges` is not `true`.",
    )
    SPEC_CONFLICT = strawberry.enum_value(
        Reason.SPEC_CONFLICT,
        description="The name is taken by an object with other properties (`differences`), or of another kind.",
    )
    NAME_HELD = strawberry.enum_value(
        Reason.NAME_HELD, description="A deleted object keeps the name until it is purged, at `purgeAt`."
    )
    PROTECTED = strawberry.enum_value(
        Reason.PROTECTED, description="A protected branch must not be deleted, and neither must its instance."
    )
    OPERATION_IN_PROGRESS = strawberry.enum_value(
        Reason.OPERATION_IN_PROGRESS, description="Another operation, `operation`, is working on the same object."
    )
    RESOURCE_NOT_FOUND = strawberry.enum_value(Reason.RESOURCE_NOT_FOUND, description="Nothing with this name exists.")
    RESOURCE_IN_USE = strawberry.enum_value(
        Reason.RESOURCE_IN_USE, description="Other objects depend on it; the message names them. Delete them first."
    )
    RESOURCE_NOT_READY = strawberry.enum_value(
        Reason.RESOURCE_NOT_READY, description="It is not in a state for this, for example because it is stopped."
    )
    SOURCE_INVALID = strawberry.enum_value(
        Reason.SOURCE_INVALID, description="The source table does not exist, cannot be read, or lacks a column."
    )


@strawberry.enum(description="What a step of a plan would do.")
class PlanAction(Enum):
    """Each value is the port's enum member."""

    CREATE = strawberry.enum_value(plan_ports.PlanAction.CREATE, description="Create it.")
    UPDATE = strawberry.enum_value(plan_ports.PlanAction.UPDATE, description="Change it.")
    START = strawberry.enum_value(plan_ports.PlanAction.START, description="Start it.")
    STOP = strawberry.enum_value(plan_ports.PlanAction.STOP, description="Stop it.")
    DELETE = strawberry.enum_value(plan_ports.PlanAction.DELETE, description="Delete it.")
    UNDELETE = strawberry.enum_value(plan_ports.PlanAction.UNDELETE, description="Bring it back.")
    SYNC = strawberry.enum_value(plan_ports.PlanAction.SYNC, description="Copy the source again.")
    BUILD = strawberry.enum_value(plan_ports.PlanAction.BUILD, description="Build its indexes.")
    NOTHING = strawberry.enum_value(plan_ports.PlanAction.NOTHING, description="Nothing: it is as specified.")


@strawberry.type(description="A property that differs from what the input specifies.")
class Difference:
    """One property."""

    field: str = strawberry.field(description="The name of the property in the input.")
    current: str = strawberry.field(description="The current value, as text.")
    wanted: str = strawberry.field(description="The wanted value, as text.")

    @classmethod
    def of(cls, one: plan_ports.Difference) -> Difference:
        """Convert the port's difference."""
        return cls(field=one.field, current=one.current, wanted=one.wanted)


@strawberry.type(description="One step of a plan.")
class PlannedStep:
    """One step."""

    name: str = strawberry.field(
        description="A short name for what the step does. The operation's step has the same name."
    )
    action: PlanAction = strawberry.field(description="What the step would do.")
    resource: str = strawberry.field(description="The resource, for example `instance orders-pg`.")
    exists: bool | None = strawberry.field(
        description="Whether the resource exists already; null if that cannot be known."
    )
    message: str = strawberry.field(description="What the step would do, in words.")
    differences: list[Difference] = strawberry.field(description="The properties that would change, or that conflict.")
    costs: bool = strawberry.field(
        description=(
            "Whether the step costs money. If it costs from then on, `acknowledgeCost: true` is needed. A `SYNC` "
            "costs only while its pipeline runs, and needs no acknowledgement."
        )
    )


@strawberry.type(description="What a mutation does, or would do.")
class Plan:
    """The steps."""

    steps: list[PlannedStep] = strawberry.field(description="The steps, in order.")
    status_changes_lost: int | None = strawberry.field(
        description=(
            "How many status changes would lose their only copy; null if they could not be counted. Of an instance: "
            "how many are recorded on its branches, each of which has copies of those that its source had."
        )
    )

    @classmethod
    def of(cls, plan: plan_ports.Plan) -> Plan:
        """Convert the port's plan."""
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


@strawberry.type(description="Why nothing was started. All mistakes of an input are reported at once.")
class AdminError:
    """One refusal."""

    operation_key: strawberry.Private[str | None]

    code: AdminErrorCode = strawberry.field(description="The reason, for programs.")
    field: list[str] = strawberry.field(
        description="The path of the argument that the error is about, from `input` on."
    )
    message: str = strawberry.field(description="The reason, for people, and what to do.")
    differences: list[Difference] = strawberry.field(description="With SPEC_CONFLICT: the properties that differ.")
    purge_at: datetime | None = strawberry.field(
        description="With NAME_HELD: when the deleted object will be purged, and its name be free."
    )

    @strawberry.field(
        description="With OPERATION_IN_PROGRESS: that operation, as it is now. Looked up only if selected.",
        extensions=[WithDeadline()],
    )
    async def operation(self, info: Info) -> Operation | None:
        """The operation that prevents this one."""
        return None if self.operation_key is None else await operation_with_key(info, self.operation_key)

    @classmethod
    def of(cls, refusal: ports.AdminRefusal) -> AdminError:
        """Convert the port's refusal."""
        return cls(
            code=AdminErrorCode(refusal.reason),
            field=["input", *(refusal.field.split(".") if refusal.field else [])],
            message=refusal.message,
            differences=[Difference.of(one) for one in refusal.differences],
            purge_at=refusal.purge_at,
            operation_key=refusal.operation_id,
        )
