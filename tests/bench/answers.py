"""The check of a contender's responses before it is measured: the right orders, with all their values."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from tests.bench.asks import Page, keys_query
from tests.bench.load import checked, connected
from tests.bench.measuring import BenchError
from tests.bench.wrk import Volley

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.asks import Ask
    from tests.bench.contenders import Running
    from tests.bench.dialects import Dialect, Request

# How many responses of each work are checked. All of them have the same form.
_LOOKED_AT: Final = 8
# Enough for a just-in-time compiler, and for PostgreSQL to switch to generic plans.
_WARMING: Final = 10
_WARMING_SECONDS: Final = 0.5
_VALUES: Final = 8
_FEW_VALUES: Final = 2


class Truth:
    """The expected keys, as PostgreSQL itself returns them. Each ask is run once."""

    def __init__(self, table: str, run_sql: Callable[[str], str]) -> None:
        self._table = table
        self._run_sql = run_sql
        self._known: dict[Ask, list[int]] = {}

    def keys(self, ask: Ask) -> list[int]:
        """The keys that the response has to contain."""
        if ask not in self._known:
            self._known[ask] = json.loads(self._run_sql(keys_query(ask, self._table)))
        return self._known[ask]


async def volley_of(running: Running, name: str, asks: Sequence[Ask], truth: Truth) -> Volley | None:
    """A work's requests for a contender, with checked responses; None if the contender cannot do the work.

    Raises:
        BenchError: a response is wrong.
    """
    requests = [request for ask in asks if (request := running.dialect.request(ask))]
    if len(requests) < len(asks):
        return None

    def check(number: int, answer: Any) -> None:
        _check(running.name, running.dialect, asks[number], answer, truth)

    volley = Volley(
        f"{running.name}: {name}", running.url, running.process_id, [as_bytes(running.url, one) for one in requests]
    )
    return await looked_at(volley, check, _LOOKED_AT)


async def looked_at(volley: Volley, check: Callable[[int, Any], None], count: int) -> Volley:
    """Send the requests, check so many of the responses, and warm the contender up.

    Returns:
        The volley with the mean size of the checked responses.

    Raises:
        BenchError: a response is wrong.
    """
    sizes = []
    async with connected(volley.url) as clients:
        for number, request in enumerate(volley.requests[:count]):
            head, content = await clients[0].send(request)
            check(number, orjson.loads(checked(head, content)))
            sizes.append(len(head) + len(content))
        until = time.monotonic() + _WARMING_SECONDS
        for _ in range(_WARMING):
            await asyncio.gather(
                *(client.send(request) for client, request in zip(clients, volley.requests, strict=False))
            )
            if time.monotonic() > until:
                break
    return dataclasses.replace(volley, answer_bytes=sum(sizes) / len(sizes))


async def check_the_same(ours: Volley, floor: Volley) -> None:
    """Compare the floor's responses with ours: the same keys in order, and the same values except for estimates.

    Raises:
        BenchError: a response differs.
    """
    async with connected(ours.url, 1) as (our_client,), connected(floor.url, 1) as (floor_client,):
        for our_request, request in zip(ours.requests[:_LOOKED_AT], floor.requests, strict=False):
            wanted = _comparable(checked(*await our_client.send(our_request)))
            found = _comparable(checked(*await floor_client.send(request)))
            if found != wanted:
                raise BenchError(f"the floor's answer differs from ours: {found[:200]!r}, {wanted[:200]!r}")


def _comparable(content: bytes) -> bytes:
    answer = orjson.loads(content)
    for field in answer["data"].values():
        field.pop("totalCount", None)
    return orjson.dumps(answer)


def _check(name: str, dialect: Dialect, ask: Ask, answer: Any, truth: Truth) -> None:
    try:
        orders = dialect.orders(ask, answer)
        found, wanted = [_key(order) for order in orders], truth.keys(ask)
    except (AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise BenchError(f"{name} answers {ask} with {str(answer)[:200]}") from error
    if found != wanted:
        raise BenchError(f"{name} answers {ask} with the orders {found[:3]}... instead of {wanted[:3]}...")
    values = (_FEW_VALUES if ask.few else _VALUES) + ask.status if isinstance(ask, Page) else _VALUES
    for order in orders:
        if len(order) < values or any(value in (None, "") for value in order.values()):
            raise BenchError(f"{name} answers {ask} with an order without all its values: {order}")


def _key(order: Mapping[str, Any]) -> int:
    return int(next(iter(order.values())))


def as_bytes(url: str, request: Request) -> bytes:
    """The request as it is sent, with its head."""
    lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {urlsplit(url).netloc}", "accept: application/json"]
    if request.body:
        lines += ["content-type: application/json", f"content-length: {len(request.body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + request.body
