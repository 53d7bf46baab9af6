"""The prices of fields that cost more than a point, and the assumed length of each list in the schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_composite_type, is_list_type
from graphql import get_nullable_type as nullable
from strawberry.utils.str_converters import to_camel_case

from schema.admin.forward_pages import ADMIN_PAGE_LIMITS, FIELDS_OF_COMPUTES
from schema.orders.groups import GROUP_LIMITS
from schema.tables.fields import NESTED_SIZE, Reads, roots_of
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphql import GraphQLOutputType, GraphQLSchema

    from schema.context import PageLimits
    from schema.ports.columns import Column, Table


@dataclass(frozen=True, slots=True)
class PageArguments:
    """A page, as long as its arguments say.

    `limits` are the page limits, or None for the server's. `default` replaces the default of the limits.
    """

    arguments: tuple[str, ...] = ("first", "last")
    limits: PageLimits | None = None
    default: int | None = None


@dataclass(frozen=True, slots=True)
class ListArgument:
    """As long as a list in the arguments. `path` names the argument, and the field within it."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TypicalLength:
    """A typical length, which is hardly ever exceeded."""

    length: int


@dataclass(frozen=True, slots=True)
class RowsOf:
    """As long as a small table, or as its rows that belong to a parent."""

    table: Table
    within: Column | None = None


@dataclass(frozen=True, slots=True)
class PageEntries:
    """As long as the page that it is part of."""


@dataclass(frozen=True, slots=True)
class ConditionalPrice:
    """A price, and a lower one if an enum argument has a certain value."""

    otherwise: int
    argument: str
    value: str
    price: int


Size: TypeAlias = PageArguments | ListArgument | TypicalLength | RowsOf | PageEntries

# A longer document is not remembered (schema/plans/documents.py). GraphiQL's introspection query has 1,600 characters,
# and Relay's largest documents have a few thousand.
REMEMBERED_CHARACTERS: Final = 16_384
# The slowest valid texts, of a hundred small fragments, take 15 µs a character to read, check and plan.
_CHARACTERS_FOR_A_POINT: Final = 10
_LEAST_READING: Final = 3
# Numbers and brackets take the longest: 10 µs and more for so many bytes.
_BYTES_FOR_A_POINT: Final = 4_096
# A message that begins no operation: a `ping` of 10 KB takes 220 µs.
_MESSAGE_BYTES_FOR_A_POINT: Final = 1_024
# What a stream of events takes beside its operation.
STREAM_POINTS: Final = 4
# A page of 10 orders takes this long for a point, in the server and in PostgreSQL together.
_MICROSECONDS_FOR_A_POINT: Final = 10


def _lists_of_tables() -> Iterator[tuple[str, Size]]:
    """The lists of the tables' types, their connections and their root fields."""
    for declared in REGISTERED.values():
        if declared.has_pages:
            yield f"{declared.connection_name}.edges", PageEntries()
            yield f"{declared.connection_name}.nodes", PageEntries()
        for name, relation in declared.table.relations.items():
            if relation.many:
                target = REGISTERED[relation.target].table
                size = RowsOf(target, target[relation.there]) if relation.listed else PageArguments(default=NESTED_SIZE)
                yield f"{declared.type_name}.{to_camel_case(name)}", size
        for name, root in roots_of(declared):
            if root.reads is not Reads.ROW:
                size = RowsOf(declared.table) if root.reads is Reads.LIST else PageArguments()
                yield f"Query.{to_camel_case(name)}", size


