"""The fields that read tables: relations of a type, and root fields. Their resolvers are made from declarations."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Annotated, Any, Final

import strawberry
from strawberry import UNSET
from strawberry.types import get_object_definition

from schema.access import Requires
from schema.context import Info
from schema.permissions import Role
from schema.ports.columns import Relation
from schema.ports.values import PageRequest
from schema.relay.pagination import given, page_request
from schema.scalars import BigInt
from schema.tables.arguments import MAX_LIST_VALUES, ORDER_BY, ordering_of
from schema.tables.conditions import conditions_of
from schema.tables.declaration import relates, relation_of
from schema.tables.pages import read_connection
from schema.tables.registry import REGISTERED
from schema.tables.rows import row_in, rows_in, selected_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from strawberry.extensions import FieldExtension
    from strawberry.types.field import StrawberryField

    from schema.context import PageLimits
    from schema.ports.columns import Table
    from schema.ports.values import Ordering
    from schema.tables.registry import Declared

_ROOT: Final = "root"
# The defaults of the settings for page sizes.
SIZES: Final = "from 0 to 1,000, by default 50, unless the server is configured otherwise"
# The entries of a page below another object, by default.
NESTED_SIZE: Final = 20
_NESTED_SIZES: Final = f"from 0 to 1,000 unless the server is configured otherwise, by default {NESTED_SIZE}"
_OF_ONE_PARENT: Final = " A cursor is valid only for the object it was issued for."


class Reads(Enum):
    """What a root field reads of its table: a page, the row with a key, or all rows, up to a bound."""

    PAGE = auto()
    ROW = auto()
    LIST = auto()


@dataclass(frozen=True, slots=True)
class Root:
    """What a root field reads. `table` is the name of the table."""

    table: str
    reads: Reads


def root_of(field: StrawberryField) -> Root | None:
    """What a root field reads, if it reads a table in one of these ways."""
    return field.metadata.get(_ROOT)


def roots_of(declared: Declared) -> Iterator[tuple[str, Root]]:
    """The root fields of a table that read it in one of these ways, by their names in Python."""
    if declared.queries is not None:
        for field in get_object_definition(declared.queries, strict=True).fields:
            if (root := root_of(field)) is not None:
                yield field.python_name, root


def table_read_by(field: StrawberryField) -> str | None:
    """The name of the table that a field needs beside its own: that of its relation, or of its root field."""
    if (relation := relation_of(field)) is not None:
        return relation.target
    root = root_of(field)
    return None if root is None else root.table


def to_one(target: str, description: str, *, here: str, there: str) -> Any:
    """A field for the row of the target whose key `there` is in the column `here`; null if there is none."""
    declared = REGISTERED[target]

    async def resolve(self: Any, info: Info) -> Any:
        key = getattr(self, here)
        if key is None:
            return None
        table = declared.table
        return row_in(table, await info.context.lookup.row(table, (key,), selected_columns(info, table)))

    type_ = declared.lazy(declared.type_name) | None
    return _field(resolve, (), description, type_, relates(Relation(target, here, there, many=False)))


def to_many(target: str, description: str, *, here: str, there: str) -> Any:
    """A field for pages of the rows of the target whose column `there` is the row's `here`.

    Its arguments are those of a page of the target: Relay's four, and a filter and an order if the target has any.
    """
    declared = REGISTERED[target]

    async def resolve(self: Any, info: Info, **arguments: Any) -> Any:
        request = nested_request(info.context.limits, declared, there, getattr(self, here), arguments)
        return await read_connection(info, declared, request, parent=getattr(self, here))

    type_ = declared.lazy(declared.connection_name) | None
    relation = Relation(target, here, there, many=True)
    return _field(
        resolve, _page_arguments(target, declared, _NESTED_SIZES, _OF_ONE_PARENT), description, type_, relates(relation)
    )


def to_list(target: str, description: str, *, here: str, there: str) -> Any:
    """A field for all rows of the target whose column `there` is the row's `here`, of which there are few."""
    declared = REGISTERED[target]

    async def resolve(self: Any, info: Info) -> Any:
        table, parent = declared.table, getattr(self, here)
        page = await info.context.lookup.page(parent, all_rows(table, there), selected_columns(info, table))
        return rows_in(table, page.block)

    type_ = list[declared.lazy(declared.type_name)]  # type: ignore[misc, valid-type] # an annotation made at run time
    return _field(resolve, (), description, type_, relates(Relation(target, here, there, many=True, listed=True)))


def root_page(target: str, description: str) -> Any:
    """A root field for pages of a table."""
    declared = REGISTERED[target]

    async def resolve(_self: Any, info: Info, **arguments: Any) -> Any:
        request = page_of(info.context.limits, declared.table, arguments)
        return await read_connection(info, declared, request)

    type_ = declared.lazy(declared.connection_name) | None
    arguments = _page_arguments(target, declared, SIZES)
    return _root_field(resolve, arguments, description, type_, Root(target, Reads.PAGE))


