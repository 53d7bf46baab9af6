"""A query ends when its client goes away, and a change does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from starlette.requests import ClientDisconnect

from server.http.client import ClientPresence
from server.http.read_requirement import ReadRequirement, current_reads
from server.observability.request_record import RequestRecord, current_record

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def record() -> Iterator[RequestRecord]:
    """The record of the current request."""
    record = RequestRecord("a request")
    token = current_record.set(record)
    yield record
    current_record.reset(token)


@pytest.fixture
def reads() -> Iterator[ReadRequirement]:
    """What the reads of the current request require."""
    reads = ReadRequirement()
    token = current_reads.set(reads)
    yield reads
    current_reads.reset(token)


class Work:
    """Work that waits until it is let go, and notes how it ended."""

    def __init__(self) -> None:
        self.begun, self.let = asyncio.Event(), asyncio.Event()
        self.cancelled = False

    async def run(self) -> str:
        """Wait, and return a result."""
        self.begun.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


async def test_a_query_ends_with_its_caller(reads: ReadRequirement) -> None:
    """It is cancelled, with its statements, and the endpoint gets a ClientDisconnect."""
    presence, work = ClientPresence(), Work()
    answering = asyncio.create_task(presence.while_there(work.run()))
    await work.begun.wait()
    presence.leave()
    with pytest.raises(ClientDisconnect):
        await answering
    assert work.cancelled
    assert not reads.primary_only


async def test_a_query_that_is_nearly_done_is_let_go_on(record: RequestRecord) -> None:
    """To cancel its statement would cost the connection to the database."""
    presence, work = ClientPresence(), Work()
    answering = asyncio.create_task(presence.while_there(work.run()))
    await work.begun.wait()
    presence.leave()
    work.let.set()
    assert await answering == "done"
    assert not work.cancelled
    assert not record.errors


async def test_nothing_is_begun_for_a_caller_who_has_gone(record: RequestRecord) -> None:
    """The client may go away during authentication."""
    presence, work = ClientPresence(), Work()
    presence.leave()
    with pytest.raises(ClientDisconnect):
        await presence.while_there(work.run())
    assert not work.begun.is_set()
    assert not record.errors


async def test_a_change_is_made_all_the_same(reads: ReadRequirement) -> None:
    """The change may have been made already."""
    presence, work = ClientPresence(), Work()
    answering = asyncio.create_task(presence.while_there(work.run()))
    await work.begun.wait()
    # By then it is known what is asked for.
    reads.primary_only = True
    presence.leave()
    work.let.set()
    assert await answering == "done"
    assert not work.cancelled


async def test_another_cancellation_goes_on(record: RequestRecord) -> None:
    """A server that stops cancels its tasks itself, whether the clients are there or not."""
    for leaves in (False, True):
        presence, work = ClientPresence(), Work()
        answering = asyncio.create_task(presence.while_there(work.run()))
        await work.begun.wait()
        if leaves:
            presence.leave()
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert work.cancelled
    assert not record.errors


async def test_who_leaves_when_all_is_done_ends_nothing(record: RequestRecord) -> None:
    """By then the task may be sending the answer, or serving the next request."""
    presence, work = ClientPresence(), Work()

    async def answer() -> str:
        given = await presence.while_there(work.run())
        presence.leave()
        await asyncio.sleep(0)  # where a cancellation would come
        return given

    answering = asyncio.create_task(answer())
    work.let.set()
    assert await answering == "done"
    assert not record.errors
