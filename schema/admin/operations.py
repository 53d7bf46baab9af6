"""Operations: the operation with its steps and failure, the connection, and the subscription to its progress."""

from __future__ import annotations

from collections.abc import AsyncGenerator  # noqa: TC003 # Strawberry reads the annotations at run time
from contextlib import aclosing
from datetime import datetime  # noqa: TC003 # as above
from enum import Enum
from typing import Annotated, ClassVar

import strawberry

from schema.admin.guard import RequiresAdmin
from schema.admin.requests.names import OPERATION_ID
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, PlatformError, Reason
from schema.permissions import Role
from schema.ports.admin import operations as operation_ports
from schema.relay.node import Node, decode_global_id
from schema.relay.pagination import Connection


@strawberry.enum(description="What an operation does.")
class OperationKind(Enum):
    """Each value is the port's enum member."""

    CREATE_INSTANCE = strawberry.enum_value(
        operation_ports.OperationKind.CREATE_INSTANCE, description="`createDatabaseInstance`."
    )
    UPDATE_INSTANCE = strawberry.enum_value(
        operation_ports.OperationKind.UPDATE_INSTANCE, description="`updateDatabaseInstance`."
    )
    DELETE_INSTANCE = strawberry.enum_value(
        operation_ports.OperationKind.DELETE_INSTANCE, description="`deleteDatabaseInstance`."
    )
    UNDELETE_INSTANCE = strawberry.enum_value(
        operation_ports.OperationKind.UNDELETE_INSTANCE, description="`undeleteDatabaseInstance`."
    )
    CREATE_CATALOG = strawberry.enum_value(
        operation_ports.OperationKind.CREATE_CATALOG, description="`createDatabaseCatalog`."
    )
    DELETE_CATALOG = strawberry.enum_value(
        operation_ports.OperationKind.DELETE_CATALOG, description="`deleteDatabaseCatalog`."
    )
    CREATE_SYNCED_TABLE = strawberry.enum_value(
        operation_ports.OperationKind.CREATE_SYNCED_TABLE, description="`createSyncedTable`."
    )
    DELETE_SYNCED_TABLE = strawberry.enum_value(
        operation_ports.OperationKind.DELETE_SYNCED_TABLE, description="`deleteSyncedTable`."
    )
    REFRESH_SYNCED_TABLE = strawberry.enum_value(
        operation_ports.OperationKind.REFRESH_SYNCED_TABLE, description="`refreshSyncedTable`."
    )
    ENSURE_INDEXES = strawberry.enum_value(operation_ports.OperationKind.ENSURE_INDEXES, description="`ensureIndexes`.")
    CREATE_BRANCH = strawberry.enum_value(
        operation_ports.OperationKind.CREATE_BRANCH, description="`createDatabaseBranch`."
    )
    UPDATE_BRANCH = strawberry.enum_value(
        operation_ports.OperationKind.UPDATE_BRANCH, description="`updateDatabaseBranch`."
    )
    DELETE_BRANCH = strawberry.enum_value(
        operation_ports.OperationKind.DELETE_BRANCH, description="`deleteDatabaseBranch`."
    )
    UNDELETE_BRANCH = strawberry.enum_value(
        operation_ports.OperationKind.UNDELETE_BRANCH, description="`undeleteDatabaseBranch`."
    )
    RESTORE = strawberry.enum_value(operation_ports.OperationKind.RESTORE, description="`restoreDatabase`.")
    CREATE_SNAPSHOT = strawberry.enum_value(
        operation_ports.OperationKind.CREATE_SNAPSHOT, description="`createDatabaseSnapshot`."
    )
    DELETE_SNAPSHOT = strawberry.enum_value(
        operation_ports.OperationKind.DELETE_SNAPSHOT, description="`deleteDatabaseSnapshot`."
    )
    PROVISION = strawberry.enum_value(operation_ports.OperationKind.PROVISION, description="`provisionLakebase`.")
    TEARDOWN = strawberry.enum_value(operation_ports.OperationKind.TEARDOWN, description="`teardownLakebase`.")


@strawberry.enum(description="The state of an operation, or of one of its steps.")
class OperationState(Enum):
    """Each value is the port's enum member."""

    PENDING = strawberry.enum_value(operation_ports.OperationState.PENDING, description="It has not started.")
    RUNNING = strawberry.enum_value(operation_ports.OperationState.RUNNING, description="It is running.")
    SUCCEEDED = strawberry.enum_value(operation_ports.OperationState.SUCCEEDED, description="It is done.")
    FAILED = strawberry.enum_value(
        operation_ports.OperationState.FAILED, description="It failed. The operation's `failure` says why."
    )
    CANCELLED = strawberry.enum_value(
        operation_ports.OperationState.CANCELLED,
        description="`cancelOperation` ended it. What was done stays: the messages of the steps say what that is.",
    )
    SKIPPED = strawberry.enum_value(
        operation_ports.OperationState.SKIPPED,
        description=(
            "A step that was not reached, because an earlier step failed or was cancelled; or one whose resource does "
            "not exist, as its message says."
        ),
    )


