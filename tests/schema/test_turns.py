"""Turns: heavy work runs one piece at a time, the smallest first, and others run in between."""

from __future__ import annotations

import asyncio
import contextlib

from schema.turns import Turns

HEAVY = 50
ROUND_TRIPS = 4


async def test_others_are_served_between_two_pieces_of_work() -> None:
    """A client that needs several round trips is served while most of the work still waits."""
    turns, done = Turns(), 0

    async def work() -> None:
        nonlocal done
        await turns.take(1)
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


async def test_the_smallest_piece_goes_first() -> None:
    """A short text does not wait for all the long ones that came before it."""
    turns, order = Turns(), []

    async def work(size: int) -> None:
        await turns.take(size)
        order.append(size)

    await asyncio.gather(*(work(size) for size in (5, 9, 7, 9, 3)))
    # The first piece found none before it.
    assert order == [5, 3, 7, 9, 9]


async def test_a_piece_that_waits_for_nobody_runs_at_once() -> None:
    """Without a crowd, nothing is put off."""
    turn = Turns().take(1)
    with contextlib.closing(turn):
        try:
            turn.send(None)
        except StopIteration:
            return
    raise AssertionError


async def test_a_caller_that_goes_away_holds_up_nobody() -> None:
    """Its turn passes to the next."""
    turns, order = Turns(), []

    async def work(size: int) -> None:
        await turns.take(size)
        order.append(size)

    tasks = [asyncio.ensure_future(work(size)) for size in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 3, 4]
    # A caller that comes when all is over does not wait either.
    await asyncio.wait_for(turns.take(1), None)
