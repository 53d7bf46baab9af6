"""Owns the fetching of objects by their global ids: which types there are, and how each is found."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from schema.admin import deadline, note_refused
from schema.errors import ApiError, ForbiddenError, InputError, Reason
from schema.lakebase import (
    DatabaseCatalog,
    DatabaseInstance,
    SyncedTable,
    catalog_named,
    instance_named,
    synced_table_named,
)
from schema.lakebase_names import CATALOG, INSTANCE, OPERATION_ID, SYNCED_TABLE
from schema.node import Node, decode_global_id
from schema.operations import Operation, operation_with_key
from schema.orders import Order, order_columns, orders_in
from schema.selection import Selection
from schema.status_changes import OrderStatusChange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from schema.context import Info
    from schema.lakebase_names import NameRule, TableNameRule

_Known: TypeAlias = tuple[type[Node], int | str]
_Found: TypeAlias = dict[_Known, Node | ApiError | None]

# What administration looks up one by one: the rule of its keys, and how it is found.
_ADMINISTERED: Final[
    dict[type[Node], tuple[NameRule | TableNameRule, Callable[[Info, str], Awaitable[Node | None]]]]
] = {
    DatabaseInstance: (INSTANCE, instance_named),
    DatabaseCatalog: (CATALOG, catalog_named),
    SyncedTable: (SYNCED_TABLE, synced_table_named),
    Operation: (OPERATION_ID, operation_with_key),
}
NODE_TYPES: Final[dict[str, type[Node]]] = {kind.__name__: kind for kind in (Order, OrderStatusChange, *_ADMINISTERED)}
_KEY = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_KEYS = range(-(2**63), 2**63)


async def nodes_by_id(info: Info, ids: Sequence[str]) -> list[Node | ApiError | None]:
    """As many as ids, in their order: the object, None where there is none, or what is wrong with the id.

    All orders are one statement, and so are all changes.
    """
    known = [_known_or_error(info, global_id) for global_id in ids]
    # Once, however many ids there are. A reader is refused what administration owns, and nothing else.
    if refused := next((item for item in known if isinstance(item, ForbiddenError)), None):
        await note_refused(info, refused.reason)
    wanted = list(dict.fromkeys(item for item in known if not isinstance(item, ApiError)))
    orders = [key for kind, key in wanted if kind is Order and isinstance(key, int)]
    changes = [key for kind, key in wanted if kind is OrderStatusChange and isinstance(key, int)]
    administered = [item for item in wanted if item[0] in _ADMINISTERED]
    found = {
        **await _orders(info, orders),
        **await _changes(info, changes),
        **await _administered(info, administered),
    }
    return [item if isinstance(item, ApiError) else found[item] for item in known]


def order_key_of(global_id: str) -> int:
    """The key of the order with this global id.

    Raises:
        InputError: ID_INVALID.
    """
    kind, key = _known(global_id)
    if kind is not Order or not isinstance(key, int):
        raise InputError(Reason.ID_INVALID, f"The id is that of an {kind.__name__}, not of an Order.")
    return key


async def _orders(info: Info, keys: list[int]) -> _Found:
    if not keys:
        return {}
    try:
        blocks = await info.context.lookup.orders(keys, order_columns(Selection.below(info, "Order")))
    except ApiError as error:
        return {(Order, key): error for key in keys}
    return {
        (Order, key): None if block is None else next(orders_in(block)) for key, block in zip(keys, blocks, strict=True)
    }


async def _changes(info: Info, keys: list[int]) -> _Found:
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


async def _administered(info: Info, wanted: list[_Known]) -> _Found:
    return dict(zip(wanted, await asyncio.gather(*(_one_administered(info, item) for item in wanted)), strict=True))


async def _one_administered(info: Info, item: _Known) -> Node | ApiError | None:
    kind, key = item
    _, find = _ADMINISTERED[kind]
    try:
        async with deadline():
            return await find(info, str(key))
    except ApiError as error:
        return error


def _known_or_error(info: Info, global_id: str) -> _Known | ApiError:
    try:
        kind, key = _known(global_id)
        info.context.principal.demand(kind.role)
    except ApiError as error:
        return error
    return kind, key


def _known(global_id: str) -> _Known:
    type_name, key = decode_global_id(global_id)
    kind = NODE_TYPES.get(type_name)
    if kind in _ADMINISTERED:
        rule, _ = _ADMINISTERED[kind]
        if rule.mistake(key) is None:
            return kind, key
    elif kind is not None and _KEY.fullmatch(key) and int(key) in _KEYS:
        return kind, int(key)
    raise InputError(Reason.ID_INVALID, f"No object can have this id ({type_name}).")
