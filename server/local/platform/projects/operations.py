"""The long-running operations: each begins undone, and ends with a response or an error."""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.cluster import ClusterError
from server.local.platform.rest.errors import PlatformError, absent
from server.local.platform.state.projects import Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.local.platform.options import Options
    from server.local.platform.state.store import Store

# Of the operations that are done, the platform remembers so many.
_MOST_REMEMBERED = 500
_EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
_KINDS = {
    "projects": "Project",
    "branches": "Branch",
    "endpoints": "Endpoint",
    "databases": "Database",
    "roles": "Role",
    "snapshots": "Snapshot",
    "catalogs": "Catalog",
    "synced_tables": "SyncedTable",
}
CREATE, UPDATE, DELETE, UNDELETE = "CREATE", "UPDATE", "DELETE", "UNDELETE"
_log = logging.getLogger(__name__)


class Operations:
    """The operations, which outlive the platform's process.

    `outcomes` are set by the parts that own the resources. By the resource's kind, each waits until an operation that
    the state describes is over, and returns its response, None for a deletion.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self.outcomes: dict[str, Callable[[Operation], Awaitable[dict[str, Any] | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Resume every operation that was not done."""
        for operation in self._store.state.operations.values():
            if not operation.done:
                self._start(operation, None)

    async def close(self) -> None:
        """Leave the operations as they are. `open` resumes them in the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(
        self, resource: str, verb: str, work: Callable[[], Awaitable[dict[str, Any] | None]] | None = None
    ) -> dict[str, Any]:
        """Begin an operation, and return it.

        Args:
            resource: the name of the resource.
            verb: what happens to it.
            work: does it and returns the response. Without it the state describes what happens, and the operation ends
                when that has happened.
        """
        operation = Operation(name=f"{resource}/operations/{uuid.uuid4()}", resource=resource, verb=verb)
        operations = self._store.state.operations
        operations[operation.name] = operation
        done = [name for name, old in operations.items() if old.done]
        for name in itertools.islice(done, max(len(done) - _MOST_REMEMBERED, 0)):
            del operations[name]
        self._store.save()
        self._start(operation, work)
        return _as_json(operation)

    def get(self, name: str) -> dict[str, Any]:
        """The Operation with this name."""
        operation = self._store.state.operations.get(name)
        if operation is None:
            raise absent("operation")
        return _as_json(operation)

    def _start(self, operation: Operation, work: Callable[[], Awaitable[dict[str, Any] | None]] | None) -> None:
        task = asyncio.create_task(self._run(operation, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, operation: Operation, work: Callable[[], Awaitable[dict[str, Any] | None]] | None) -> None:
        await asyncio.sleep(self._options.operation_delay)
        try:
            response = await (work() if work is not None else self._outcome(operation))
            operation.response = _EMPTY if response is None else response
        except PlatformError as error:
            operation.error = {"error_code": error.code, "message": error.message}
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ClusterError, OSError) as error:
            _log.warning("%s failed: %s", operation.name, error)
            operation.error = {"error_code": "INTERNAL_ERROR", "message": "The database does not answer."}
        except Exception:  # noqa: BLE001 # an operation ends even by a bug of the platform
            _log.exception("%s failed", operation.name)
            operation.error = {"error_code": "INTERNAL_ERROR", "message": "An internal error occurred."}
        operation.done = True
        self._store.save()

    async def _outcome(self, operation: Operation) -> dict[str, Any] | None:
        outcome = self.outcomes.get(_kind(operation))
        if outcome is None:
            # What it did was in the memory of another process.
            raise PlatformError(409, "ABORTED", "The operation was interrupted.")
        return await outcome(operation)


def _kind(operation: Operation) -> str:
    """The collection that its resource is in."""
    return operation.resource.split("/")[-2]


def _as_json(operation: Operation) -> dict[str, Any]:
    kind = _KINDS[_kind(operation)]
    reply: dict[str, Any] = {
        "name": operation.name,
        "done": operation.done,
        "metadata": {"@type": f"type.googleapis.com/databricks.postgres.v1.{kind}OperationMetadata"},
    }
    if operation.error is not None:
        reply["error"] = operation.error
    elif operation.response is not None:
        reply["response"] = operation.response
    return reply
