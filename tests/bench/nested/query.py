"""The nested query: how each server is asked, and what PostgreSQL itself finds for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import orjson

from schema.orders.enums import OrderStatus
from tests.bench.dialects import Request
from tests.bench.measuring import BenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LINES: Final = 10
_SELECTED: Final = (
    "nodes { orderKey status totalPrice orderDate customer { name marketSegment nation { name } } "
    f"lineItems(first: {LINES}) {{ nodes {{ lineNumber quantity extendedPrice shipDate part {{ name brand }} }} }} }} "
    "pageInfo { hasNextPage endCursor }"
)
_STATUSES: Final = {str(status.value): status.name for status in OrderStatus}
_DECIMALS: Final = frozenset({"totalPrice", "quantity", "extendedPrice"})
# Written for clarity, without the shortcuts of the statements that are measured. `asked` are the keys before the pages.
_TRUTH: Final = """
SELECT json_agg(json_build_object(
    'nodes', (SELECT json_agg(node ORDER BY key) FROM ({page}) AS nodes),
    'pageInfo', json_build_object(
        'hasNextPage', (SELECT max(key) FROM ({page}) AS nodes) < (SELECT max(o_orderkey) FROM {orders}),
        'endCursor', (SELECT max(key) FROM ({page}) AS nodes))
) ORDER BY number)
FROM unnest('{{{keys}}}'::bigint[]) WITH ORDINALITY AS asked (after, number)
"""
_PAGE: Final = """
SELECT o_orderkey AS key, json_build_object(
    'orderKey', o_orderkey::text, 'status', status, 'totalPrice', o_totalprice::text, 'orderDate', o_orderdate,
    'customer', (
        SELECT json_build_object('name', c_name, 'marketSegment', c_mktsegment, 'nation', (
            SELECT json_build_object('name', n_name) FROM public.nation_synced WHERE n_nationkey = c_nationkey))
        FROM public.customer_synced WHERE c_custkey = o_custkey),
    'lineItems', json_build_object('nodes', (
        SELECT coalesce(json_agg(json_build_object(
            'lineNumber', l_linenumber, 'quantity', l_quantity::text, 'extendedPrice', l_extendedprice::text,
            'shipDate', l_shipdate, 'part', (
                SELECT json_build_object('name', p_name, 'brand', p_brand)
                FROM public.part_synced WHERE p_partkey = l_partkey)
        ) ORDER BY l_linenumber), '[]')
        FROM public.lineitem_synced WHERE l_orderkey = o_orderkey AND l_linenumber <= {lines}))
) AS node
FROM {orders} WHERE o_orderkey > after ORDER BY o_orderkey LIMIT {size}
"""


@dataclass(frozen=True, slots=True)
class NestedPage:
    """A number of orders after the one with this key, or the first ones, with what is around them."""

    size: int
    after: int | None


@dataclass(frozen=True, slots=True)
class Graph:
    """A server's dialect of the query.

    Args:
        path: the path of the endpoint.
        cursor: makes the cursor of the order with a key.
        cursor_type: the type of the argument `after`.
        root: the name of the field.
    """

    path: str
    cursor: Callable[[int], str]
    cursor_type: str = "String"
    root: str = "orders"

    def request(self, page: NestedPage) -> Request:
        """A POST with variables, as clients send it."""
        document = (
            f"query Nested($first: Int!, $after: {self.cursor_type}) "
            f"{{ {self.root}(first: $first, after: $after) {{ {_SELECTED} }} }}"
        )
        after = None if page.after is None else self.cursor(page.after)
        body = {"query": document, "operationName": "Nested", "variables": {"first": page.size, "after": after}}
        return Request("POST", self.path, orjson.dumps(body))

    def check(self, name: str, page: NestedPage, answer: Any, wanted: Any) -> None:
        """Compare a response with what PostgreSQL found. Statuses and decimals may be spelled in the server's own way.

        Raises:
            BenchError: the response differs.
        """
        try:
            (connection,) = answer["data"].values()
            found, expected = _spelled_alike(connection), _spelled_alike(wanted)
            expected["pageInfo"]["endCursor"] = self.cursor(int(wanted["pageInfo"]["endCursor"]))
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise BenchError(f"{name} answers {page} with {str(answer)[:200]}") from error
        if found != expected:
            what, instead = _difference(found, expected)
            raise BenchError(f"{name} answers {page} with {what} instead of {instead}")


def expected(pages: Sequence[NestedPage], orders: str, run_sql: Callable[[str], str]) -> list[Any]:
    """The connections of pages of one size, as PostgreSQL finds them in the merged orders and the tables around them."""
    sizes = {page.size for page in pages}
    (size,) = sizes
    page = _PAGE.format(orders=orders, size=size, lines=LINES)
    keys = ",".join(str(page.after or 0) for page in pages)
    found: list[Any] = json.loads(run_sql(_TRUTH.format(orders=orders, page=page, keys=keys)))
    return found


def _spelled_alike(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _spelled_alike(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_spelled_alike(inner) for inner in value]
    if field in _DECIMALS:
        return f"{Decimal(value):.2f}"
    return _STATUSES.get(value, value) if field == "status" else value


def _difference(found: Any, wanted: Any) -> tuple[Any, Any]:
    """The first two parts that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        return next(_difference(found[name], wanted[name]) for name in found if found[name] != wanted[name])
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return next(_difference(one, other) for one, other in zip(found, wanted, strict=True) if one != other)
    return found, wanted