@strawberry.type(
    description=(
        "One step of an operation. Steps run one after another, except that the tables beside the orders are worked on "
        "side by side: such steps have the same names, and differ in their `resource`."
    )
)
class OperationStep:
    """One step."""

    name: str = strawberry.field(description="A short name for what the step does.")
    resource: str = strawberry.field(description="The resource that it works on, for example `instance orders-pg`.")
    state: OperationState = strawberry.field(description="Its state.")
    progress: float = strawberry.field(description="Its progress, from 0 to 1.")
    message: str | None = strawberry.field(description="What the step is doing, or its result.")
    started_at: datetime | None = strawberry.field(description="When it started; null before.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before.")

    @classmethod
    def of(cls, step: operation_ports.OperationStep) -> OperationStep:
        """Convert the port's step."""
        return cls(
            name=step.name,
            resource=step.resource,
            state=OperationState(step.state),
            progress=step.progress,
            message=step.message,
            started_at=step.started_at,
            finished_at=step.finished_at,
        )


@strawberry.type(description="Why an operation failed, and what to do.")
class OperationFailure:
    """One failure."""

    reason: str = strawberry.field(description="The reason, for programs: as in the `extensions.reason` of errors.")
    message: str = strawberry.field(description="The reason, for people, and what to do.")
    retryable: bool = strawberry.field(
        description="Whether sending the same mutation again can succeed. It continues from what already exists."
    )


@strawberry.type(
    description=(
        "Long-running work, started by an admin mutation and run in the background. While it runs, the same mutation "
        "sent again returns this operation. Watch it with `operationProgress`."
    )
)
class Operation(Node):
    """One operation."""

    role: ClassVar[Role] = Role.ADMIN

    key: strawberry.Private[str]

    kind: OperationKind = strawberry.field(description="What it does.")
    state: OperationState = strawberry.field(description="Its state.")
    progress: float = strawberry.field(description="Its progress, from 0 to 1.")
    steps: list[OperationStep] = strawberry.field(description="Its steps, in order.")
    requested_by: str = strawberry.field(description="The user who requested it.")
    requested_at: datetime = strawberry.field(description="When it was requested.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before.")
    durable: bool = strawberry.field(
        description=(
            "Whether it is stored in the database, so that another process continues it if this one ends. Without a "
            "database it is kept in memory: if the process ends then, send the mutation again to continue the work."
        )
    )
    failure: OperationFailure | None = strawberry.field(description="Why it failed; null if it did not.")
    cancel_requested_by: str | None = strawberry.field(
        description=(
            "The user who asked for its cancellation; null if nobody did. Until its `state` is `CANCELLED`, the "
            "current step has not stopped yet."
        )
    )

    @classmethod
    def of(cls, found: operation_ports.Operation) -> Operation:
        """Convert the port's operation."""
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
            cancel_requested_by=found.cancel_requested_by,
        )

    def node_key(self) -> str:
        """The operation's id."""
        return self.key


@strawberry.type(description="A page of operations, newest first. Paging is forward only, to older ones.")
class OperationConnection(Connection[Operation]):
    """Relay's connection of operations."""


async def operation_with_key(info: Info, key: str) -> Operation | None:
    """The operation with this key."""
    found = await info.context.lakebase.operation(key)
    return None if found is None else Operation.of(found)


def operation_key_of(global_id: str) -> str:
    """The key of the operation with this global id.

    Raises:
        InputError: ID_INVALID.
    """
    kind, key = decode_global_id(global_id)
    if kind != Operation.__name__:
        raise InputError(Reason.ID_INVALID, f"The id names an object of type {kind}, not an Operation.")
    if OPERATION_ID.mistake(key):
        raise InputError(Reason.ID_INVALID, "The id does not name an operation.")
    return key


@strawberry.type
class AdminSubscriptions:
    """The subscriptions for administrators."""

    @strawberry.subscription(
        description=(
            "The operation as it is now, and again whenever it makes progress. The last event shows its end; then the "
            "subscription completes."
        ),
        extensions=[RequiresAdmin()],
    )
    async def operation_progress(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The operation's `id`.")],  # noqa: A002 # the argument's name in the schema
    ) -> AsyncGenerator[Operation, None]:
        """A client that subscribes late, or again, starts with the present state."""
        found = False
        async with aclosing(info.context.lakebase.progress(operation_key_of(id))) as events:
            async for operation in events:
                found = True
                yield Operation.of(operation)
        if not found:
            raise PlatformError(
                Reason.RESOURCE_NOT_FOUND, "There is no operation with this id, or the server no longer remembers it."
            )
