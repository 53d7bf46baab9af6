"""Owns the measurement of pages: near, in the middle and far, with the merged status and without."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import orjson

from tests.bench.load import CLIENTS, BenchError, Client, Contender, compete, connected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from tests.bench.load import Load, Plan
    from tests.process import Server

SIZE: Final = 100
CHANGED: Final = 10_000
PLACES: Final = ("near", "middle", "far")
_AT_ONCE: Final = 1_000
_FIELDS: Final = "orderKey customerKey totalPrice orderDate orderPriority clerk shipPriority comment"
_PAGE: Final = """
query Page($first: Int!, $after: String!) {
  orders(first: $first, after: $after, orderBy: {field: ORDER_KEY}) {
    edges { cursor node { %s } } pageInfo { hasNextPage endCursor }
  }
}
"""
_CURSOR: Final = """
query Cursor($key: BigInt!) {
  orders(first: 1, filter: {orderKey: {eq: $key}}, orderBy: {field: ORDER_KEY}) { edges { cursor } }
}
"""
_CHANGE: Final = """
mutation Change($changes: [OrderStatusChangeInput!]!) {
  setOrderStatuses(input: {changes: $changes, mode: ATOMIC}) { results { change { id } } userErrors { message } }
}
"""


async def change_orders(server: Server, keys: Sequence[int]) -> None:
    """Set the status of these orders, none of which has been changed yet.

    Raises:
        BenchError: one of them was not.
    """
    async with connected(server.graphql, 1) as (client,):
        for start in range(0, len(keys), _AT_ONCE):
            # An order may have one of them already, and then has the other in the end.
            for status in ("PARTIAL", "OPEN"):
                changes = [{"orderKey": str(key), "status": status} for key in keys[start : start + _AT_ONCE]]
                body = orjson.dumps({"query": _CHANGE, "variables": {"changes": changes}})
                if (await client.post(body))["setOrderStatuses"]["userErrors"]:
                    raise BenchError("Some orders could not be changed.")


def contender(place: str, *, with_status: bool, sequential: bool) -> str:
    """Its name in what is measured."""
    return f"{place}{', with status' if with_status else ''}{', one client' if sequential else ''}"


async def measure_pages(server: Server, keys: Mapping[str, int], plan: Plan) -> Mapping[str, list[Load]]:
    """Each place's page after the order with its key, with and without status, by one client and by many."""
    async with AsyncExitStack() as stack:
        clients = await stack.enter_async_context(connected(server.graphql))
        contenders = []
        for place in PLACES:
            cursor = await _cursor(clients[0], keys[place])
            for with_status in (False, True):
                body = orjson.dumps(
                    {
                        "query": _PAGE % (f"{_FIELDS} status" if with_status else _FIELDS),
                        "variables": {"first": SIZE, "after": cursor},
                    }
                )
                turns = [_turn(client, body) for client in clients]
                for count in (1, CLIENTS):
                    name = contender(place, with_status=with_status, sequential=count == 1)
                    contenders.append(Contender(name, turns[:count], server.process.pid))
        return await compete("pages", contenders, plan)


async def _cursor(client: Client, key: int) -> str:
    data = await client.post(orjson.dumps({"query": _CURSOR, "variables": {"key": str(key)}}))
    cursor: str = data["orders"]["edges"][0]["cursor"]
    return cursor


def _turn(client: Client, body: bytes) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        orders = (await client.post(body))["orders"]
        if len(orders["edges"]) != SIZE or not orders["pageInfo"]["hasNextPage"]:
            raise BenchError(f"A page of {SIZE} orders in the midst of others has {len(orders['edges'])}.")

    return turn
