"""Attacks by WebSocket: sockets that say nothing, messages that unpack or parse to much, and subscriptions that multiply."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.load.hostile.attack import Attack
from tests.load.hostile.by_http import LONG_BYTES, small_lists
from tests.load.hostile.target import Socket

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.load.hostile.target import Target

    Note = Callable[[str], None]

_DEFLATE: Final = "Sec-WebSocket-Extensions: permessage-deflate"
# Each flush of a compressor ends with this. It is left out at the end of a message.
_FLUSHED: Final = b"\x00\x00\xff\xff"
_FEED: Final = "subscription { orderStatusChanged { cursor } }"
_ORDERS: Final = " ".join(
    f"a{alias}: order {{ orderKey status clerk comment totalPrice orderDate }}" for alias in range(30)
)
_MULTIPLIED: Final = f"subscription {{ orderStatusChanged {{ cursor {_ORDERS} }} }}"
_CHANGES: Final = (
    "mutation ($input: SetOrderStatusesInput!) { setOrderStatuses(input: $input) { userErrors { code } } }"
)
_SOCKETS: Final = 10
_SUBSCRIPTIONS: Final = 50
_STATUSES: Final = ("OPEN", "PARTIAL", "FULFILLED")
_PAUSE_SECONDS: Final = 15.0


async def _silent_socket(target: Target, _number: int, note: Note) -> str:
    """A socket that says nothing after its handshake."""
    async with target.connection() as connection:
        opened = await Socket.open(connection, target, init=False)
        note("opened")
        return await opened.ended()


async def _deflate_bomb(target: Target, number: int, _note: Note) -> str:
    """A `connection_init` of a few kilobytes that unpacks to two megabytes; the same unpacked if nothing is compressed."""
    async with target.connection() as connection:
        opened = await Socket.open(connection, target, _DEFLATE, init=False)
        await opened.send(_bomb(number % 2) if opened.deflates else _bracketed(number % 2), compressed=opened.deflates)
        return await opened.outcome()


@cache
def _bracketed(kind: int) -> bytes:
    payload = "[" * LONG_BYTES if kind else f'{{"a":{small_lists(LONG_BYTES)}}}'
    return f'{{"type":"connection_init","payload":{payload}}}'.encode()


@cache
def _bomb(kind: int) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(_bracketed(kind)) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_FLUSHED)


async def _long_message(target: Target, number: int, _note: Note) -> str:
    """Two megabytes of brackets in a message that needs none, or in the variables of an operation."""
    flat = small_lists(LONG_BYTES)
    variables = f'{{"type":"subscribe","id":"1","payload":{{"query":"{{__typename}}","variables":{{"a":{flat}}}}}}}'
    messages = (
        f'{{"type":"ping","payload":{{"a":{flat}}}}}',
        variables,
        f'{{"type":"pong","payload":{{"a":{"[" * LONG_BYTES}}}}}',
        f'{{"type":"complete","id":"1","a":{flat}}}',
    )
    async with target.connection() as connection:
        opened = await Socket.open(connection, target)
        await opened.send(messages[number % len(messages)].encode())
        # A message that is ignored is not answered, but the next one is.
        await opened.say({"type": "ping"})
        return await opened.outcome()


async def _held_extensions(target: Target, _number: int, note: Note) -> str:
    """A subscription with two megabytes of `extensions`, which the server might hold for as long as it lasts."""
    held = f'"payload":{{"query":{json.dumps(_FEED)},"extensions":{{"a":{small_lists(LONG_BYTES)}}}}}'
    async with target.connection() as connection:
        opened = await Socket.open(connection, target)
        await opened.send(f'{{"type":"subscribe","id":"1",{held}}}'.encode())
        note("sent")
        return await _errors_of(opened)


async def _long_ids(target: Target, _number: int, note: Note) -> str:
    """A subscription whose id has two megabytes, which the server might repeat with each event."""
    async with target.connection() as connection:
        opened = await Socket.open(connection, target)
        await opened.say({"type": "subscribe", "id": "i" * LONG_BYTES, "payload": {"query": _FEED}})
        note("sent")
        return await _errors_of(opened)


async def _errors_of(opened: Socket) -> str:
    """Read events until one is an error, or the server closes the socket."""
    while (outcome := await opened.outcome(seconds=None)) == "next":
        pass
    return outcome


async def _multiplied(target: Target, number: int, note: Note) -> str:
    """500 subscriptions of 30 aliases of an order, and now and then a list of a thousand changes."""
    async with contextlib.AsyncExitStack() as stack:
        reading = []
        for _ in range(_SOCKETS):
            connection = await stack.enter_async_context(target.connection())
            opened = await Socket.open(connection, target)
            for id_ in range(_SUBSCRIPTIONS):
                await opened.say({"type": "subscribe", "id": str(id_), "payload": {"query": _MULTIPLIED}})
            reading.append(asyncio.create_task(opened.ended()))
        note("subscribed")
        try:
            while not all(task.done() for task in reading):
                number += 1
                status = _STATUSES[number % len(_STATUSES)]
                changes = [{"orderKey": str(key), "status": status} for key in target.keys]
                body = {"query": _CHANGES, "variables": {"input": {"changes": changes}}}
                note(await target.ask(json.dumps(body).encode()))
                await asyncio.wait(reading, timeout=_PAUSE_SECONDS)
        finally:
            for task in reading:
                task.cancel()
        return reading[0].result()


async def _failed_init(target: Target, number: int, _note: Note) -> str:
    """A `connection_init` with a forged token."""
    async with target.connection() as connection:
        opened = await Socket.open(connection, target, init=False)
        token = target.forged[number % len(target.forged)]
        await opened.say({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        return await opened.outcome()


ATTACKS: Final = (
    Attack("silent sockets", _silent_socket, 100, 0.02),
    Attack("deflate bombs before a token", _deflate_bomb, 2, 0.5),
    Attack("messages of brackets", _long_message, 2, 0.5),
    # Few: a server that holds them holds a gigabyte.
    Attack("subscriptions with 2 MB of extensions", _held_extensions, 20, 1.0),
    Attack("subscriptions with ids of 2 MB", _long_ids, 2, 1.0),
    Attack("500 subscriptions of 30 orders, lists of 1,000 changes", _multiplied, 1, 5.0),
    Attack("sockets with failed tokens", _failed_init, 5, 0.1),
)
