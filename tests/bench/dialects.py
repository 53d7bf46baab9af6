"""The dialects: the request by which a server is asked for something, and where its response has the orders."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from schema.orders.types import ORDERS
from schema.relay.cursors import encode_cursor
from tests.bench.asks import FROM_DAY, LEAST_PRICE, UNTIL_DAY, Page, Several, Single
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bench.asks import Ask

_FIELDS: Final = "orderKey customerKey totalPrice orderDate orderPriority clerk shipPriority comment"
_FEW_FIELDS: Final = "orderKey totalPrice"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request without its head."""

    method: str
    path: str
    body: bytes = b""


class Dialect(Protocol):
    """How one server is asked."""

    def request(self, ask: Ask) -> Request | None:
        """The request; None if this server has nothing like it, or only by unusual means."""

    def orders(self, ask: Ask, answer: Any) -> list[Mapping[str, Any]]:
        """The orders of a response, in order. The first value of each is its key."""


def _fields(ask: Ask) -> str:
    if not isinstance(ask, Page):
        return _FIELDS
    return f"{_FEW_FIELDS if ask.few else _FIELDS}{' status' if ask.status else ''}"


def operation_name(ask: Ask) -> str:
    """The name of the operation, by which the floor recognises it."""
    if not isinstance(ask, Page):
        return type(ask).__name__
    kinds = ("few", "status", "filtered", "backward", "counted")
    return f"{''.join(kind.capitalize() for kind in kinds if getattr(ask, kind))}Page"


@dataclass(frozen=True, slots=True)
class Relay:
    """Our schema, the part of it that a handwritten peer has, or a similar generated one.

    Args:
        path: the path of the endpoint.
        cursor: makes the cursor of the order with a key.
        cursor_type: the type of the arguments `after` and `before`.
        merged: the name of the field whose orders have the merged status.
        merged_cursor: makes the cursors of that field, if they are different.
        lacks: the attributes of a page that this server has no usual means for.
    """

    path: str
    cursor: Callable[[int], str]
    cursor_type: str = "String"
    merged: str = "orders"
    merged_cursor: Callable[[int], str] | None = None
    lacks: frozenset[str] = frozenset()

    def request(self, ask: Ask) -> Request | None:
        """A POST with variables, as clients send it."""
        if isinstance(ask, Page) and any(getattr(ask, kind) not in (None, False) for kind in self.lacks):
            return None
        document, variables = self._page(ask) if isinstance(ask, Page) else _lookup(ask)
        body = {"query": document, "operationName": operation_name(ask), "variables": variables}
        return Request("POST", self.path, orjson.dumps(body))

    def orders(self, ask: Ask, answer: Any) -> list[Mapping[str, Any]]:
        """The nodes of the edges, or the fields with aliases."""
        data = answer["data"]
        if not isinstance(ask, Page):
            return list(data.values())
        (connection,) = data.values()
        if not (ask.few or all(edge["cursor"] for edge in connection["edges"])):
            return []
        return [edge["node"] for edge in connection["edges"]]

    def _page(self, ask: Page) -> tuple[str, dict[str, Any]]:
        size, place = ("last", "before") if ask.backward else ("first", "after")
        declared = f"${size}: Int!, ${place}: {self.cursor_type}!"
        arguments = f"{size}: ${size}, {place}: ${place}"
        cursor = self.merged_cursor if ask.status and self.merged_cursor else self.cursor
        variables: dict[str, Any] = {size: ask.size, place: cursor(ask.key)}
        if ask.filtered:
            declared, arguments = f"{declared}, $filter: OrderFilter", f"{arguments}, filter: $filter"
            variables["filter"] = {
                "orderDate": {"gte": FROM_DAY, "lt": UNTIL_DAY},
                "totalPrice": {"gte": LEAST_PRICE},
            }
        flag, end = ("hasPreviousPage", "startCursor") if ask.backward else ("hasNextPage", "endCursor")
        alias = "" if ask.text is None else f"text{ask.text}: "
        root = self.merged if ask.status else "orders"
        with_cursor = "" if ask.few else "cursor "
        count = " totalCount(precision: ESTIMATED)" if ask.counted else ""
        document = (
            f"query {operation_name(ask)}({declared}) {{ {alias}{root}({arguments}) {{ "
            f"edges {{ {with_cursor}node {{ {_fields(ask)} }} }} pageInfo {{ {flag} {end} }}{count} }} }}"
        )
        return document, variables


def _lookup(ask: Single | Several) -> tuple[str, dict[str, Any]]:
    if isinstance(ask, Single):
        document = f"query Single($key: BigInt!) {{ order(orderKey: $key) {{ {_FIELDS} }} }}"
        return document, {"key": str(ask.key)}
    names = [f"key{index}" for index in range(len(ask.keys))]
    declared = ", ".join(f"${name}: BigInt!" for name in names)
    fields = " ".join(f"order{index}: order(orderKey: ${name}) {{ {_FIELDS} }}" for index, name in enumerate(names))
    return f"query Several({declared}) {{ {fields} }}", {
        name: str(key) for name, key in zip(names, ask.keys, strict=True)
    }


def our_cursor(key: int) -> str:
    """Our server's cursor for orders sorted by key."""
    return encode_cursor(ordering_by(ORDERS, ORDERS["order_key"]), (), (key,))


def plain_cursor(key: int) -> str:
    """A handwritten peer's cursor."""
    return base64.b64encode(str(key).encode()).decode()


class Endpoints:
    """The guide's recipe: one path for pages, another for an order, and all columns in each response."""

    def request(self, ask: Ask) -> Request | None:
        """A GET of one of the two paths."""
        if isinstance(ask, Single):
            return Request("GET", f"/orders/{ask.key}")
        if not isinstance(ask, Page) or ask.text is not None or ask.few or ask.filtered or ask.backward or ask.counted:
            return None
        orders = "merged-orders" if ask.status else "orders"
        return Request("GET", f"/{orders}/stream?cursor={ask.key}&page_size={ask.size}")

    def orders(self, ask: Ask, answer: Any) -> list[Mapping[str, Any]]:
        """The orders, whose values are named like the columns."""
        return [answer] if isinstance(ask, Single) else answer["orders"]