def root_row(target: str, description: str, *, key: str, type_: Any = BigInt) -> Any:
    """A root field for the row with a key, which is the argument of this name and type."""
    declared = REGISTERED[target]
    words = key.replace("_", " ")

    async def resolve(_self: Any, info: Info, **arguments: Any) -> Any:
        table = declared.table
        columns = selected_columns(info, table)
        return row_in(table, await info.context.lookup.row(table, (arguments[key],), columns))

    argument = _argument(
        key, Annotated[type_, strawberry.argument(description=f"The {words}.")], inspect.Parameter.empty
    )
    return _root_field(
        resolve, (argument,), description, declared.lazy(declared.type_name) | None, Root(target, Reads.ROW)
    )


def root_list(target: str, description: str) -> Any:
    """A root field for all rows of a table, of which there are few, in the order of their keys."""
    declared = REGISTERED[target]

    async def resolve(_self: Any, info: Info) -> Any:
        table = declared.table
        page = await info.context.tables.page(all_rows(table), selected_columns(info, table))
        return rows_in(table, page.block)

    type_ = list[declared.lazy(declared.type_name)] | None  # type: ignore[misc, valid-type] # as above
    return _root_field(resolve, (), description, type_, Root(target, Reads.LIST))


def all_rows(table: Table, there: str | None = None) -> PageRequest:
    """All rows of a table with few of them, or of those that belong to a parent by the column `there`."""
    within = None if there is None else table[there]
    return PageRequest(ordering_of(table, None, within=within), (), MAX_LIST_VALUES)


def page_of(limits: PageLimits, table: Table, arguments: Mapping[str, Any]) -> PageRequest:
    """The page of a table that these arguments ask for, by their names in Python.

    Raises:
        InputError: an argument is invalid.
    """
    return _page(limits, ordering_of(table, given(arguments.get("order_by"))), table, arguments)


def nested_request(
    limits: PageLimits, declared: Declared, there: str, parent: object, arguments: Mapping[str, Any]
) -> PageRequest:
    """The page of the rows that belong to a parent.

    Raises:
        InputError: an argument is invalid.
    """
    table = declared.table
    ordering = ordering_of(table, given(arguments.get("order_by")), within=table[there])
    return _page(replace(limits, default=min(NESTED_SIZE, limits.maximum)), ordering, table, arguments, parent)


def _page(
    limits: PageLimits, ordering: Ordering, table: Table, arguments: Mapping[str, Any], parent: object = None
) -> PageRequest:
    return page_request(
        limits,
        ordering,
        conditions_of(table, given(arguments.get("filter"))),
        first=given(arguments.get("first")),
        after=given(arguments.get("after")),
        last=given(arguments.get("last")),
        before=given(arguments.get("before")),
        parent=parent,
    )


def _page_arguments(target: str, declared: Declared, sizes: str, of: str = "") -> tuple[inspect.Parameter, ...]:
    rows = target.replace("_", " ")
    described: dict[str, tuple[Any, str]] = {
        "first": (int | None, f"How many {rows} to return after `after`: {sizes}."),
        "after": (str | None, f"Return {rows} after this cursor, for example `pageInfo.endCursor`.{of}"),
        "last": (int | None, f"How many {rows} to return before `before`: {sizes}."),
        "before": (str | None, f"Return {rows} before this cursor, for example `pageInfo.startCursor`.{of}"),
    }
    if declared.filter:
        described["filter"] = declared.lazy(declared.filter) | None, f"Which {rows} to include; all if absent."
    if declared.order_by:
        keys: Any = list[declared.lazy(declared.order_by)]  # type: ignore[misc] # as above
        described["order_by"] = keys | None, ORDER_BY
    return tuple(
        _argument(name, Annotated[type_, strawberry.argument(description=description)], UNSET)
        for name, (type_, description) in described.items()
    )


def _argument(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _root_field(
    resolve: Callable[..., Any], arguments: Collection[inspect.Parameter], description: str, type_: Any, root: Root
) -> Any:
    return _field(resolve, arguments, description, type_, {_ROOT: root}, (Requires(Role.READER),))


def _field(
    resolve: Callable[..., Any],
    arguments: Collection[inspect.Parameter],
    description: str,
    type_: Any,
    metadata: Mapping[str, object],
    extensions: Sequence[FieldExtension] = (),
) -> Any:
    """A field with this resolver. Strawberry takes the arguments from the resolver's signature."""
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = (inspect.Parameter("self", place), inspect.Parameter("info", place, annotation=Info))
    resolve.__signature__ = inspect.Signature([*own, *arguments])  # type: ignore[attr-defined] # as inspect documents
    return strawberry.field(
        resolver=resolve, description=description, graphql_type=type_, metadata=metadata, extensions=[*extensions]
    )
