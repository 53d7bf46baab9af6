"""The store of operations: one for each resource, held by one process at a time, by the database's clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from schema.errors import Reason, UnavailableError
from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.instances import InstanceSpec
from schema.ports.admin.operations import OperationFailure, OperationKind, OperationState, OperationStep
from schema.ports.admin.tables import CatalogSpec, SyncedTableSpec
from server.db.database import DatabaseMissingError, Provenance, UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.db.wake_up import WakeUp
from server.lakebase.database.home import Home
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.stored_json import request_from_json, request_to_json
from server.lakebase.operations.table import LeaseLostError, OperationTable
from server.lakebase.steps.registry import STEPS
from tests.server.conftest import patient_settings
from tests.server.lakebase.operations.conftest import LEASE_SECONDS, SCHEMA, lapse, move, operation, silence

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from server.db.database import Database
    from server.settings import Settings


async def test_an_identical_request_finds_the_operation_that_is_under_way(
    new_store: Callable[[], OperationStore],
) -> None:
    """In whichever process it is sent."""
    first, store, other = operation(), new_store(), new_store()
    assert await store.begin(first) is None
    assert first.durable
    second = operation()
    found = await other.begin(second)
    assert found is not None
    assert (found.id, found.fingerprint) == (first.id, second.fingerprint)
    assert not second.durable
    conflicting = await other.conflicting(second)
    assert conflicting is not None
    assert conflicting.id == first.id


async def test_another_request_on_the_same_resource_is_kept_out(new_store: Callable[[], OperationStore]) -> None:
    """Until the first has ended. A request on another resource is not kept out."""
    store, first, second = new_store(), operation(), operation(capacity="CU_2")
    await store.begin(first)
    found = await new_store().begin(second)
    assert found is not None
    assert (found.id, found.fingerprint == second.fingerprint) == (first.id, False)
    assert await store.begin(operation("two")) is None
    first.end()
    await store.save(first)
    assert await store.begin(second) is None


async def test_only_an_ended_lease_is_claimed_and_its_late_holder_writes_nothing(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """The fence rises with every claim, a heartbeat keeps the lease, and a late holder gets LeaseLostError."""
    store, other, held = new_store(), new_store(), operation()
    await store.begin(held)
    assert await other.claim() == []
    await lapse(database, held)
    await store.renew(held)
    assert await other.claim() == []
    await lapse(database, held)
    (taken,) = await other.claim()
    assert (taken.id, taken.fence) == (held.id, held.fence + 1)
    assert await new_store().claim() == []
    for late in (store.save, store.renew, store.detach):
        with pytest.raises(LeaseLostError):
            await late(held)
    taken.update_step(0, state=OperationState.RUNNING, progress=0.5, message="half")
    await other.save(taken)
    seen = await store.find(held.id)
    assert seen is not None
    assert seen.steps[0].message == "half"


async def test_a_lease_that_is_let_go_of_is_taken_up_at_once(new_store: Callable[[], OperationStore]) -> None:
    """A process that stops releases its leases."""
    store, held = new_store(), operation()
    began = time.monotonic()
    await store.begin(held)
    ends = await store.next_lease_end()
    assert ends is not None
    assert LEASE_SECONDS - (time.monotonic() - began) - 0.1 < ends <= LEASE_SECONDS
    await store.release(held)
    assert [one.id for one in await new_store().claim()] == [held.id]


async def test_a_detached_operation_lives_in_the_memory_of_its_process(new_store: Callable[[], OperationStore]) -> None:
    """It keeps other operations off its resource there."""
    store, held = new_store(), operation()
    await store.begin(held)
    await store.detach(held)
    assert not held.durable
    assert await new_store().find(held.id) is None
    assert await store.find(held.id) is held
    assert await store.begin(operation(capacity="CU_4")) is held
    assert await store.persist(held) is None
    assert held.durable
    assert await new_store().find(held.id) is not None


async def test_operations_are_listed_newest_first_wherever_they_are_kept(
    new_store: Callable[[], OperationStore],
) -> None:
    """Pages of one operation give the same as one page of all."""
    store = new_store()
    made = [operation(f"number{number}") for number in range(4)]
    for one in made:
        await store.begin(one)
    await store.detach(made[2])
    newest_first = [one.id for one in reversed(made)]
    assert [one.id for one in await store.page(size=10, after=None)] == newest_first
    walked, after = [], None
    while page := await store.page(size=1, after=after):
        after = page[0]
        walked.append(after.id)
    assert walked == newest_first


async def test_without_a_database_operations_live_in_memory(orders_url: str) -> None:
    """They are found there and are not durable. With a database that merely does not answer, only `insist` does that."""
    settings = patient_settings(orders_url)
    store, held = store_of(settings, Nowhere()), operation()
    assert await store.begin(held) is None
    assert held.snapshot().durable is False
    assert await store.find(held.id) is held
    assert await store.begin(operation()) is held
    assert await store.page(size=5, after=None) == [held]
    assert await store.persist(held) is None
    assert not held.durable
    silent = store_of(settings, UrlDatabase("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(UnavailableError):
        await silent.begin(operation())
    assert await silent.begin(held, insist=True) is None
    with pytest.raises(UnavailableError):
        await silent.find(operation().id)


def store_of(settings: Settings, database: Database) -> OperationStore:
    """A store on a database that is not there."""
    migrations = Migrations(create_migration_engine(settings, database), SCHEMA)
    pool = create_operations_pool(settings, database)
    return OperationStore(OperationTable(pool, SCHEMA, migrations, Home(database, SCHEMA)))


class Nowhere:
    """A database that does not exist, as an instance's is before it is made."""

    wake_up = WakeUp(sleeps=True, patience=0)

    async def origin(self) -> str:
        """Fail as `connect` does."""
        return str(await self.connect())

    async def provenance(self) -> Provenance:
        """Fail as `connect` does."""
        await self.connect()
        return Provenance()

    async def connect(self, **_: Any) -> asyncpg.Connection:
        """Fail as for an instance that does not exist."""
        raise DatabaseMissingError("There is no such instance.")

    async def look_up(self) -> None:
        """Fail in the same way."""
        raise DatabaseMissingError("There is no such instance.")


