"""A selection on orders as templates for the rows, and parts of the connection around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from graphql import GraphQLEnumType, GraphQLNonNull, GraphQLObjectType, OperationDefinitionNode, get_named_type
from graphql.execution.collect_fields import FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from strawberry.utils.str_converters import to_snake_case

from schema.orders.types import ORDERS
from schema.plans.arguments import UnplannedError
from schema.ports.templates import MOST_SLOTS, Form, JsonPage, Slot, Template
from schema.relay.pagination import encode_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from graphql import FieldNode, GraphQLField, GraphQLSchema
    from graphql.execution.collect_fields import FieldDetails

    from schema.ports.columns import Column
    from schema.ports.values import Key, Ordering, PageRequest

Group: TypeAlias = list["FieldDetails"]

_FORMS: Final = {
    "Int": Form.INT,
    "Boolean": Form.BOOLEAN,
    "String": Form.STRING,
    "BigInt": Form.BIGINT,
    "Decimal": Form.DECIMAL,
    "Date": Form.DATE,
    "DateTime": Form.DATETIME,
}
_MOST_TEMPLATES: Final = 8
CURSOR: Final = Slot(ORDERS["order_key"], Form.CURSOR)


class Selections:
    """The selections of one operation, for given values of the variables in `@skip` and `@include`.

    graphql-core's own functions collect the fields, so they resolve fragments, merge fields and apply directives.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        booleans: Mapping[str, bool],
    ) -> None:
        self.schema = schema
        self._operation = operation
        self._fragments = fragments
        self._booleans = VariableValues({}, dict(booleans))

    def roots(self) -> dict[str, Group]:
        """The root fields by response key."""
        query = self.schema.query_type
        if query is None:
            raise UnplannedError
        collected = collect_fields(self.schema, self._fragments, self._booleans, query, self._operation)
        return collected.grouped_field_set

    def below(self, type_name: str, group: Group) -> Iterable[tuple[str, str, Group]]:
        """The fields selected on an object of this type: response key, name and nodes of each."""
        collected = collect_subfields(
            self.schema, self._fragments, self._booleans, self._operation, self.object_type(type_name), group
        )
        return [(key, node_of(details).name.value, details) for key, details in collected.grouped_field_set.items()]

    def object_type(self, name: str) -> GraphQLObjectType:
        """The object type with this name."""
        named = self.schema.type_map[name]
        if not isinstance(named, GraphQLObjectType):
            raise UnplannedError
        return named


def node_of(group: Group) -> FieldNode:
    """The first of the fields that share a response key; all of them have the same name and arguments."""
    return group[0].node


class Templates:
    """The templates of one statement. Equal templates are stored once."""

    def __init__(self, selections: Selections) -> None:
        self._selections = selections
        self._known: dict[tuple[str | Slot, ...], int] = {}
        self._slots = slots_of(selections.schema)

    def all(self) -> tuple[Template, ...]:
        """All templates, by index."""
        templates = tuple(Template(parts) for parts in self._known)
        if len(templates) > _MOST_TEMPLATES or sum(len(template.slots) for template in templates) > MOST_SLOTS:
            raise UnplannedError
        return templates

    def of_order(self, group: Group) -> int:
        """The index of the template for this selection on an order."""
        return self._index_of(self._order(group))

    def of_edge(self, group: Group) -> int:
        """The index of the template for this selection on an edge."""
        parts: list[str | Slot] = []
        for key, name, details in self._selections.below("OrderEdge", group):
            parts.append(f',"{key}":')
            if name == "cursor":
                parts.append(CURSOR)
            elif name == "node":
                parts += self._order(details)
            else:
                parts.append(_type_name(name, "OrderEdge"))
        return self._index_of(_braced(parts))

    def _order(self, group: Group) -> list[str | Slot]:
        parts: list[str | Slot] = []
        for key, name, _ in self._selections.below("Order", group):
            parts.append(f',"{key}":')
            parts.append(self._slots.get(name) or _type_name(name, "Order"))
        return _braced(parts)

    def _index_of(self, parts: list[str | Slot]) -> int:
        merged: list[str | Slot] = []
        for part in parts:
            if isinstance(part, str) and merged and isinstance(merged[-1], str):
                merged[-1] += part
            else:
                merged.append(part)
        return self._known.setdefault(tuple(merged), len(self._known))


def slots_of(schema: GraphQLSchema) -> dict[str, Slot]:
    """The slot of each scalar field of an order, by the field's name."""
    order = schema.type_map["Order"]
    fields: dict[str, GraphQLField] = order.fields if isinstance(order, GraphQLObjectType) else {}
    by_field = {column.name: column for column in ORDERS.columns}
    slots = {
        name: _slot(by_field[attribute], field)
        for name, field in fields.items()
        if (attribute := to_snake_case(name)) in by_field
    }
    return {**{name: slot for name, slot in slots.items() if slot}, "id": Slot(ORDERS["order_key"], Form.GLOBAL_ID)}


