"""The root fields `node` and `nodes`: which types have global ids, and how each is looked up."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import strawberry

from schema.access import Requires
from schema.admin.audit import AdminAuditEntry, audit_entry_with_key
from schema.admin.guard import deadline, note_refused
from schema.admin.operations import Operation, operation_with_key
from schema.admin.requests.names import (
    AUDIT_ENTRY_ID,
    BRANCH_KEY,
    CATALOG,
    ENDPOINT_KEY,
    INSTANCE,
    OPERATION_ID,
    SYNCED_TABLE,
)
from schema.admin.types.branches import DatabaseBranch, DatabaseEndpoint, branch_with_key, endpoint_with_key
from schema.admin.types.instances import DatabaseInstance, instance_named
from schema.admin.types.tables import DatabaseCatalog, SyncedTable, catalog_named, synced_table_named
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.errors import ApiError, ForbiddenError, InputError, Reason
from schema.orders.types import OrderStatusChange
from schema.permissions import Role
from schema.relay.node import Node, decode_global_id, row_key_of
from schema.relay.selection import Selection
from schema.tables.arguments import check_list_length
from schema.tables.registry import REGISTERED
from schema.tables.rows import Row, columns_of, key_of, row_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from schema.admin.requests.names import NameRule, TableNameRule
    from schema.ports.columns import Columns, Table
    from schema.ports.values import Key

_NodeKey: TypeAlias = "tuple[type[Node], Key | int | str]"
_FoundNodes: TypeAlias = dict[_NodeKey, Node | ApiError | None]

# The types of administration, which are looked up one by one: the rule for their keys, and the lookup.
_ADMINISTERED: Final[
    dict[type[Node], tuple[NameRule | TableNameRule, Callable[[Info, str], Awaitable[Node | None]]]]
] = {
    DatabaseInstance: (INSTANCE, instance_named),
    DatabaseBranch: (BRANCH_KEY, branch_with_key),
    DatabaseEndpoint: (ENDPOINT_KEY, endpoint_with_key),
    DatabaseCatalog: (CATALOG, catalog_named),
    SyncedTable: (SYNCED_TABLE, synced_table_named),
    Operation: (OPERATION_ID, operation_with_key),
    AdminAuditEntry: (AUDIT_ENTRY_ID, audit_entry_with_key),
}
# How many of them are looked up at once for a field. The platform limits the calls of all callers together.
_AT_ONCE: Final = 4
_ROWS: Final[dict[str, type[Row]]] = {declared.type_name: declared.row for declared in REGISTERED.values()}
NODE_TYPES: Final[dict[str, type[Node]]] = {
    **_ROWS,
    OrderStatusChange.__name__: OrderStatusChange,
    **{kind.__name__: kind for kind in _ADMINISTERED},
}
_reads = functools.partial(strawberry.field, extensions=(Requires(Role.READER),))


@strawberry.type
class NodeQueries:
    """The root fields that fetch any object by its global id."""

    @_reads(description="The object with this global id, or null if there is none.")
    async def node(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="A global id: the `id` of any object.")],  # noqa: A002 # the argument's name in the schema
    ) -> Node | None:
        """Raise the error of an invalid id, so that it is reported beside the null."""
        (found,) = await nodes_by_id(info, [id])
        if isinstance(found, ApiError):
            raise found
        return found

    @_reads(
        description=(
            "The objects with these global ids, one for each id and in the same order. An object that does not exist "
            "is null. An invalid id gives null and an error."
        )
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[
            list[strawberry.ID],
            strawberry.argument(description="Global ids, at most 1,000. Repeated ids are fine."),
        ],
    ) -> list[Node | None] | None:
        """Return errors as elements of the list: graphql-core reports each at its index."""
        check_list_length(ids, argument="ids")
        return await nodes_by_id(info, ids)  # type: ignore[return-value] # as the docstring says


async def nodes_by_id(info: Info, ids: Sequence[str]) -> list[Node | ApiError | None]:
    """For each id, in order: its object, None if there is none, or the error of the id.

    All rows of a table are read in one statement, and so are all changes.
    """
    keys = [_key_or_error(info, global_id) for global_id in ids]
    # One audit entry, however many ids are refused. Only the types of administration can be refused to a reader.
    if refused := next((item for item in keys if isinstance(item, ForbiddenError)), None):
        await note_refused(info, refused.reason)
    wanted = list(dict.fromkeys(item for item in keys if not isinstance(item, ApiError)))
    rows: dict[type[Row], list[Key]] = {}
    for kind, key in wanted:
        if issubclass(kind, Row) and isinstance(key, tuple):
            rows.setdefault(kind, []).append(key)
    changes = [key for kind, key in wanted if kind is OrderStatusChange and isinstance(key, int)]
    administered = [item for item in wanted if item[0] in _ADMINISTERED]
    found = {**await _find_changes(info, changes), **await _find_administered(info, administered)}
    for some in await asyncio.gather(*(_find_rows(info, kind, of_kind) for kind, of_kind in rows.items())):
        found |= some
    return [item if isinstance(item, ApiError) else found[item] for item in keys]


async def _find_rows(info: Info, kind: type[Row], keys: list[Key]) -> _FoundNodes:
    table = kind.table
    try:
        blocks = await info.context.lookup.rows(table, keys, _selected(info, table))
    except ApiError as error:
        return {(kind, key): error for key in keys}
    return {(kind, key): row_in(table, block) for key, block in zip(keys, blocks, strict=True)}


def _selected(info: Info, table: Table) -> Columns:
    """The columns that the selection on the interface needs of this type."""
    return columns_of(table, [Selection.below(info, table.type_name)])


async def _find_changes(info: Info, keys: list[int]) -> _FoundNodes:
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


async def _find_administered(info: Info, wanted: list[_NodeKey]) -> _FoundNodes:
    if not wanted:
        return {}
    found: _FoundNodes = {}
    left = iter(wanted)

    async def find_one_by_one() -> None:
        for kind, key in left:
            _, find = _ADMINISTERED[kind]
            try:
                found[kind, key] = await find(info, str(key))
            except ApiError as error:
                found[kind, key] = error

    try:
        # One for all: they are not looked up at the same time.
        async with deadline():
            await asyncio.gather(*(find_one_by_one() for _ in range(_AT_ONCE)))
    except ApiError as late:
        return {**dict.fromkeys(wanted, late), **found}
    return found


def _key_or_error(info: Info, global_id: str) -> _NodeKey | ApiError:
    try:
        kind, key = _node_key(info, global_id)
        info.context.principal.demand(kind.role)
    except ApiError as error:
        return error
    return kind, key


def _is_served(info: Info, kind: type[Row]) -> bool:
    """Whether the schema has the type."""
    return kind.table.type_name in info.schema._schema.type_map  # noqa: SLF001 # Strawberry has no public way to it


def _node_key(info: Info, global_id: str) -> _NodeKey:
    type_name, key = decode_global_id(global_id)
    kind = NODE_TYPES.get(type_name)
    if kind in _ADMINISTERED:
        rule, _ = _ADMINISTERED[kind]
        if rule.mistake(key) is None:
            return kind, key
    elif kind is not None and issubclass(kind, Row):
        if _is_served(info, kind) and (row_key := key_of(kind.table, key)) is not None:
            return kind, row_key
    elif kind is not None and (change := row_key_of(key)) is not None:
        return kind, change
    raise InputError(Reason.ID_INVALID, f"The id does not name an object of this API (type {type_name}).")
