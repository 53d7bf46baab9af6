"""What the contenders are asked for, pages of orders and single orders, and the orders that they have to return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Bounds for TPC-H's dates and prices. They select a seventh of the orders, spread over all keys.
FROM_DAY: Final = "1995-01-01"
UNTIL_DAY: Final = "1996-01-01"
LEAST_PRICE: Final = "100000"


@dataclass(frozen=True, slots=True)
class Page:
    """A number of orders after the one with this key, or before it if `backward` is set.

    Attributes:
        few: select only the key and the price.
        status: select the merged status too.
        filtered: only orders of one year, from a certain price on.
        counted: select the estimated number of orders too.
        text: each number gives another text of the same document.
    """

    size: int
    key: int
    few: bool = False
    status: bool = False
    filtered: bool = False
    backward: bool = False
    counted: bool = False
    text: int | None = None


@dataclass(frozen=True, slots=True)
class Single:
    """The order with this key."""

    key: int


@dataclass(frozen=True, slots=True)
class Several:
    """The orders with these keys, in one request, each with an alias."""

    keys: tuple[int, ...]


Ask = Page | Single | Several


def keys_query(ask: Ask, table: str) -> str:
    """The SQL for the keys that the response has to contain, as one JSON array in order."""
    if not isinstance(ask, Page):
        keys = (ask.key,) if isinstance(ask, Single) else ask.keys
        return f"SELECT '{list(keys)}'"
    conditions = [f"o_orderkey {'<' if ask.backward else '>'} {ask.key}"]
    if ask.filtered:
        conditions.append(
            f"o_orderdate >= '{FROM_DAY}' AND o_orderdate < '{UNTIL_DAY}' AND o_totalprice >= {LEAST_PRICE}"
        )
    return f"""
        SELECT json_agg(o_orderkey ORDER BY o_orderkey) FROM (
            SELECT o_orderkey FROM {table} WHERE {" AND ".join(conditions)}
            ORDER BY o_orderkey {"DESC" if ask.backward else "ASC"} LIMIT {ask.size}
        ) AS page
    """
