"""The processor time of operations that pay for it: the steps of their execution, and not their waits."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLInt, GraphQLObjectType, GraphQLSchema, execute, parse

from server.observability.request_record import RequestRecord, current_record
from server.traffic.processor_time import MeteredExecutor

_clock = SimpleNamespace(now=0.0)


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's time is what `hold` takes, and nothing else."""
    monkeypatch.setattr("server.traffic.processor_time.time", SimpleNamespace(thread_time=lambda: _clock.now))


def hold() -> int:
    """Hold the event loop for a second."""
    _clock.now += 1
    return 7


async def executed(field: Any, text: str, record: RequestRecord) -> Any:
    """The result of an operation on a type whose `field` is resolved by this function and whose `next` is the type."""
    fields: dict[str, GraphQLField] = {}
    query = GraphQLObjectType("Query", lambda: fields)
    fields["field"] = GraphQLField(GraphQLInt, resolve=lambda *_: field())
    fields["next"] = GraphQLField(query, resolve=lambda *_: asyncio.sleep(0, 1))
    context = copy_context()
    context.run(current_record.set, record)

    async def run() -> Any:
        result: Any = execute(GraphQLSchema(query), parse(text), executor_class=MeteredExecutor)
        return await result if hasattr(result, "__await__") else result

    return await asyncio.create_task(run(), context=context)


def paying() -> RequestRecord:
    """The record of an operation that pays for what it takes."""
    return RequestRecord("1", settle=lambda _: None)


@pytest.mark.parametrize("text", ["{ field }", "{ a: field b: field c: field }", "{ next { next { field } } }"])
async def test_each_step_counts_once_and_waits_do_not(text: str) -> None:
    """Of a field that is awaited or not, within others, and of several fields, each of which has a task then."""
    turn, back = asyncio.Event(), asyncio.Event()

    async def work() -> int:
        turn.set()
        await back.wait()
        return hold()

    async def other() -> None:
        await turn.wait()
        hold()
        back.set()

    for field, others in (hold, ()), (work, (other(),)):
        record = paying()
        result, *_ = await asyncio.gather(executed(field, text, record), *others)
        assert result.errors is None
        assert record.processor_seconds == text.count("field")


async def test_errors_and_cancellations_reach_the_work_and_come_back() -> None:
    """As if nobody measured. The time is noted all the same."""
    record, met = paying(), []

    async def failing() -> None:
        hold()
        raise LookupError

    async def waiting() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            met.append("cancelled")
            raise

    result = await executed(failing, "{ field }", record)
    assert isinstance(result.errors[0].original_error, LookupError)
    assert record.processor_seconds == 1
    task = asyncio.create_task(executed(waiting, "{ a: field b: field }", record))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert met == ["cancelled"] * 2


async def test_an_operation_that_does_not_pay_is_not_measured() -> None:
    """Without a rate limit nothing is slower."""
    record = RequestRecord("1")
    await executed(hold, "{ field }", record)
    assert record.processor_seconds == 0
