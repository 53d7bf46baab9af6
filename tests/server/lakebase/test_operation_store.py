"""How operations are kept: one of each, held by one process at a time, in the database's time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from schema.errors import Reason, UnavailableError
from schema.ports.administration import (
    AdminRequest,
    CatalogSpec,
    InstanceSpec,
    OperationFailure,
    OperationKind,
    OperationStep,
    SyncedTableSpec,
    WorkState,
)
from server.db.database import DatabaseMissingError, UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.db.wake_up import Waking
from server.lakebase.operations.operation import Work, request_from_json, request_to_json
from server.lakebase.operations.store import LeaseLostError, OperationLog
from tests.process import PATIENCE_SECONDS
from tests.server.conftest import patient_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from server.db.database import Database
    from server.settings import Settings

SCHEMA = "kept_operations"
# Far more than a test takes: a lease ends where the test has it end.
LEASE_SECONDS = 10 * PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases so long."""
    monkeypatch.setattr("server.lakebase.operations.store.LEASE_SECONDS", LEASE_SECONDS)


def work(name: str = "one", *, capacity: str = "CU_1") -> Work:
    """An operation that makes an instance of this name."""
    request = AdminRequest(OperationKind.CREATE_INSTANCE, instance=InstanceSpec(name, capacity))
    resource = f"instance {name}"
    return Work(request, (resource,), [OperationStep("create_instance", resource)], {}, "ada")


@pytest.fixture
async def new_log(orders_url: str, database: asyncpg.Connection) -> AsyncIterator[Callable[[], OperationLog]]:
    """Logs as several processes have them, on one schema without operations."""
    settings, url = patient_settings(orders_url), UrlDatabase(orders_url)
    migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
    await migrations.upgrade()
    await database.execute(f"DELETE FROM {SCHEMA}.operation")
    engines = []

    def new() -> OperationLog:
        engines.append(create_operations_pool(settings, url))
        return OperationLog(engines[-1], SCHEMA, Migrations(create_migration_engine(settings, url), SCHEMA))

    yield new
    for engine in engines:
        await engine.dispose()


async def lapse(database: asyncpg.Connection, held: Work) -> None:
    """Let a lease be over, as if its holder had been silent for long enough."""
    await database.execute(
        f"UPDATE {SCHEMA}.operation SET lease_ends_at = clock_timestamp() - interval '1 s' WHERE id = $1", held.id
    )


async def test_an_identical_request_finds_the_operation_that_is_under_way(
    new_log: Callable[[], OperationLog],
) -> None:
    """In whichever process it is sent; what differs only in what an operator confirms is identical."""
    first, log, other = work(), new_log(), new_log()
    assert await log.begin(first) is None
    assert first.durable
    second = work()
    found = await other.begin(second)
    assert found is not None
    assert (found.id, found.fingerprint) == (first.id, second.fingerprint)
    assert not second.durable
    in_the_way = await other.in_the_way(second)
    assert in_the_way is not None
    assert in_the_way.id == first.id


async def test_another_request_on_the_same_resource_is_kept_out(new_log: Callable[[], OperationLog]) -> None:
    """Until the first has ended; one on another resource is let in."""
    log, first, second = new_log(), work(), work(capacity="CU_2")
    await log.begin(first)
    found = await new_log().begin(second)
    assert found is not None
    assert (found.id, found.fingerprint == second.fingerprint) == (first.id, False)
    assert await log.begin(work("two")) is None
    first.end()
    await log.save(first)
    assert await log.begin(second) is None


async def test_only_what_nobody_holds_is_taken_up_and_its_late_holder_writes_nothing(
    new_log: Callable[[], OperationLog], database: asyncpg.Connection
) -> None:
    """The fence rises with every taking; a heartbeat holds; whoever was away too long is told."""
    log, other, held = new_log(), new_log(), work()
    await log.begin(held)
    assert await other.claim() == []
    await lapse(database, held)
    await log.renew(held, seconds=LEASE_SECONDS)
    assert await other.claim() == []
    await lapse(database, held)
    (taken,) = await other.claim()
    assert (taken.id, taken.fence) == (held.id, held.fence + 1)
    assert await new_log().claim() == []
    for late in (log.save, log.renew, log.detach):
        with pytest.raises(LeaseLostError):
            await late(held)
    taken.put(0, state=WorkState.RUNNING, progress=0.5, message="half")
    await other.save(taken)
    seen = await log.find(held.id)
    assert seen is not None
    assert seen.steps[0].message == "half"


async def test_a_lease_that_is_let_go_of_is_taken_up_at_once(new_log: Callable[[], OperationLog]) -> None:
    """As a process does that is told to stop."""
    log, held = new_log(), work()
    began = time.monotonic()
    await log.begin(held)
    ends = await log.next_lease_end()
    assert ends is not None
    assert LEASE_SECONDS - (time.monotonic() - began) - 0.1 < ends <= LEASE_SECONDS
    await log.renew(held, seconds=0)
    assert [one.id for one in await new_log().claim()] == [held.id]


async def test_what_is_detached_lives_in_memory_and_is_nobody_elses(new_log: Callable[[], OperationLog]) -> None:
    """And it keeps others off its resource in this process."""
    log, held = new_log(), work()
    await log.begin(held)
    await log.detach(held)
    assert not held.durable
    assert await new_log().find(held.id) is None
    assert await log.find(held.id) is held
    assert await log.begin(work(capacity="CU_4")) is held
    assert await log.keep(held) is None
    assert held.durable
    assert await new_log().find(held.id) is not None