# The lists of objects, and the fields whose arguments decide how long the lists below them are. `build_schema` refuses
# a schema with a list that is missing here.
SIZES: Final[dict[str, Size]] = {
    **dict(_lists_of_tables()),
    "Query.orderStatusChanges": PageArguments(),
    "Order.statusChanges": PageArguments(),
    "Query.ordersPage": PageArguments(("pageSize",)),
    "Query.orderSample": PageArguments(("size",), default=10),
    "Query.orderGroups": PageArguments(("first",), GROUP_LIMITS),
    "OrderGroups.groups": PageEntries(),
    "Query.databaseInstances": PageArguments(("first",), ADMIN_PAGE_LIMITS),
    "DatabaseInstance.branches": PageArguments(("first",), ADMIN_PAGE_LIMITS),
    "Query.operations": PageArguments(("first",), ADMIN_PAGE_LIMITS),
    "Query.adminAudit": PageArguments(("first",), ADMIN_PAGE_LIMITS),
    "Query.nodes": ListArgument(("ids",)),
    "Mutation.setOrderStatuses": ListArgument(("input", "changes")),
    **{
        f"{name}Connection.{part}": PageEntries()
        for name in ("OrderStatusChange", "DatabaseInstance", "DatabaseBranch", "Operation", "AdminAudit")
        for part in ("edges", "nodes")
    },
    "OrderPage.nodes": PageEntries(),
    "SetOrderStatusesPayload.results": PageEntries(),
    "OrderStats.byStatus": TypicalLength(4),
    "OrderStats.byPriority": TypicalLength(6),
    "Lakebase.syncedTables": TypicalLength(len(REGISTERED)),
    "SyncedTable.indexes": TypicalLength(10),
    "DatabaseInstance.snapshots": TypicalLength(10),
    "DatabaseBranch.endpoints": TypicalLength(2),
    "Operation.steps": TypicalLength(10),
    "Plan.steps": TypicalLength(10),
    "PlannedStep.differences": TypicalLength(5),
    "AdminError.differences": TypicalLength(5),
}
# Hardly ever is there more than one.
_ERRORS: Final = TypicalLength(1)

# An aggregate reads every order that matches, where a page reads only its own: the database may take 10 s for it, and
# 2 s for a page. So it costs a twentieth of what an operation may cost by default.
_AGGREGATE: Final = 1_000
_ESTIMATE: Final = 10
# A call to the control plane takes a few hundred milliseconds, and the control plane limits the calls per minute.
PLATFORM: Final = 100
# A write is a transaction of some five statements, and a commit that waits for the disk.
_WRITE: Final = 10
# Fields that no plan answers: their statements are composed anew for each request.
COMPOSED: Final = 10
_SAMPLE: Final = 20
# The changes of all orders of a page are read in one statement.
_CHANGES_OF_ORDER: Final = 20
# The head is read, and the subscriber joins the feed.
_SUBSCRIPTION: Final = 30
# The price of fields that are read together, for each object with any of them selected.
SHARED_PRICES: Final[dict[str, tuple[frozenset[str], int]]] = {
    "DatabaseInstance": (FIELDS_OF_COMPUTES, 2 * PLATFORM),
}
# A `totalCount` of a root page; and that of the rows of one parent, which are counted for all parents in one statement.
COUNTED: Final = ConditionalPrice(_AGGREGATE, "precision", "ESTIMATED", _ESTIMATE)
COUNT_OF_PARENT: Final = 4
# A row that another leads to is looked up, together with those of all others.
_LOOKUP: Final = 2
# The page of a parent is read together with those of all others.
_NESTED_PAGE: Final = 8


def _prices_of_tables() -> Iterator[tuple[str, int]]:
    """The prices of the relations of the tables' types, and of counts, which are paid for with their pages."""
    for declared in REGISTERED.values():
        if declared.has_pages:
            yield f"{declared.connection_name}.totalCount", 0
        for name, relation in declared.table.relations.items():
            yield f"{declared.type_name}.{to_camel_case(name)}", _NESTED_PAGE if relation.many else _LOOKUP