async def test_an_operation_without_a_holder_for_an_hour_is_not_resumed(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """A deletion that was interrupted last week is shown as failed, and no process resumes it."""
    store, held = new_store(), operation()
    await store.begin(held)
    await silence(database, held)
    assert await new_store().claim() == []
    found = await new_store().find(held.id)
    assert found is not None
    assert found.failure is not None
    assert (found.state, found.failure.reason) == (OperationState.FAILED, Reason.STEP_TIMED_OUT)
    assert found.finished_at is not None


@pytest.mark.parametrize("home", ["another/1/2/3", None], ids=["another", "before-homes"])
async def test_an_operation_of_another_home_is_never_carried_out(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection, home: str | None
) -> None:
    """It ends as failed and says why, with a raised fence. A late holder writes nothing, and the name is free at once."""
    store, held = new_store(), operation()
    held.steps.append(OperationStep("later", "instance one"))
    await store.begin(held)
    held.update_step(0, state=OperationState.RUNNING)
    await store.save(held)
    await move(database, held, home)
    await lapse(database, held)
    assert await new_store().claim() == []
    found = await new_store().find(held.id)
    assert found is not None
    assert found.failure is not None
    assert (found.state, found.failure.reason) == (OperationState.FAILED, Reason.BEGUN_ELSEWHERE)
    assert [step.state for step in found.steps] == [OperationState.FAILED, OperationState.SKIPPED]
    assert found.finished_at is not None
    for late in (store.save, store.renew, store.detach):
        with pytest.raises(LeaseLostError):
            await late(held)
    again = operation()
    assert await new_store().conflicting(again) is None
    assert await new_store().begin(again) is None


async def test_an_operation_of_another_home_does_not_lock_its_resource(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """The same mutation begins anew before any process has searched for orphans."""
    held = operation()
    await new_store().begin(held)
    await move(database, held, "another/1/2/3")
    await lapse(database, held)
    assert await new_store().begin(operation()) is None


async def test_an_operation_of_another_home_that_a_process_holds_is_left_to_it(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """That process works on this very database, which it knows by another address."""
    store, held = new_store(), operation()
    await store.begin(held)
    await move(database, held, "another/1/2/3")
    assert await new_store().claim() == []
    found = await new_store().begin(operation())
    assert found is not None
    assert found.id == held.id
    await store.save(held)


@pytest.mark.parametrize("write", ["save", "renew", "detach"])
async def test_a_request_to_cancel_reaches_the_holder_with_its_next_write(
    new_store: Callable[[], OperationStore], write: str
) -> None:
    """The next write is a progress, a heartbeat or the deletion of the row."""
    store, held = new_store(), operation()
    await store.begin(held)
    asked = await new_store().request_cancel(held.id, "bea")
    assert asked is not None
    assert (asked.state, asked.cancel_requested_by) == (OperationState.PENDING, "bea")
    assert held.cancel_requested_by is None
    await getattr(store, write)(held)
    assert held.cancel_requested_by == "bea"


async def test_a_request_to_cancel_waits_for_the_next_holder(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """The first request counts, and an operation that has ended has none."""
    store, held = new_store(), operation()
    await store.begin(held)
    await lapse(database, held)
    await store.request_cancel(held.id, "bea")
    await store.request_cancel(held.id, "cid")
    (taken,) = await new_store().claim()
    assert taken.cancel_requested_by == "bea"
    ended = operation("two")
    await store.begin(ended)
    ended.end()
    await store.save(ended)
    found = await store.request_cancel(ended.id, "bea")
    assert found == ended
    assert await store.request_cancel(operation().id, "bea") is None


async def test_a_cancelled_operation_keeps_nobody_out(new_store: Callable[[], OperationStore]) -> None:
    """Its steps tell who cancelled it, and what was under way."""
    store, held = new_store(), operation()
    held.steps.append(OperationStep("create_catalog", "catalog one"))
    await store.begin(held)
    held.update_step(0, state=OperationState.RUNNING, message="requested")
    held.cancel_requested_by = "bea"
    held.end(cancelled=True)
    await store.save(held)
    found = await new_store().find(held.id)
    assert found == held
    assert found.ended
    assert [step.state for step in found.steps] == [OperationState.CANCELLED, OperationState.SKIPPED]
    assert found.steps[0].message == "requested; then cancelled by bea: what was begun continues or stays"
    assert await store.begin(operation()) is None


async def test_the_end_of_an_operation_whose_row_was_left_behind_ends_that_row(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """A process that has claimed the row meanwhile loses it."""
    store, other, held = new_store(), new_store(), operation()
    await store.begin(held)
    store.abandon(held)
    await lapse(database, held)
    (taken,) = await other.claim()
    held.end(OperationFailure(Reason.PERMISSION_MISSING, "It takes CAN MANAGE.", retryable=False))
    await store.write_down(held)
    assert held.durable
    with pytest.raises(LeaseLostError):
        await other.save(taken)
    assert await other.find(held.id) == held


async def test_a_lease_without_an_end_does_not_end(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """PostgreSQL cannot say how far away `infinity` is. The other leases are still found."""
    store, endless, held = new_store(), operation("endless"), operation()
    await store.begin(endless)
    await database.execute(f"UPDATE {SCHEMA}.operation SET lease_ends_at = 'infinity' WHERE id = $1", endless.id)
    assert await store.next_lease_end() is None
    await store.begin(held)
    assert await store.next_lease_end() is not None


async def test_an_attempt_after_a_lost_reply_is_no_conflict(new_store: Callable[[], OperationStore]) -> None:
    """An operation does not conflict with itself when it is begun or detached a second time."""
    store, held = new_store(), operation()
    await store.begin(held)
    held.fence = 0
    assert await store.persist(held) is None
    assert held.durable
    await store.detach(held)
    held.fence = 1
    await store.detach(held)
    assert not held.durable


async def test_an_operation_that_ended_in_memory_is_written_down(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """As soon as the database answers, and once, however often that is repeated. Every process finds it then."""
    store, held, unfinished = new_store(), operation(), operation("two")
    for one in (held, unfinished):
        await store.begin(one)
        await store.detach(one)
    held.end(OperationFailure(Reason.SYNC_FAILED, "The sync failed.", retryable=True))
    assert store.waits
    await store.write_down_ended()
    assert not store.waits
    assert await new_store().find(held.id) == held
    assert held.durable
    # The reply to an earlier attempt may have been lost.
    store.abandon(held)
    await store.write_down_ended()
    assert await database.fetchval(f"SELECT count(*) FROM {SCHEMA}.operation") == 1
    # One that still runs is not written: its database is about to go.
    assert await store.find(unfinished.id) is unfinished
    assert await new_store().find(unfinished.id) is None


async def test_a_row_left_behind_is_ended_and_lost_by_its_new_holder(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """An operation that continued in memory, because the database did not answer, is not carried out again."""
    store, other, held = new_store(), new_store(), operation()
    await store.begin(held)
    store.abandon(held)
    held.end()
    await lapse(database, held)
    (taken,) = await other.claim()
    await store.write_down_ended()
    found = await new_store().find(held.id)
    assert found is not None
    assert found.state is OperationState.SUCCEEDED
    with pytest.raises(LeaseLostError):
        await other.save(taken)


@pytest.mark.parametrize(
    "unreadable",
    [
        """request = request || '{"kind": "OF_THE_FUTURE"}'""",
        "requested_at = 'infinity'",
        "finished_at = '10000-01-01'",
    ],
)
async def test_an_unreadable_row_hides_no_other(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection, unreadable: str
) -> None:
    """Newer versions may know the kind of such a row. A row with an impossible time is left alone as well."""
    store, unknown, held = new_store(), operation("unknown"), operation()
    await store.begin(unknown)
    await store.begin(held)
    await database.execute(f"UPDATE {SCHEMA}.operation SET {unreadable} WHERE id = $1", unknown.id)
    assert [one.id for one in await store.page(size=10, after=None)] == [held.id]
    await lapse(database, held)
    await lapse(database, unknown)
    assert [one.id for one in await store.claim()] == [held.id]


async def test_a_stored_operation_comes_back_unchanged(new_store: Callable[[], OperationStore]) -> None:
    """With its request, steps, facts and failure, which are stored as JSON."""
    store = new_store()
    request = AdminRequest(
        OperationKind.PROVISION,
        instance=InstanceSpec("one"),
        catalog=CatalogSpec("c", "one", "d"),
        table=SyncedTableSpec("c.public.t", "samples.tpch.orders", ("o_orderkey", "o_custkey")),
        acknowledge_cost=True,
        others=(SyncedTableSpec("c.public.o", "samples.tpch.customer", ("c_custkey",)),),
    )
    assert request_from_json(request_to_json(request)) == request
    steps = [OperationStep("create_instance", "instance one"), OperationStep("create", "synced table o", beside=True)]
    held = OperationRecord(request, ("instance one", "catalog c"), steps, {}, "ada")
    await store.begin(held)
    held.facts["instance_uid"] = "u-1"
    held.update_step(0, state=OperationState.FAILED, started_at=held.requested_at, message="no")
    held.end(OperationFailure(Reason.PERMISSION_MISSING, "It takes CAN MANAGE.", retryable=False))
    await store.save(held)
    found = await new_store().find(held.id)
    assert found == held


async def test_an_operation_of_an_earlier_release_is_continued(
    new_store: Callable[[], OperationStore], database: asyncpg.Connection
) -> None:
    """Its row names no other tables, and its steps run one after the other, by the names that they have always had."""
    store = new_store()
    names = ["note_belongings", "sync_table", "restore_belongings", "build_indexes"]
    steps = [OperationStep(name, "synced table c.public.t") for name in names]
    request = AdminRequest(OperationKind.REFRESH_SYNCED_TABLE, table_name="c.public.t")
    held = OperationRecord(request, ("synced table c.public.t",), steps, {"run_before": "r-1"}, "ada")
    await store.begin(held)
    await database.execute(
        f"""
        UPDATE {SCHEMA}.operation SET request = request - 'others',
            steps = (SELECT jsonb_agg(step - 'beside') FROM jsonb_array_elements(steps) step)
        """
    )
    await lapse(database, held)
    (found,) = await new_store().claim()
    assert (found.request, found.facts, found.steps) == (request, held.facts, steps)
    assert found.next_lanes() == [[0]]
    # What `ensureIndexes` does is recorded as what `ensureOrderIndexes` did.
    assert {*names, "create_synced_table", "delete_synced_table"} <= STEPS.keys()
    assert OperationKind("ENSURE_INDEXES") is OperationKind.ENSURE_INDEXES


async def test_unknown_fields_of_a_request_are_ignored() -> None:
    """A later version of this code may write more fields."""
    written = {**request_to_json(AdminRequest(OperationKind.TEARDOWN, instance_name="one")), "of_the_future": 1}
    assert request_from_json(written).instance_name == "one"


async def test_text_that_jsonb_refuses_is_replaced(new_store: Callable[[], OperationStore]) -> None:
    """NULs and lone surrogates, which the platform's JSON may hold, become U+FFFD before anything reads or stores them.

    Otherwise the operation could not be stored, however often that is tried.
    """
    bad, good = "a\0b\ud800\u20ac\U0001f600", "a\ufffdb\ufffd\u20ac\U0001f600"
    store, held = new_store(), operation(capacity=bad)
    held.facts = {f"creation of {bad} refused": [bad, {"uid": bad, "sent": True}], "input": r'{"name":"a\u0000"}'}
    assert await store.begin(held) is None
    held.update_step(0, state=OperationState.RUNNING, message=bad)
    assert held.steps[0].message == good
    await store.save(held)
    held.end(OperationFailure(Reason.SYNC_FAILED, bad, retryable=True))
    await store.save(held)
    found = await new_store().find(held.id)
    assert found is not None
    assert found.failure == held.failure == OperationFailure(Reason.SYNC_FAILED, good, retryable=True)
    assert (found.steps, found.request.instance) == (held.steps, InstanceSpec("one", good))
    assert found.facts == {
        f"creation of {good} refused": [good, {"uid": good, "sent": True}],
        "input": r'{"name":"a\u0000"}',
    }


async def test_a_role_without_rights_on_the_audit_is_told_the_grant(
    new_store: Callable[[], OperationStore], orders_url: str, database: asyncpg.Connection
) -> None:
    """An operation whose end could not be stored is not begun. The same rights do for every other table."""
    assert callable(new_store)
    await database.execute(f"""
        CREATE ROLE registrar LOGIN PASSWORD 'registrar'; GRANT USAGE ON SCHEMA {SCHEMA} TO registrar;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO registrar;
        GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA {SCHEMA} TO registrar;
        REVOKE ALL ON {SCHEMA}.admin_audit FROM registrar
    """)
    parts = urlsplit(orders_url)
    url = urlunsplit(parts._replace(netloc=f"registrar:registrar@{parts.hostname}:{parts.port}"))
    settings = patient_settings(url)
    pool = create_operations_pool(settings, UrlDatabase(url))
    migrations = Migrations(create_migration_engine(settings, UrlDatabase(url)), SCHEMA)
    store = OperationStore(OperationTable(pool, SCHEMA, migrations, Home(UrlDatabase(url), SCHEMA)))
    try:
        with pytest.raises(UnavailableError, match="GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"):
            await store.begin(operation())
        assert migrations.missing is None
        await database.execute(f"GRANT SELECT, INSERT, UPDATE ON {SCHEMA}.admin_audit TO registrar")
        assert await store.begin(operation()) is None
    finally:
        await pool.dispose()
        await database.execute("DROP OWNED BY registrar; DROP ROLE registrar")
