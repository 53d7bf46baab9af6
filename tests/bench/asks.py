"""Owns what is asked, whoever is asked: pages of orders and single orders, and which orders the answers have to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# TPC-H's days and prices: these are a seventh of the orders, spread over all keys.
FROM_DAY: Final = "1995-01-01"
UNTIL_DAY: Final = "1996-01-01"
LEAST_PRICE: Final = "100000"


@dataclass(frozen=True, slots=True)
class Page:
    """So many orders after the one with this key; `backward`, before it.

    Attributes:
        few: only the order's key and its price are asked for.
        status: the merged status too.
        filtered: only orders of a year and from a price on.
        counted: how many orders there are is asked for too, estimated.
        text: another text of the same document for each number.
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
    """The orders with these keys, each under an alias of its own, in one request."""

    keys: tuple[int, ...]


Ask = Page | Single | Several


def keys_query(ask: Ask, table: str) -> str:
    """The SQL of the keys that the answer has to hold, as one JSON array in their order."""
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
