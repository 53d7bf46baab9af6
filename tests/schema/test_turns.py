"""Turns: heavy work runs one piece at a time, in an order that starves nobody, and others run in between."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from schema.errors import Reason, UnavailableError
from schema.turns import Turns
from tests.support.clock import in_virtual_time, now

HEAVY = 50
ROUND_TRIPS = 4


async def test_others_are_served_between_two_pieces_of_work() -> None:
    """A client that needs several round trips is served while most of the work still waits."""
    turns, done = Turns(), 0

    async def work() -> None:
        nonlocal done
        await turns.take(1, "ann")
        sum(range(100_000))
        done += 1

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while sent := await reader.read(1):
            writer.write(sent)
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        heavy = [asyncio.ensure_future(work()) for _ in range(HEAVY)]
        for _ in range(ROUND_TRIPS):
            writer.write(b"x")
            assert await reader.read(1) == b"x"
        # At most one piece runs before the loop looks at its sockets again.
        assert done < HEAVY / 2
        await asyncio.gather(*heavy)
        writer.close()
        await writer.wait_closed()
    assert done == HEAVY


@in_virtual_time
async def test_the_smallest_piece_goes_first() -> None:
    """A short text does not wait for all the long ones that came before it."""
    turns, order = Turns(), []

    async def work(size: int) -> None:
        await turns.take(size, "ann")
        order.append(size)

    await asyncio.gather(*(work(size) for size in (5, 9, 7, 9, 3)))
    # The first piece found none before it.
    assert order == [5, 3, 7, 9, 9]


async def busy(turns: Turns, caller: str, size: int, *, clients: int) -> None:
    """Clients that send a new piece as soon as the last one is done. Each piece takes a hundredth of a second."""

    async def client() -> None:
        while True:
            await turns.take(size, caller)
            await asyncio.sleep(0)

    await asyncio.gather(*(client() for _ in range(clients)))


def slow_loop(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let each piece of work take so long on the virtual clock."""
    monkeypatch.setattr("schema.turns._PAUSE_SHARE", 1.0)
    end = Turns._end  # noqa: SLF001 # the work itself takes no time on this clock
    monkeypatch.setattr(Turns, "_end", lambda self, loop, began: end(self, loop, began - seconds))


@pytest.mark.parametrize(("caller", "at_most"), [("the same", 3.0), ("another", 0.05)])
@in_virtual_time
async def test_small_pieces_do_not_starve_a_larger_one(
    monkeypatch: pytest.MonkeyPatch, caller: str, at_most: float
) -> None:
    """Forty clients send small pieces without end. Another caller waits for one of them, and the same caller for few."""
    slow_loop(monkeypatch, 0.01)
    turns = Turns()
    crowd = asyncio.ensure_future(busy(turns, "the same", 15, clients=40))
    await asyncio.sleep(1)
    began = now()
    await turns.take(1_500, caller)
    assert now() - began < at_most
    crowd.cancel()


@in_virtual_time
async def test_a_piece_that_waits_for_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the time to retry. It takes no turn from the others."""
    slow_loop(monkeypatch, 1)
    monkeypatch.setattr("schema.turns._LONGEST_SECONDS", 10)
    turns, order = Turns(), []

    async def work(number: int) -> None:
        await turns.take(1, "ann")
        order.append(number)

    results = await asyncio.gather(*(work(number) for number in range(15)), return_exceptions=True)
    assert order == [*range(len(order))]
    assert 9 <= len(order) <= 11
    late = results[len(order) :]
    assert {(error.reason, error.retry_after_seconds) for error in late if isinstance(error, UnavailableError)} == {
        (Reason.OVERLOADED, Reason.OVERLOADED.value.retry_after)
    }
    await turns.take(1, "bob")
    assert now() < 13


async def test_a_piece_that_waits_for_nobody_runs_at_once() -> None:
    """Without a crowd, nothing is put off."""
    turn = Turns().take(1, "ann")
    with contextlib.closing(turn):
        try:
            turn.send(None)
        except StopIteration:
            return
    raise AssertionError


@in_virtual_time
async def test_a_caller_that_goes_away_holds_up_nobody() -> None:
    """Its turn passes to the next."""
    turns, order = Turns(), []

    async def work(size: int) -> None:
        await turns.take(size, "ann")
        order.append(size)

    tasks = [asyncio.ensure_future(work(size)) for size in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 3, 4]
    # A caller that comes when all is over does not wait either.
    await asyncio.wait_for(turns.take(1, "ann"), None)
