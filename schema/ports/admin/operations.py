"""Long-running operations: their kinds, states and steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from schema.errors import Reason


class OperationKind(Enum):
    """What an operation does."""

    CREATE_INSTANCE = "CREATE_INSTANCE"
    UPDATE_INSTANCE = "UPDATE_INSTANCE"
    DELETE_INSTANCE = "DELETE_INSTANCE"
    UNDELETE_INSTANCE = "UNDELETE_INSTANCE"
    CREATE_CATALOG = "CREATE_CATALOG"
    DELETE_CATALOG = "DELETE_CATALOG"
    CREATE_SYNCED_TABLE = "CREATE_SYNCED_TABLE"
    DELETE_SYNCED_TABLE = "DELETE_SYNCED_TABLE"
    REFRESH_SYNCED_TABLE = "REFRESH_SYNCED_TABLE"
    ENSURE_INDEXES = "ENSURE_INDEXES"
    PROVISION = "PROVISION"
    TEARDOWN = "TEARDOWN"
    CREATE_BRANCH = "CREATE_BRANCH"
    UPDATE_BRANCH = "UPDATE_BRANCH"
    DELETE_BRANCH = "DELETE_BRANCH"
    UNDELETE_BRANCH = "UNDELETE_BRANCH"
    RESTORE = "RESTORE"
    CREATE_SNAPSHOT = "CREATE_SNAPSHOT"
    DELETE_SNAPSHOT = "DELETE_SNAPSHOT"


class OperationState(Enum):
    """The state of an operation or of one of its steps. SKIPPED is a step that was not reached, or not needed."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class OperationStep:
    """One step of an operation. Its times are by the clock of the process that runs it; `progress` is from 0 to 1.

    Consecutive steps that are `beside` run side by side, except that those of one resource run one after the other.
    """

    name: str
    resource: str
    state: OperationState = OperationState.PENDING
    progress: float = 0.0
    message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    beside: bool = False


@dataclass(frozen=True, slots=True)
class OperationFailure:
    """Why an operation failed, and what to do. `reason` is one of this API's, not the platform's."""

    reason: Reason
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """Long-running work. `durable` says that it is stored in the database and outlives this process.

    `cancel_requested_by` is the user who asked for its cancellation; None if nobody did.
    """

    id: str
    kind: OperationKind
    state: OperationState
    progress: float
    steps: Sequence[OperationStep]
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None
    durable: bool
    failure: OperationFailure | None = None
    cancel_requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class OperationPage:
    """Operations, newest first; `more` says whether older ones follow."""

    operations: Sequence[Operation]
    more: bool
