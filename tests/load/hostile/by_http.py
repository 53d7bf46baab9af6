"""Attacks by HTTP: requests that are cheap to send and may be expensive to answer, and connections that say little."""

from __future__ import annotations

import asyncio
import json
import random
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.load.hostile.attack import Attack

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.load.hostile.target import Target

    Note = Callable[[str], None]

# Just below the default of BODY_BYTES.
LONG_BYTES: Final = 2_000_000
_ALIASES: Final = 20
_COMMENT_CHARACTERS: Final = 65_000
_PIPELINED: Final = 30
_TRICKLE_SECONDS: Final = 0.5
_GARBAGE: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /api/graphql HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /api/graphql HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 300 + b"\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
)


def _query(text: str, **others: object) -> bytes:
    return json.dumps({"query": text, **others}).encode()


@cache
def small_lists(size: int) -> str:
    """A JSON list of empty lists, of this many bytes: it parses to twenty times as much."""
    return f"[{'[],' * (size // 3)}[]]"


async def _idle_upgrade(target: Target, _number: int, note: Note) -> str:
    """An upgrade that announces a byte of a body, and never sends it."""
    async with target.connection() as connection:
        await connection.send(target.upgrade("Content-Length: 1"))
        note("sent")
        return await connection.answer(seconds=None)


async def _silent_connection(target: Target, number: int, note: Note) -> str:
    """A connection that sends nothing, or the beginning of a request."""
    async with target.connection() as connection:
        await connection.send((b"", target.upgrade()[:80], b"POST /api/graphql HTTP/1.1\r\nX-")[number % 3])
        note("sent")
        await connection.ended()
    return "closed"


async def _trickle(target: Target, number: int, note: Note) -> str:
    """A request that sends a byte now and then, of its headers or its body."""
    request = target.request(b" " * 1_000)
    async with target.connection() as connection:
        await connection.send(request[:100] if number % 2 else request[:-900])
        ended = asyncio.create_task(connection.ended())
        note("sent")
        try:
            while not ended.done():
                await connection.send(b"x" if number % 2 else b" ")
                await asyncio.wait([ended], timeout=_TRICKLE_SECONDS)
        finally:
            ended.cancel()
    return "closed"


async def _garbage(target: Target, number: int, _note: Note) -> str:
    """Bytes that are not HTTP, or not quite."""
    noise = random.Random(number).randbytes(2_000)  # noqa: S311 # the same noise in every run
    async with target.connection() as connection:
        await connection.send([*_GARBAGE, noise][number % (len(_GARBAGE) + 1)])
        return await connection.answer()


async def _brackets(target: Target, number: int, _note: Note) -> str:
    """A body of two megabytes that is nothing but brackets, alone or as variables."""
    nested, flat = "[" * LONG_BYTES, small_lists(LONG_BYTES)
    texts = (nested, f'{{"query":"{{__typename}}","variables":{{"a":{flat}}}}}', f"[{flat}]")
    return await target.ask(texts[number % 3].encode())


async def _long_extensions(target: Target, number: int, _note: Note) -> str:
    """Two megabytes of `extensions`, and two megabytes as the operation's name, for the smallest query."""
    long = f'"extensions":{{"a":{small_lists(LONG_BYTES)}}}' if number % 2 else f'"operationName":"{"a" * LONG_BYTES}"'
    return await target.ask(f'{{"query":"{{__typename}}",{long}}}'.encode())


async def _unindexed_pages(target: Target, number: int, _note: Note) -> str:
    """Pages with a condition that no index backs, and that no order meets: each scans the table."""
    pages = (
        f'p{page}: orders(first: 1, filter: {{clerk: {{eq: "{number}"}}}}) {{ nodes {{ orderKey }} }}'
        for page in range(_ALIASES)
    )
    return await target.ask(_query(f"{{ {' '.join(pages)} }}"))


async def _far_pages(target: Target, number: int, _note: Note) -> str:
    """Numbered pages at the end of the table: each skips all orders before it."""
    pages = (
        f"p{page}: ordersPage(page: {target.orders - page}, pageSize: 1) {{ nodes {{ orderKey }} }}"
        for page in range(_ALIASES)
    )
    return await target.ask(_query(f"{{ {' '.join(pages)} a{number}: __typename }}"))


async def _long_comments(target: Target, number: int, _note: Note) -> str:
    """The smallest query with the longest comment."""
    return await target.ask(_query(f"{{ __typename }} # {number} {'x' * _COMMENT_CHARACTERS}"))


async def _unknown_fields(target: Target, number: int, _note: Note) -> str:
    """A filter with three hundred fields that there are not."""
    fields = " ".join(f"u{field}x{number}: 1" for field in range(300))
    return await target.ask(_query(f"{{ orders(first: 1, filter: {{ {fields} }}) {{ nodes {{ orderKey }} }} }}"))


async def _new_texts(target: Target, number: int, note: Note) -> str:
    """Small queries, each of which is new to the server."""
    async with target.connection() as connection:
        for text in range(100):
            await connection.send(target.request(_query(f"{{ order(orderKey: 1) {{ a{number}x{text}: orderKey }} }}")))
            outcome = await connection.answer()
            note(outcome)
    return outcome


async def _typename_aliases(target: Target, number: int, _note: Note) -> str:
    """A page of a thousand orders with nothing but `__typename`, thirty times."""
    names = " ".join(f"a{alias}: __typename" for alias in range(30))
    return await target.ask(_query(f"{{ orders(first: 1000) {{ nodes {{ {names} }} }} b{number}: __typename }}"))


async def _failed_tokens(target: Target, number: int, note: Note) -> str:
    """Requests and event streams with forged tokens, or with none."""
    async with target.connection() as connection:
        for attempt in range(50):
            which = (number + attempt) % (len(target.forged) + 1)
            token = "" if which == len(target.forged) else target.forged[which]
            path = "/api/graphql/stream" if attempt % 5 == 0 else "/api/graphql"
            await connection.send(target.request(_query("{ __typename }"), "Accept: */*", path=path, token=token))
            outcome = await connection.answer()
            note(outcome)
    return outcome


async def _slow_reader(target: Target, _number: int, note: Note) -> str:
    """Thirty pages of a thousand orders at once, of which the client reads nothing."""
    page = _query("{ orders(first: 1000) { nodes { orderKey clerk comment totalPrice orderDate } } }")
    async with target.connection(receives=4_096) as connection:
        connection.stop_reading()
        await connection.send(target.request(page) * _PIPELINED)
        note("sent")
        return await connection.cut_off()


ATTACKS: Final = (
    Attack("upgrades with a length and no body", _idle_upgrade, 750, 0.005),
    Attack("silent connections and half requests", _silent_connection, 100, 0.02),
    Attack("trickling requests", _trickle, 100, 0.05),
    Attack("garbage instead of HTTP", _garbage, 10, 0.05),
    Attack("bodies of brackets", _brackets, 2, 0.5),
    Attack("extensions and names of 2 MB", _long_extensions, 2, 0.5),
    Attack("20 unindexed pages", _unindexed_pages, 1, 0.1),
    Attack("20 far pages", _far_pages, 1, 0.1),
    Attack("comments of 65 KB", _long_comments, 2, 0.2),
    Attack("300 unknown fields", _unknown_fields, 2, 0.2),
    Attack("small new texts", _new_texts, 2, 0.35),
    Attack("30 aliases of __typename over 1,000 orders", _typename_aliases, 2, 0.3),
    Attack("failed tokens", _failed_tokens, 2, 0.3),
    Attack("readers of nothing", _slow_reader, 50, 0.2),
)
