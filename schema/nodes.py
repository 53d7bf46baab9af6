"""Owns the fetching of objects by their global ids: which types there are, and how each is found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from schema.errors import ApiError, InputError, Reason
from schema.node import Node, decode_global_id
from schema.orders import Order, order_columns, orders_in
from schema.selection import Selection
from schema.status_changes import OrderStatusChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.context import Info

NODE_TYPES: Final[dict[str, type[Node]]] = {kind.__name__: kind for kind in (Order, OrderStatusChange)}
_KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_KEYS = range(-(2**63), 2**63)


async def nodes_by_id(info: Info, ids: Sequence[str]) -> list[Node | ApiError | None]:
    """As many as ids, in their order: the object, None where there is none, or what is wrong with the id.

    All orders are one statement, and so are all changes.
    """
    known = [_known_or_error(info, global_id) for global_id in ids]
    orders, changes = (
        list(
            dict.fromkeys(
                key for item in known if not isinstance(item, ApiError) for kind, key in [item] if kind is wanted
            )
        )
        for wanted in (Order, OrderStatusChange)
    )
    found = {**await _orders(info, orders), **await _changes(info, changes)}
    return [item if isinstance(item, ApiError) else found[item] for item in known]


def order_key_of(global_id: str) -> int:
    """The key of the order with this global id.

    Raises:
        InputError: ID_INVALID.
    """
    kind, key = _known(global_id)
    if kind is not Order:
        raise InputError(Reason.ID_INVALID, f"The id is that of an {kind.__name__}, not of an Order.")
    return key


async def _orders(info: Info, keys: list[int]) -> dict[tuple[type[Node], int], Node | ApiError | None]:
    if not keys:
        return {}
    try:
        blocks = await info.context.lookup.orders(keys, order_columns(Selection.below(info, "Order")))
    except ApiError as error:
        return {(Order, key): error for key in keys}
    return {
        (Order, key): None if block is None else next(orders_in(block)) for key, block in zip(keys, blocks, strict=True)
    }


async def _changes(info: Info, keys: list[int]) -> dict[tuple[type[Node], int], Node | ApiError | None]:
    if not keys:
        return {}
    try:
        changes = await info.context.change_lookup.changes(keys)
    except ApiError as error:
        return {(OrderStatusChange, key): error for key in keys}
    return {
        (OrderStatusChange, key): None if change is None else OrderStatusChange(change=change)
        for key, change in zip(keys, changes, strict=True)
    }


def _known_or_error(info: Info, global_id: str) -> tuple[type[Node], int] | ApiError:
    try:
        kind, key = _known(global_id)
        info.context.principal.demand(kind.role)
    except ApiError as error:
        return error
    return kind, key


def _known(global_id: str) -> tuple[type[Node], int]:
    type_name, key = decode_global_id(global_id)
    kind = NODE_TYPES.get(type_name)
    if kind is not None and _KEY.fullmatch(key) and int(key) in _KEYS:
        return kind, int(key)
    raise InputError(Reason.ID_INVALID, f"No object can have this id ({type_name}).")
