"""Owns the types that describe long work: an operation, its steps, how it failed, and pages of operations."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

import strawberry

from schema.admin.names import OPERATION_ID
from schema.errors import InputError, Reason
from schema.permissions import Role
from schema.ports import administration as ports
from schema.relay.node import Node, decode_global_id
from schema.relay.pagination import Connection

if TYPE_CHECKING:
    from schema.context import Info


@strawberry.enum(description="What an operation does.")
class OperationKind(Enum):
    """A value is the port's."""

    CREATE_INSTANCE = strawberry.enum_value(
        ports.OperationKind.CREATE_INSTANCE, description="`createDatabaseInstance`."
    )
    UPDATE_INSTANCE = strawberry.enum_value(
        ports.OperationKind.UPDATE_INSTANCE, description="`updateDatabaseInstance`."
    )
    DELETE_INSTANCE = strawberry.enum_value(
        ports.OperationKind.DELETE_INSTANCE, description="`deleteDatabaseInstance`."
    )
    CREATE_CATALOG = strawberry.enum_value(ports.OperationKind.CREATE_CATALOG, description="`createDatabaseCatalog`.")
    DELETE_CATALOG = strawberry.enum_value(ports.OperationKind.DELETE_CATALOG, description="`deleteDatabaseCatalog`.")
    CREATE_SYNCED_TABLE = strawberry.enum_value(
        ports.OperationKind.CREATE_SYNCED_TABLE, description="`createSyncedTable`."
    )
    DELETE_SYNCED_TABLE = strawberry.enum_value(
        ports.OperationKind.DELETE_SYNCED_TABLE, description="`deleteSyncedTable`."
    )
    REFRESH_SYNCED_TABLE = strawberry.enum_value(
        ports.OperationKind.REFRESH_SYNCED_TABLE, description="`refreshSyncedTable`."
    )
    ENSURE_INDEXES = strawberry.enum_value(ports.OperationKind.ENSURE_INDEXES, description="`ensureOrderIndexes`.")
    PROVISION = strawberry.enum_value(ports.OperationKind.PROVISION, description="`provisionLakebase`.")
    TEARDOWN = strawberry.enum_value(ports.OperationKind.TEARDOWN, description="`teardownLakebase`.")


@strawberry.enum(description="How far an operation, or one of its steps, has come.")
class OperationState(Enum):
    """A value is the port's."""

    PENDING = strawberry.enum_value(ports.WorkState.PENDING, description="Its turn has not come.")
    RUNNING = strawberry.enum_value(ports.WorkState.RUNNING, description="It is under way.")
    SUCCEEDED = strawberry.enum_value(ports.WorkState.SUCCEEDED, description="It is done.")
    FAILED = strawberry.enum_value(
        ports.WorkState.FAILED, description="It ended before it was done. The operation's `failure` says why."
    )
    SKIPPED = strawberry.enum_value(
        ports.WorkState.SKIPPED, description="A step that was not reached, because one before it failed."
    )


@strawberry.type(description="One step of an operation. Steps follow one another in their order.")
class OperationStep:
    """One step."""

    name: str = strawberry.field(description="What it does, as a short name.")
    resource: str = strawberry.field(description="What it does it to: `instance orders-pg`, say.")
    state: OperationState = strawberry.field(description="How far it has come.")
    progress: float = strawberry.field(description="The same as a number, from 0 to 1.")
    message: str | None = strawberry.field(description="What is going on, or what came of it.")
    started_at: datetime | None = strawberry.field(description="When it was begun; null before.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before.")

    @classmethod
    def of(cls, step: ports.OperationStep) -> OperationStep:
        """The step as it is answered."""
        return cls(
            name=step.name,
            resource=step.resource,
            state=OperationState(step.state),
            progress=step.progress,
            message=step.message,
            started_at=step.started_at,
            finished_at=step.finished_at,
        )


@strawberry.type(description="Why an operation ended before it was done, and what to do.")
class OperationFailure:
    """One failure."""

    reason: str = strawberry.field(
        description="Why, for programs: a `reason` of the README's error table, as `errors` carry it in `extensions`."
    )
    message: str = strawberry.field(description="Why, for people, and what to do.")
    retryable: bool = strawberry.field(
        description="Whether the same mutation again may fare better. It carries on from what is there."
    )


@strawberry.type(
    description=(
        "A piece of long work, begun by a mutation and done in the background, by whichever process serves. The same "
        "mutation sent again finds it while it is under way. Watch it with `operationProgress`."
    )
)
class Operation(Node):
    """One operation."""

    role: ClassVar[Role] = Role.ADMIN

    key: strawberry.Private[str]

    kind: OperationKind = strawberry.field(description="What it does.")
    state: OperationState = strawberry.field(description="How far it has come.")
    progress: float = strawberry.field(description="The same as a number, from 0 to 1.")
    steps: list[OperationStep] = strawberry.field(description="Its steps, in their order.")
    requested_by: str = strawberry.field(description="Who asked for it.")
    requested_at: datetime = strawberry.field(description="When it was asked for.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before.")
    durable: bool = strawberry.field(
        description=(
            "Whether it is kept in the database, and taken up again by another process should this one end. Where "
            "there is no database, yet or any more, it is not: then send the mutation again, which carries on."
        )
    )
    failure: OperationFailure | None = strawberry.field(description="Why it failed; null where it did not.")

    @classmethod
    def of(cls, found: ports.Operation) -> Operation:
        """The operation as it is answered."""
        failure = found.failure
        return cls(
            key=found.id,
            kind=OperationKind(found.kind),
            state=OperationState(found.state),
            progress=found.progress,
            steps=[OperationStep.of(step) for step in found.steps],
            requested_by=found.requested_by,
            requested_at=found.requested_at,
            finished_at=found.finished_at,
            durable=found.durable,
            failure=None
            if failure is None
            else OperationFailure(reason=failure.reason.name, message=failure.message, retryable=failure.retryable),
        )

    def node_key(self) -> str:
        """The operation's id."""
        return self.key


@strawberry.type(description="A page of operations, newest first. It goes forward only, to older ones.")
class OperationConnection(Connection[Operation]):
    """Relay's connection of operations."""


async def operation_with_key(info: Info, key: str) -> Operation | None:
    """The operation with this id of its own."""
    found = await info.context.lakebase.operation(key)
    return None if found is None else Operation.of(found)


def operation_key_of(global_id: str) -> str:
    """The own id of the operation with this global id.

    Raises:
        InputError: ID_INVALID.
    """
    kind, key = decode_global_id(global_id)
    if kind != Operation.__name__ or OPERATION_ID.mistake(key):
        raise InputError(Reason.ID_INVALID, f"The id is not that of an Operation ({kind}).")
    return key
