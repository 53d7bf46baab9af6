"""What was asked of the platform: who knows it later, and of which synced table."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from schema.errors import ApiError, ForbiddenError, PlatformError, Reason, UnavailableError
from server.db.database import DatabaseAbsentError
from server.lakebase.database.asked_for import AskedForStore
from server.lakebase.database.own_tables import OwnTables
from tests.server.lakebase.conftest import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import asyncpg

TABLE: Final = "orders.public.orders_synced"
SPEC: Final = {"source": "samples.tpch.orders", "primary_key": ["o_orderkey"], "branch": "production"}
OTHER: Final = {**SPEC, "source": "samples.tpch.customer"}
FORBIDDEN: Final = ForbiddenError(Reason.PERMISSION_MISSING, "No.")
TAKEN: Final = PlatformError(Reason.SPEC_CONFLICT, "There is one.")
LOST: Final = UnavailableError(Reason.CONTROL_PLANE_UNAVAILABLE, "No answer.")


@pytest.fixture
async def process(arguments: tuple[Any, ...], database: asyncpg.Connection) -> Callable[[], AskedForStore]:
    """Makes the store of another process. Nothing was asked for yet."""
    await database.execute(f"DELETE FROM {SCHEMA}.asked_for")
    return lambda: AskedForStore(OwnTables(*arguments))


class NoDatabase(OwnTables):
    """The tables of a database that is not there yet."""

    absent = True

    async def rows(self, *arguments: Any) -> Any:
        """Fail until the database is there."""
        if self.absent:
            raise DatabaseAbsentError("There is no database yet.")
        return await super().rows(*arguments)


async def ask(store: AskedForStore, spec: Mapping[str, Any], *, answer: ApiError | None = None) -> None:
    """Request a table, which the platform accepts or answers with an error."""
    with suppress(ApiError):
        async with store.asking(TABLE, spec):
            if answer is not None:
                raise answer


async def of(store: AskedForStore, uid: str | None, *, later: float = 0) -> Mapping[str, Any] | None:
    """What is known of the table that was created now or so many minutes later."""
    return await store.of(TABLE, uid, datetime.now(UTC) + timedelta(minutes=later))


@pytest.mark.parametrize("answer", [None, LOST])
async def test_what_was_asked_for_is_known_to_every_process(
    process: Callable[[], AskedForStore], answer: ApiError | None
) -> None:
    """Of the table that is there since, and not of a later one of the same name."""
    await ask(process(), SPEC, answer=answer)
    other, third = process(), process()
    assert await of(other, "uid-1") == SPEC
    assert await of(third, "uid-2") is None
    assert await of(other, "uid-2") is None
    assert await of(third, "uid-1") == SPEC
    assert await of(third, "uid-1", later=600) == SPEC
    assert await third.of("orders.public.another", "uid-1", None) is None


async def test_without_statements_a_process_knows_what_is_in_its_memory(
    process: Callable[[], AskedForStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has requested itself, and what it has loaded while the database was in use anyway."""
    one, other = process(), process()
    await ask(one, SPEC)
    sent: list[object] = []
    rows = OwnTables.rows

    async def note(tables: OwnTables, *arguments: Any) -> Any:
        sent.append(arguments)
        return await rows(tables, *arguments)

    monkeypatch.setattr(OwnTables, "rows", note)
    assert await of(one.in_memory(), "uid-1") == SPEC
    assert await of(other.in_memory(), "uid-1") is None
    assert sent == []
    # The first process now knows of which table it is, and writes it down when it may.
    assert await of(one, "uid-1") == SPEC
    await other.load([TABLE.upper(), "orders.public.another"])
    sent.clear()
    assert await of(other.in_memory(), "uid-1") == SPEC
    assert await of(other.in_memory(), "uid-2") is None
    assert sent == []


async def test_what_is_asked_for_again_replaces_what_was_asked_before(process: Callable[[], AskedForStore]) -> None:
    """Also for a process that knew it, and one that has asked for something else long ago."""
    one, other = process(), process()
    await ask(other, SPEC)
    await ask(one, SPEC)
    assert await of(one, "uid-1") == SPEC
    await ask(one, OTHER)
    assert await of(one, "uid-2") == OTHER
    assert await of(other, "uid-2") == OTHER
    assert await of(process(), "uid-2") == OTHER


@pytest.mark.parametrize("answer", [FORBIDDEN, TAKEN])
async def test_what_the_platform_refused_is_not_known_of_the_table_of_another_client(
    process: Callable[[], AskedForStore], answer: ApiError
) -> None:
    """Neither in the process that asked nor in another one; and what was known of the table that exists still is."""
    one = process()
    await ask(one, OTHER, answer=answer)
    assert await of(one, "uid-1") is None
    assert await of(process(), "uid-1") is None
    await ask(one, SPEC)
    assert await of(one, "uid-2") == SPEC
    await ask(one, OTHER, answer=answer)
    assert await of(one, "uid-2") == SPEC
    assert await of(process(), "uid-2") == SPEC


async def test_a_table_that_is_seen_before_its_request_is_refused_is_another_clients(
    process: Callable[[], AskedForStore],
) -> None:
    """Another client was faster, and the table was read while the request was under way."""
    one = process()
    with suppress(PlatformError):
        async with one.asking(TABLE, OTHER):
            assert await of(process(), "uid-1") == OTHER
            raise TAKEN
    assert await of(one, "uid-1") is None
    assert await of(process(), "uid-1") is None


async def test_the_refusal_of_a_repetition_leaves_what_an_earlier_request_asked_for(
    process: Callable[[], AskedForStore],
) -> None:
    """The answer to the first one was lost, and its table is why the platform refuses the second."""
    await ask(process(), SPEC, answer=LOST)
    await ask(process(), SPEC, answer=TAKEN)
    assert await of(process(), "uid-1") == SPEC


async def test_a_table_that_was_created_at_another_time_is_another_clients(
    process: Callable[[], AskedForStore],
) -> None:
    """The request was accepted, but failed; or nobody knows what became of it."""
    one = process()
    await ask(one, SPEC)
    assert await of(one, "uid-1", later=6) is None
    assert await of(process(), "uid-1", later=-6) is None
    assert await of(one, None) == SPEC
    await one.forget(TABLE)
    assert await of(one, "uid-1") is None
    assert await of(process(), "uid-1") is None


async def test_a_copy_of_the_database_does_not_know_it(
    process: Callable[[], AskedForStore], database: asyncpg.Connection
) -> None:
    """The row is of another home there."""
    await ask(process(), SPEC)
    await database.execute(f"UPDATE {SCHEMA}.asked_for SET home = 'another'")
    copy = process()
    assert await of(copy, "uid-1") is None
    await ask(copy, OTHER)
    assert await of(process(), "uid-1") == OTHER


async def test_what_was_asked_for_without_a_database_is_written_once_there_is_one(
    process: Callable[[], AskedForStore], arguments: tuple[Any, ...]
) -> None:
    """As while everything is being provisioned."""
    tables = NoDatabase(*arguments)
    store = AskedForStore(tables)
    await ask(store, SPEC)
    assert await of(store, "uid-1") == SPEC
    tables.absent = False
    assert await of(store, "uid-1") == SPEC
    assert await of(process(), "uid-1") == SPEC