def _slot(column: Column, graphql_field: GraphQLField) -> Slot | None:
    type_ = graphql_field.type
    nullable, named = not isinstance(type_, GraphQLNonNull), get_named_type(type_)
    if isinstance(named, GraphQLEnumType):
        members = tuple((str(_stored(value.value)), name) for name, value in named.values.items())
        return Slot(column, Form.ENUM, nullable, members)
    form = _FORMS.get(named.name)
    return Slot(column, form, nullable) if form else None


def _stored(member: object) -> object:
    return getattr(member, "value", member)


def _type_name(field_name: str, type_name: str) -> str:
    if field_name != "__typename":
        raise UnplannedError
    return f'"{type_name}"'


def _braced(parts: list[str | Slot]) -> list[str | Slot]:
    """A JSON object of members that each begin with a comma."""
    if not parts:
        return ["{}"]
    first = parts[0]
    return [f"{{{first[1:]}" if isinstance(first, str) else first, *parts[1:], "}"]


@dataclass(slots=True)
class Found:
    """What the store found for a connection."""

    request: PageRequest
    page: JsonPage | None
    totals: dict[str, int | None]


Part: TypeAlias = "str | Callable[[Found], str]"


@dataclass(slots=True)
class Connection:
    """How to write a connection: its parts, and what they need from the store.

    `paged`: it needs a page, unless the page is empty. `ends`: it needs the page's first and last cursor.
    `looks_forward`, `looks_backward`: it needs to know whether there is a next or previous page. `counted`: the nodes
    of `totalCount`, by response key.
    """

    parts: list[Part] = field(default_factory=list)
    templates: tuple[Template, ...] = ()
    paged: bool = False
    ends: bool = False
    looks_forward: bool = False
    looks_backward: bool = False
    counted: dict[str, FieldNode] = field(default_factory=dict)

    @classmethod
    def of(cls, selections: Selections, group: Group) -> Connection:
        """Plan the selection on a connection.

        Raises:
            UnplannedError: it selects a field that plans do not cover.
        """
        self, templates = cls(), Templates(selections)
        for key, name, details in selections.below("OrderConnection", group):
            self.parts.append(f'{"," if self.parts else ""}"{key}":')
            if name in {"edges", "nodes"}:
                index = templates.of_edge(details) if name == "edges" else templates.of_order(details)
                self.parts += ["[", _rows(index), "]"]
                self.paged = True
            elif name == "pageInfo":
                self._add_page_info(selections, details)
            elif name == "totalCount":
                self.counted[key] = node_of(details)
                self.parts.append(_total(key))
            else:
                self.parts.append(_type_name(name, "OrderConnection"))
        self.parts = ["{", *self.parts, "}"]
        self.templates = templates.all()
        return self

    def reads_page(self, size: int) -> bool:
        """Whether it needs its page. A page of size 0 has no entries and no cursors, so only the flags need it."""
        return self.paged if size else self.looks_forward or self.looks_backward

    def write(self, found: Found) -> list[str]:
        """The connection in JSON, in pieces: the long text of a page is copied once, when all pieces are joined."""
        return [part if isinstance(part, str) else part(found) for part in self.parts]

    def _add_page_info(self, selections: Selections, group: Group) -> None:
        parts: list[Part] = []
        for key, name, _ in selections.below("PageInfo", group):
            parts.append(f'{"," if parts else ""}"{key}":')
            parts.append(_PAGE_INFO.get(name) or _type_name(name, "PageInfo"))
            self.paged |= name != "__typename"
            self.ends |= name in {"startCursor", "endCursor"}
            self.looks_forward |= name == "hasNextPage"
            self.looks_backward |= name == "hasPreviousPage"
        self.parts += ["{", *parts, "}"]


def _rows(index: int) -> Callable[[Found], str]:
    return lambda found: found.page.rows[index] if found.page else ""


def _total(key: str) -> Callable[[Found], str]:
    def write(found: Found) -> str:
        total = found.totals[key]
        return "null" if total is None else str(total)

    return write


def _flag(found: Found, *, ahead: bool) -> str:
    page = found.page
    return "true" if page and (page.more_ahead if ahead else page.any_behind) else "false"


def _cursor(end: tuple[object, Key] | None, ordering: Ordering) -> str:
    return "null" if end is None else f'"{encode_cursor(ordering, *end)}"'


_PAGE_INFO: Final[dict[str, Callable[[Found], str]]] = {
    "hasNextPage": lambda found: _flag(found, ahead=not found.request.backward),
    "hasPreviousPage": lambda found: _flag(found, ahead=found.request.backward),
    "startCursor": lambda found: _cursor(found.page.first if found.page else None, found.request.ordering),
    "endCursor": lambda found: _cursor(found.page.last if found.page else None, found.request.ordering),
}