async def test_operations_are_listed_newest_first_wherever_they_are_kept(new_log: Callable[[], OperationLog]) -> None:
    """Pages of one give the same as one page of all."""
    log = new_log()
    made = [work(f"number{number}") for number in range(4)]
    for one in made:
        await log.begin(one)
    await log.detach(made[2])
    newest_first = [one.id for one in reversed(made)]
    assert [one.id for one in await log.page(size=10, after=None)] == newest_first
    walked, after = [], None
    while page := await log.page(size=1, after=after):
        after = page[0]
        walked.append(after.id)
    assert walked == newest_first


async def test_without_a_database_operations_live_in_memory(orders_url: str) -> None:
    """They are found there, and say that they are not durable. One that merely does not answer is another matter."""
    settings = patient_settings(orders_url)
    log, held = log_of(settings, Nowhere()), work()
    assert await log.begin(held) is None
    assert held.operation().durable is False
    assert await log.find(held.id) is held
    assert await log.begin(work()) is held
    assert await log.page(size=5, after=None) == [held]
    assert await log.keep(held) is None
    assert not held.durable
    silent = log_of(settings, UrlDatabase("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(UnavailableError):
        await silent.begin(work())
    assert await silent.begin(held, insist=True) is None
    with pytest.raises(UnavailableError):
        await silent.find(work().id)


def log_of(settings: Settings, database: Database) -> OperationLog:
    """A log on a database that is not there."""
    migrations = Migrations(create_migration_engine(settings, database), SCHEMA)
    return OperationLog(create_operations_pool(settings, database), SCHEMA, migrations)


class Nowhere:
    """A database that does not exist, as an instance's is before it is made."""

    waking = Waking(sleeps=True, patience=0)

    async def connect(self, **_: Any) -> asyncpg.Connection:
        """There is none."""
        raise DatabaseMissingError("There is no such instance.")


async def test_what_nobody_has_held_for_an_hour_is_not_carried_out(
    new_log: Callable[[], OperationLog], database: asyncpg.Connection
) -> None:
    """A deletion that was cut off last week is told as failed, and not begun by whoever looks at it."""
    log, held = new_log(), work()
    await log.begin(held)
    await database.execute(
        f"UPDATE {SCHEMA}.operation SET lease_ends_at = clock_timestamp() - interval '61 min' WHERE id = $1", held.id
    )
    assert await new_log().claim() == []
    found = await new_log().find(held.id)
    assert found is not None
    assert found.failure is not None
    assert (found.state, found.failure.reason) == (WorkState.FAILED, Reason.STEP_TIMED_OUT)
    assert found.finished_at is not None


async def test_a_commit_whose_reply_was_lost_is_its_own(new_log: Callable[[], OperationLog]) -> None:
    """To begin or to detach again what is begun or detached is no conflict with oneself."""
    log, held = new_log(), work()
    await log.begin(held)
    held.fence = 0
    assert await log.keep(held) is None
    assert held.durable
    await log.detach(held)
    held.fence = 1
    await log.detach(held)
    assert not held.durable


async def test_a_row_that_cannot_be_read_hides_no_other(
    new_log: Callable[[], OperationLog], database: asyncpg.Connection
) -> None:
    """One of a kind that this version of the code does not know is left to those that do."""
    log, strange, held = new_log(), work("strange"), work()
    await log.begin(strange)
    await log.begin(held)
    await database.execute(
        f"""UPDATE {SCHEMA}.operation SET request = request || '{{"kind": "OF_THE_FUTURE"}}' WHERE id = $1""",
        strange.id,
    )
    assert [one.id for one in await log.page(size=10, after=None)] == [held.id]
    await lapse(database, held)
    await lapse(database, strange)
    assert [one.id for one in await log.claim()] == [held.id]


async def test_what_is_kept_comes_back_as_it_was(new_log: Callable[[], OperationLog]) -> None:
    """Request, steps, facts and failure, by way of JSON."""
    log = new_log()
    request = AdminRequest(
        OperationKind.PROVISION,
        instance=InstanceSpec("one"),
        catalog=CatalogSpec("c", "one", "d"),
        table=SyncedTableSpec("c.public.t", "samples.tpch.orders", ("o_orderkey", "o_custkey")),
        acknowledge_cost=True,
    )
    assert request_from_json(request_to_json(request)) == request
    held = Work(request, ("instance one", "catalog c"), [OperationStep("create_instance", "instance one")], {}, "ada")
    await log.begin(held)
    held.facts["instance_uid"] = "u-1"
    held.put(0, state=WorkState.FAILED, started_at=held.requested_at, message="no")
    held.end(OperationFailure(Reason.PERMISSION_MISSING, "It takes CAN MANAGE.", retryable=False))
    await log.save(held)
    found = await new_log().find(held.id)
    assert found == held


async def test_a_malformed_row_of_another_version_is_read_as_far_as_it_is_known() -> None:
    """What a later version of this code writes beside is left out."""
    written = {**request_to_json(AdminRequest(OperationKind.TEARDOWN, instance_name="one")), "of_the_future": 1}
    assert request_from_json(written).instance_name == "one"
