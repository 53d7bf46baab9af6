"""The read requirement of an operation: its loads know it, and end with the operation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from server.http.read_requirement import ReadRequirement, current_reads, note_load

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def reads() -> Iterator[ReadRequirement]:
    """What the reads of the current operation require."""
    reads = ReadRequirement()
    token = current_reads.set(reads)
    yield reads
    current_reads.reset(token)


async def test_loads_end_with_their_operation(reads: ReadRequirement) -> None:
    """Running loads are cancelled, and finished loads are forgotten."""
    begun = asyncio.Event()

    async def load(*, ends: bool) -> None:
        note_load()
        if not ends:
            begun.set()
            await asyncio.Event().wait()

    await asyncio.create_task(load(ends=True))
    await asyncio.sleep(0)  # a task's callbacks run in the next turn of the loop
    assert not reads.loads
    loading = asyncio.create_task(load(ends=False))
    await begun.wait()
    assert reads.loads == {loading}
    reads.cancel_loads()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await asyncio.sleep(0)
    assert not reads.loads


async def test_a_load_outside_of_an_operation_belongs_to_none() -> None:
    """The server's own reads are not cancelled with a request."""
    note_load()
    assert current_reads.get(None) is None
