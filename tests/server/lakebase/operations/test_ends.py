"""The end of an operation: it is final, and whatever ends it writes the audit in the same statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schema.ports.admin.operations import OperationState
from server.lakebase.database.audit_entry import RESOURCES
from server.lakebase.operations.table import LeaseLostError
from tests.server.lakebase.operations.conftest import SCHEMA, lapse, move, operation, silence

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from server.lakebase.operations.operation import OperationRecord
    from server.lakebase.operations.store import OperationStore


async def outcomes(database: asyncpg.Connection, ended: OperationRecord) -> list[tuple[Any, ...]]:
    """The outcomes of an operation in the audit, with all that describes them."""
    rows = await database.fetch(
        "SELECT principal, action, outcome, reason, resources, input, request_id, count, last_at = at "
        f"FROM {SCHEMA}.admin_audit WHERE operation = $1 ORDER BY at",
        ended.id,
    )
    return [tuple(row) for row in rows]


def audited(state: str, reason: str | None) -> list[tuple[Any, ...]]:
    """What the audit says of the end of `operation()`."""
    return [("ada", "createDatabaseInstance", state, reason, ["instance one"], '{"name":"one"}', None, 1, True)]


async def test_a_holder_that_stood_still_for_an_hour_finds_its_operation_failed(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """When it wakes up it writes nothing, and the newer operation on the same resource goes on. The audit tells of it."""
    store, other, held, newer = new_store(), new_store(), operation(), operation()
    await store.begin(held)
    held.update_step(0, state=OperationState.RUNNING)
    await store.save(held)
    await silence(database, held)
    assert await other.begin(newer) is None
    newer.update_step(0, state=OperationState.RUNNING)
    await other.save(newer)
    for late in (store.save, store.renew, store.release, store.detach):
        with pytest.raises(LeaseLostError):
            await late(held)
    held.end()
    with pytest.raises(LeaseLostError):
        await store.save(held)
    await other.save(newer)
    found = await other.find(held.id)
    assert found is not None
    assert found.state is OperationState.FAILED
    assert await outcomes(database, held) == audited("FAILED", "STEP_TIMED_OUT")


async def test_an_operation_that_has_ended_is_never_saved_again(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """Even with its fence: the release before does not raise it when it fails a stale operation. A repeated end is one."""
    store, held, ended = new_store(), operation(), operation("two")
    await store.begin(held)
    await database.execute(
        f"UPDATE {SCHEMA}.operation SET state = 'FAILED', finished_at = now() WHERE id = $1", held.id
    )
    with pytest.raises(LeaseLostError):
        await store.save(held)
    held.end()
    with pytest.raises(LeaseLostError):
        await store.save(held)
    await store.begin(ended)
    ended.end()
    await store.save(ended)
    await store.save(ended)


async def end_here(store: OperationStore, _: OperationStore, held: OperationRecord, __: asyncpg.Connection) -> None:
    """End an operation in its row."""
    held.end()
    await store.save(held)
    await store.save(held)


async def end_in_memory(
    store: OperationStore, _: OperationStore, held: OperationRecord, __: asyncpg.Connection
) -> None:
    """End an operation in memory, and write it down."""
    await store.detach(held)
    held.end()
    await store.write_down_ended()
    store.abandon(held)
    await store.write_down_ended()


async def end_left_behind(
    store: OperationStore, _: OperationStore, held: OperationRecord, __: asyncpg.Connection
) -> None:
    """End an operation in memory whose row was left behind."""
    store.abandon(held)
    held.end()
    await store.write_down_ended()
    await store.write_down_ended()


async def end_while_it_moves(
    store: OperationStore, _: OperationStore, held: OperationRecord, __: asyncpg.Connection
) -> None:
    """End an operation while a heartbeat moves it from memory to the database."""
    await store.detach(held)
    held.end()
    await store.persist(held)
    await store.write_down_ended()


async def end_stale(
    _: OperationStore, other: OperationStore, held: OperationRecord, database: asyncpg.Connection
) -> None:
    """Fail an operation that no process held for an hour, from two processes."""
    await silence(database, held)
    await other.claim()
    await other.claim()


async def end_copied(
    _: OperationStore, other: OperationStore, held: OperationRecord, database: asyncpg.Connection
) -> None:
    """Fail an operation of another database."""
    await move(database, held, "another/1/2/3")
    await lapse(database, held)
    await other.conflicting(held)
    await other.claim()


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (end_here, "SUCCEEDED", None),
        (end_in_memory, "SUCCEEDED", None),
        (end_left_behind, "SUCCEEDED", None),
        (end_while_it_moves, "SUCCEEDED", None),
        (end_stale, "FAILED", "STEP_TIMED_OUT"),
        (end_copied, "FAILED", "BEGUN_ELSEWHERE"),
    ],
)
async def test_the_statement_that_ends_an_operation_writes_the_audit(
    new_store: Callable[[], OperationStore],
    database: asyncpg.Connection,
    end: Callable[..., Awaitable[None]],
    state: str,
    reason: str | None,
) -> None:
    """A process that dies right after it leaves no end without its entry; and however often it is repeated, one."""
    store, held = new_store(), operation()
    await store.begin(held)
    await end(store, new_store(), held, database)
    assert await outcomes(database, held) == audited(state, reason)


async def test_the_outcome_of_an_operation_has_no_secret(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """Someone may give a token as a name. The operation keeps the resources without secrets for its entry."""
    store, held = new_store(), operation()
    held.facts[RESOURCES] = ["instance [secret]", "catalog one"]
    await store.begin(held)
    await end_here(store, store, held, database)
    ((_, _, _, _, resources, *_),) = await outcomes(database, held)
    assert resources == ["instance [secret]", "catalog one"]


@pytest.mark.parametrize("ask", ["begin", "conflicting", "persist"])
async def test_a_row_left_behind_by_an_operation_that_has_ended_keeps_nobody_out(
    new_store: Callable[[], OperationStore], ask: str
) -> None:
    """Its database was stopped by another client, and is back. The next operation comes before the search for orphans."""
    store, held, newer = new_store(), operation(), operation()
    await store.begin(held)
    store.abandon(held)
    held.end()
    assert await getattr(store, ask)(newer) is None
    found = await new_store().find(held.id)
    assert found is not None
    assert found.state is OperationState.SUCCEEDED
