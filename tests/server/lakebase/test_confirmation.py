"""The confirmation of a lease: what an operation does whose database another client stops or deletes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schema.errors import Reason
from schema.ports.admin.operations import OperationState
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.lakebase import confirmation, execution
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import OperationTable
from tests.server.lakebase.executors import executor_of, operation

if TYPE_CHECKING:
    from server.lakebase.steps.step import Step


class AbsentTable(OperationTable):
    """A table whose database is stopped or deleted while `absent` is set: by another client."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.absent: DatabaseAbsentError | None = None

    async def run(self, statements: Any, *, transaction: bool = False) -> Any:
        """Run statements, if there is a database."""
        if self.absent is not None:
            raise self.absent.with_traceback(None)
        return await super().run(statements, transaction=transaction)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe the platform at its second word that there is no database."""
    monkeypatch.setattr(confirmation, "_ABSENT_SECONDS", 0)
    monkeypatch.setattr(confirmation, "_PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("absence", [DatabaseAbsentError("one is stopped."), DatabaseMissingError("There is no one.")])
async def test_an_operation_ends_when_another_client_stops_or_deletes_its_database(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, absence: DatabaseAbsentError
) -> None:
    """It acts no more, and says why. Once there is a database again, the first thing written there is its end."""
    table, held, other, acted, seen = AbsentTable(*arguments), operation(), operation(), [], []
    store = OperationStore(table)

    async def work(step: Step) -> str:
        async def look() -> bool:
            await step.guard()
            acted.append("acted")
            table.absent = absence
            return False

        await step.until(look)
        return "never"

    async def changed() -> None:
        seen.append(held.steps[0].message)

    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    await executor_of(store, arguments, changed=changed).run(held)
    assert f"{absence.message} The server waits for the database, then goes on." in seen
    assert held.failure is not None
    assert (held.state, held.failure.reason) == (OperationState.FAILED, Reason.DATABASE_UNAVAILABLE)
    assert absence.message in held.failure.message
    assert (acted, held.durable) == (["acted"], False)
    # An operation that starts or creates the instance is not kept out, neither before nor after it has done so.
    assert await store.conflicting(other) is None
    table.absent = None
    assert await store.begin(other) is None
    found = await OperationStore(OperationTable(*arguments)).find(held.id)
    assert found is not None
    assert found.failure == held.failure


@pytest.mark.usefixtures("soon")
async def test_an_operation_goes_on_if_its_database_was_absent_only_for_a_moment(
    arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform may be wrong once, or the database may just be starting."""
    table, held = AbsentTable(*arguments), operation()
    store = OperationStore(table)

    async def work(step: Step) -> str:
        table.absent = DatabaseAbsentError("one is stopped.")
        await step.guard()
        return "done"

    async def changed() -> None:
        if "waits for the database" in (held.steps[0].message or ""):
            table.absent = None

    monkeypatch.setattr(execution, "STEPS", {"delete": work})
    assert await store.begin(held) is None
    await executor_of(store, arguments, changed=changed).run(held)
    assert (held.state, held.durable) == (OperationState.SUCCEEDED, True)