PRICES: Final[dict[str, int | ConditionalPrice]] = {
    **dict(_prices_of_tables()),
    "OrderPage.totalCount": _AGGREGATE,
    "OrderPage.totalPages": _AGGREGATE,
    "Query.orderCount": _AGGREGATE,
    "Query.ordersPage": COMPOSED,
    "Query.orderSample": _SAMPLE,
    "Query.orderStatusChanges": 2 * COMPOSED,
    "Query.operation": COMPOSED,
    "Query.operations": COMPOSED,
    "Query.adminAudit": COMPOSED,
    "Order.statusChanges": _CHANGES_OF_ORDER,
    "Subscription.orderStatusChanged": _SUBSCRIPTION,
    "Subscription.operationProgress": _SUBSCRIPTION,
    "Query.orderStats": _AGGREGATE,
    "Query.orderGroups": _AGGREGATE,
    "OrderGroup.nation": _LOOKUP,
    "OrderStats.byStatus": _AGGREGATE,
    "OrderStats.byPriority": _AGGREGATE,
    "Mutation.setOrderStatus": _WRITE,
    "Mutation.clearOrderStatus": _WRITE,
    "Mutation.setOrderStatuses": _WRITE,
    "Query.lakebase": PLATFORM,
    "Query.databaseInstances": PLATFORM,
    "Query.databaseInstance": PLATFORM,
    "Query.databaseCatalog": PLATFORM,
    "Query.syncedTable": PLATFORM,
    "Lakebase.instance": PLATFORM,
    "Lakebase.catalog": PLATFORM,
    "Lakebase.syncedTable": PLATFORM,
    "Lakebase.syncedTables": len(REGISTERED) * PLATFORM,
    "DatabaseInstance.branches": PLATFORM,
    "DatabaseInstance.snapshots": PLATFORM,
    "DatabaseBranch.endpoints": PLATFORM,
    "DatabaseCatalog.instance": PLATFORM,
    "SyncedTable.instance": PLATFORM,
    "SyncedTable.catalog": PLATFORM,
    "SyncedTable.indexes": PLATFORM,
}
_PLATFORM_OBJECTS: Final = frozenset({"DatabaseInstance", "DatabaseBranch", "DatabaseCatalog", "SyncedTable"})


def reading_points(text: str) -> int:
    """The price of reading a document that is not known, which is paid before it is read."""
    return _LEAST_READING + len(text) // _CHARACTERS_FOR_A_POINT


def body_points(size: int) -> int:
    """The price of receiving and parsing so many bytes of JSON."""
    return size // _BYTES_FOR_A_POINT


def message_points(size: int) -> int:
    """The price of a message of so many bytes on a WebSocket that begins no operation."""
    return size // _MESSAGE_BYTES_FOR_A_POINT


def points_of(seconds: float) -> int:
    """The price of work that took so much time of a processor."""
    return int(seconds * 1_000_000 / _MICROSECONDS_FOR_A_POINT)


def size_of(type_name: str, field: str) -> Size | None:
    """How long the lists of a field are; None if that is not known."""
    return _ERRORS if field == "userErrors" else SIZES.get(f"{type_name}.{field}")


def price_of(type_name: str, field: str, output: GraphQLOutputType) -> int | ConditionalPrice:
    """The price of a field, without the selection below it."""
    if (price := PRICES.get(f"{type_name}.{field}")) is not None:
        return price
    named = get_named_type(output).name
    looks_up = type_name.endswith("Payload") and named in _PLATFORM_OBJECTS
    begins = type_name == "Mutation" and named.endswith("Payload")
    return PLATFORM if looks_up or begins else 1


def check_sizes(schema: GraphQLSchema) -> None:
    """Check that the length of every list of objects in the schema is known.

    Raises:
        ValueError: a length is not known.
    """
    unknown = [name for name in _lists(schema) if size_of(*name.split(".")) is None]
    if unknown:
        message = f"SIZES in schema/limits/prices.py lacks the length of {', '.join(unknown)}"
        raise ValueError(message)


def _lists(schema: GraphQLSchema) -> Iterator[str]:
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                if is_list_type(nullable(field.type)) and is_composite_type(get_named_type(field.type)):
                    yield f"{type_.name}.{name}"
