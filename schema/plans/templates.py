"""A selection on rows as templates: their own values, the rows that they lead to, and pages of those."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from strawberry.utils.str_converters import to_snake_case

from schema.plans.arguments import Arguments, UnplannedError
from schema.plans.nested import NestedArguments
from schema.plans.selections import node_of
from schema.plans.slots import cursor_of, slots_of
from schema.ports.templates import MOST_SLOTS, Fact, NestedPage, NestedRow, Rows, Slot, Template
from schema.tables.freshness import FRESHNESS
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import strawberry

    from schema.context import PageLimits
    from schema.plans.arguments import Values, Variables
    from schema.plans.selections import Group, Selections
    from schema.ports.columns import Relation
    from schema.ports.templates import NestedRequest, Part
    from schema.tables.registry import Declared

_MOST_TEMPLATES: Final = 8
# Places that are planned, of which templates that turn out to be equal share some.
_MOST_PLANNED: Final = 4 * MOST_SLOTS
T = TypeVar("T")


class Templates:
    """The templates of one statement, and the pages nested in them. Equal templates are stored once.

    Args:
        schema: the schema.
        selections: the selections of the operation.
        variables: its variables.
    """

    def __init__(self, schema: strawberry.Schema, selections: Selections, variables: Variables) -> None:
        self._schema = schema
        self._selections = selections
        self._variables = variables
        self._known: dict[tuple[Part, ...], int] = {}
        self._nested: list[NestedArguments] = []
        self._planned = 0
        self._slots_of: Callable[[Declared], Mapping[str, Slot]] = cache(self._slots)

    def all(self) -> tuple[Template, ...]:
        """All templates, by index."""
        templates = tuple(Template(parts) for parts in self._known)
        if len(templates) > _MOST_TEMPLATES or sum(template.places for template in templates) > MOST_SLOTS:
            raise UnplannedError
        return templates

    def requests(self, values: Values, limits: PageLimits) -> tuple[NestedRequest, ...]:
        """The requests of all pages nested in the templates, by their numbers."""
        return tuple([nested.request(values, limits) for nested in self._nested])

    def of_row(self, declared: Declared, group: Group) -> int:
        """The index of the template for this selection on a row."""
        return self.index_of(tuple(_merged(self._row(declared, group))))

    def index_of(self, parts: tuple[Part, ...]) -> int:
        """The index of the template with these parts."""
        return self._known.setdefault(parts, len(self._known))

    def connection(
        self, declared: Declared, group: Group, total: Callable[[str, Group], T], freshness: Callable[[Group], T]
    ) -> list[str | Rows | Fact | T]:
        """The parts of a connection.

        Args:
            declared: where the type of its rows is declared.
            group: the selection on it.
            total: makes the part of a `totalCount`, from its response key and its nodes.
            freshness: makes the part of a `freshness`, from its nodes.
        """
        parts: list[str | Rows | Fact | T] = []
        for key, name, details in self._selections.below(declared.connection_name, group):
            parts.append(f',"{key}":')
            if name in {"edges", "nodes"}:
                row = self._edge if name == "edges" else self._row
                parts += ["[", Rows(tuple(_merged(row(declared, details)))), "]"]
            elif name == "pageInfo":
                parts += self._page_info(details)
            elif name == Fact.TOTAL_COUNT.value:
                parts.append(total(key, details))
            elif name == FRESHNESS:
                parts.append(freshness(details))
            else:
                parts.append(_type_name(name, declared.connection_name))
        return _merged(_braced(parts))

    def _page_info(self, group: Group) -> list[str | Fact]:
        parts: list[str | Fact] = []
        for key, name, _ in self._selections.below("PageInfo", group):
            parts += [f',"{key}":', Fact(name) if name != "__typename" else '"PageInfo"']
        return _braced(parts)

    def _edge(self, declared: Declared, group: Group) -> list[Part]:
        type_name = f"{declared.type_name}Edge"
        parts: list[Part] = []
        for key, name, details in self._selections.below(type_name, group):
            parts.append(f',"{key}":')
            if name == "cursor":
                self._plan_one_more()
                parts.append(cursor_of(declared.table))
            elif name == "node":
                parts += self._row(declared, details)
            else:
                parts.append(_type_name(name, type_name))
        return _braced(parts)

    def _row(self, declared: Declared, group: Group) -> list[Part]:
        slots, relations = self._slots_of(declared), declared.table.relations
        parts: list[Part] = []
        for key, name, details in self._selections.below(declared.type_name, group):
            parts.append(f',"{key}":')
            if slot := slots.get(name):
                self._plan_one_more()
                parts.append(slot)
            elif relation := relations.get(to_snake_case(name)):
                self._plan_one_more()
                parts.append(self._related(declared, relation, details))
            else:
                parts.append(_type_name(name, declared.type_name))
        return _braced(parts)

    def _related(self, declared: Declared, relation: Relation, group: Group) -> Part:
        target = REGISTERED[relation.target]
        if not relation.many:
            return NestedRow(relation, target.table, tuple(_merged(self._row(target, group))))
        number = len(self._nested)
        arguments = Arguments(self._schema, declared.type_name, node_of(group), self._variables)
        self._nested.append(NestedArguments(relation, target, arguments))
        parts: list[str | Rows | Fact]
        if relation.listed:
            parts = ["[", Rows(tuple(_merged(self._row(target, group)))), "]"]
        else:
            # All rows of a parent are counted, whatever precision is asked for.
            parts = self.connection(target, group, lambda _key, _group: Fact.TOTAL_COUNT, _not_nested)
        return NestedPage(relation, target.table, number, tuple(parts))

    def _slots(self, declared: Declared) -> Mapping[str, Slot]:
        return slots_of(declared.table, self._selections.object_type(declared.type_name))

    def _plan_one_more(self) -> None:
        # Fragments may repeat a selection many times in a short document.
        self._planned += 1
        if self._planned > _MOST_PLANNED:
            raise UnplannedError


def _not_nested(_group: Group) -> Fact:
    """The freshness beside a page in a row: PostgreSQL, which writes that page, does not know it."""
    raise UnplannedError


def _type_name(field_name: str, type_name: str) -> str:
    if field_name != "__typename":
        raise UnplannedError
    return f'"{type_name}"'


def _braced(parts: list[T]) -> list[T | str]:
    """A JSON object of members that each begin with a comma."""
    if not parts:
        return ["{}"]
    first = parts[0]
    return [f"{{{first[1:]}" if isinstance(first, str) else first, *parts[1:], "}"]


def _merged(parts: list[T]) -> list[T]:
    """The parts with neighbouring texts joined."""
    merged: list[T] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part  # type: ignore[assignment] # both are texts
        else:
            merged.append(part)
    return merged
