"""The tables of the graph, and where the type of each is declared. Types refer to one another: by these names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

from strawberry.types.lazy_type import LazyType, StrawberryLazyReference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ForwardRef

    from schema.ports.columns import Column, Table
    from schema.tables.rows import Row


class _LateType(LazyType[Any, Any]):
    """A type of another module, looked up once.

    Strawberry's own is looked up whenever an argument is converted, in the file system too: a nested page would pay
    for that with each of its parents.
    """

    def resolve_type(self) -> type[Any]:
        """The type."""
        return _attribute(self.module, self.type_name)  # type: ignore[no-any-return] # found by its name


class _Reference(StrawberryLazyReference):
    """A reference to a type of another module, which need not be imported yet."""

    def resolve_forward_ref(self, forward_ref: ForwardRef) -> _LateType:
        """The type that an annotation names."""
        return _LateType(forward_ref.__forward_arg__, self.module)


@dataclass(frozen=True, slots=True)
class Declared:
    """Where a type of the graph is declared.

    Its module also has its connection, its filter and its `orderBy`, if it has any, and the class `Queries` with its
    root fields.

    Attributes:
        type_name: the name of the type.
        module: the module.
        filter: the name of the input type of its filter; None if its pages have no filter.
        order_by: the name of the input type of its order; None if its pages have one order only.
    """

    type_name: str
    module: str
    filter: str | None = None
    order_by: str | None = None

    @property
    def row(self) -> type[Row]:
        """The type."""
        return _attribute(self.module, self.type_name)  # type: ignore[no-any-return] # found by its name

    @property
    def table(self) -> Table:
        """Its table."""
        return self.row.table

    @property
    def queries(self) -> type | None:
        """The class with its root fields; None if it has none."""
        return getattr(import_module(self.module), "Queries", None)

    @property
    def connection_name(self) -> str:
        """The name of its connection."""
        return f"{self.type_name}Connection"

    @property
    def has_pages(self) -> bool:
        """Whether it has a connection. A table that is read row by row, or whole, has none."""
        return hasattr(import_module(self.module), self.connection_name)

    @property
    def connection(self) -> Any:
        """Its connection, a TableConnection."""
        return _attribute(self.module, self.connection_name)

    def lazy(self, name: str) -> Any:
        """An annotation that names a type of the module, which need not be imported yet."""
        return Annotated[name, _Reference(self.module)]


ORDERS_NAME: Final = "orders"
REGISTERED: Final[dict[str, Declared]] = {
    ORDERS_NAME: Declared("Order", "schema.orders.queries", "OrderFilter", "OrderOrder"),
    "customers": Declared("Customer", "schema.graph.customers", "CustomerFilter", "CustomerOrderBy"),
    "line_items": Declared("LineItem", "schema.graph.line_items"),
    "parts": Declared("Part", "schema.graph.parts"),
    "suppliers": Declared("Supplier", "schema.graph.suppliers"),
    "nations": Declared("Nation", "schema.graph.nations"),
    "regions": Declared("Region", "schema.graph.regions"),
}


def referred_to(table: Table) -> Iterator[Column]:
    """The columns by which tables refer to many rows of this one."""
    for declared in REGISTERED.values():
        for relation in declared.table.relations.values():
            if relation.many and relation.target == table.name:
                yield table[relation.there]


@cache
def _attribute(module: str, name: str) -> Any:
    return getattr(import_module(module), name)
