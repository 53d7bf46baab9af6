"""Owns what fields cost beside their one point, and how long each list of the schema may be taken to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from graphql import GraphQLInterfaceType, GraphQLObjectType, get_named_type, is_composite_type, is_list_type
from graphql import get_nullable_type as nullable

from schema.admin.pages import ADMIN_PAGE_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphql import GraphQLOutputType, GraphQLSchema

    from schema.context import PageLimits


@dataclass(frozen=True, slots=True)
class Paged:
    """As long as the arguments say. `limits` are those of the page, the server's where None; `default` is another."""

    arguments: tuple[str, ...] = ("first", "last")
    limits: PageLimits | None = None
    default: int | None = None


@dataclass(frozen=True, slots=True)
class AsLongAs:
    """As long as a list that is given: `path` is that of the argument, and below it of the input's field."""

    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class About:
    """As long as it is by its nature, or hardly ever longer."""

    length: int


@dataclass(frozen=True, slots=True)
class OfPage:
    """As long as the page that it is a part of."""


@dataclass(frozen=True, slots=True)
class Cheaper:
    """A price, and the one where an enum's argument says so."""

    otherwise: int
    argument: str
    value: str
    price: int


Size: TypeAlias = Paged | AsLongAs | About | OfPage

# Fields that are lists of objects, and fields whose arguments say how long the lists below them are. A schema with a
# list that is not here is not built.
SIZES: Final[dict[str, Size]] = {
    "Query.orders": Paged(),
    "Query.orderStatusChanges": Paged(),
    "Order.statusChanges": Paged(),
    "Query.ordersPage": Paged(("pageSize",)),
    "Query.orderSample": Paged(("size",), default=10),
    "Query.databaseInstances": Paged(("first",), ADMIN_PAGE_LIMITS),
    "Query.operations": Paged(("first",), ADMIN_PAGE_LIMITS),
    "Query.nodes": AsLongAs(("ids",)),
    "Mutation.setOrderStatuses": AsLongAs(("input", "changes")),
    **{
        f"{name}Connection.{part}": OfPage()
        for name in ("Order", "OrderStatusChange", "DatabaseInstance", "Operation")
        for part in ("edges", "nodes")
    },
    "OrderPage.nodes": OfPage(),
    "SetOrderStatusesPayload.results": OfPage(),
    "OrderStats.byStatus": About(4),
    "OrderStats.byPriority": About(6),
    "SyncedTable.indexes": About(10),
    "Operation.steps": About(10),
    "Plan.steps": About(10),
    "PlannedStep.differences": About(5),
    "AdminError.differences": About(5),
}
# One where all is well.
_ERRORS: Final = About(1)

# A statement that reads every order that matches, where a page reads its own: up to 10 s of the database are allowed
# for it and 2 s for a page. So a twentieth of what an operation may cost by default.
_AGGREGATE: Final = 1_000
_ESTIMATE: Final = 10
# A call to the platform, a few hundred milliseconds away, whose number in a minute it limits.
_PLATFORM: Final = 100
# A transaction of some five statements, and a commit that waits for the disk.
_WRITE: Final = 10
_COUNTED: Final = Cheaper(_AGGREGATE, "precision", "ESTIMATED", _ESTIMATE)

PRICES: Final[dict[str, int | Cheaper]] = {
    "OrderConnection.totalCount": _COUNTED,
    "OrderPage.totalCount": _AGGREGATE,
    "OrderPage.totalPages": _AGGREGATE,
    "Query.orderCount": _AGGREGATE,
    "Query.orderStats": _AGGREGATE,
    "OrderStats.byStatus": _AGGREGATE,
    "OrderStats.byPriority": _AGGREGATE,
    "Mutation.setOrderStatus": _WRITE,
    "Mutation.clearOrderStatus": _WRITE,
    "Mutation.setOrderStatuses": _WRITE,
    "Query.lakebase": _PLATFORM,
    "Query.databaseInstances": _PLATFORM,
    "Query.databaseInstance": _PLATFORM,
    "Query.databaseCatalog": _PLATFORM,
    "Query.syncedTable": _PLATFORM,
    "Lakebase.instance": _PLATFORM,
    "Lakebase.catalog": _PLATFORM,
    "Lakebase.syncedTable": _PLATFORM,
    "DatabaseCatalog.instance": _PLATFORM,
    "SyncedTable.instance": _PLATFORM,
    "SyncedTable.catalog": _PLATFORM,
    "SyncedTable.indexes": _PLATFORM,
}
_ADMIN_PAYLOADS: Final = frozenset({"DatabaseInstance", "DatabaseCatalog", "SyncedTable"})


def size_of(type_name: str, field: str) -> Size | None:
    """How long the lists of a field are; None where none is known."""
    return _ERRORS if field == "userErrors" else SIZES.get(f"{type_name}.{field}")


def price_of(type_name: str, field: str, output: GraphQLOutputType) -> int | Cheaper:
    """What a field costs, whatever is selected below it."""
    if (price := PRICES.get(f"{type_name}.{field}")) is not None:
        return price
    named = get_named_type(output).name
    looks_up = type_name.endswith("Payload") and named in _ADMIN_PAYLOADS
    begins = type_name == "Mutation" and named.endswith("Payload")
    return _PLATFORM if looks_up or begins else 1


def check_sizes(schema: GraphQLSchema) -> None:
    """Go on only where the length of every list of objects in the schema is known.

    Raises:
        ValueError: it is not, or a name is not one of the schema's.
    """
    unknown = [name for name in _lists(schema) if size_of(*name.split(".")) is None]
    if unknown:
        message = f"schema/limits/prices.py does not say how long these are: {', '.join(unknown)}"
        raise ValueError(message)


def _lists(schema: GraphQLSchema) -> Iterator[str]:
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                if is_list_type(nullable(field.type)) and is_composite_type(get_named_type(field.type)):
                    yield f"{type_.name}.{name}"
