"""The connection of a root field: its parts, and what they need from the store."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from graphql import get_named_type
from strawberry.utils.str_converters import to_snake_case

from schema.plans.selections import node_of
from schema.ports.templates import Fact, Rows
from schema.relay.cursors import encode_cursor
from schema.tables.freshness import Freshness

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphql import FieldNode, GraphQLLeafType

    from schema.context import Context
    from schema.plans.selections import Group, Selections
    from schema.plans.templates import Templates
    from schema.ports.columns import Table
    from schema.ports.templates import JsonPage, Template
    from schema.ports.values import Key, Ordering, PageRequest
    from schema.tables.registry import Declared


@dataclass(slots=True)
class Found:
    """What the store found for a connection."""

    request: PageRequest
    page: JsonPage | None
    totals: dict[str, int | None]
    context: Context


Piece: TypeAlias = "str | Callable[[Found], str]"


@dataclass(slots=True)
class Connection:
    """How to write a connection: its pieces, and what they need from the store.

    `paged`: it needs a page, unless the page is empty. `ends`: it needs the page's first and last cursor.
    `looks_forward`, `looks_backward`: it needs to know whether there is a next or previous page. `counted`: the nodes
    of `totalCount`, by response key.
    """

    pieces: list[Piece] = field(default_factory=list)
    templates: tuple[Template, ...] = ()
    paged: bool = False
    ends: bool = False
    looks_forward: bool = False
    looks_backward: bool = False
    counted: dict[str, FieldNode] = field(default_factory=dict)

    @classmethod
    def of(cls, templates: Templates, declared: Declared, group: Group, selections: Selections) -> Connection:
        """Plan the selection on a connection.

        Raises:
            UnplannedError: it selects a field that plans do not cover.
        """
        self = cls()

        def freshness(group: Group) -> Callable[[Found], str]:
            write, table = freshness_of(selections, group), declared.table
            return lambda found: write(found.context, table)

        for part in templates.connection(declared, group, self._total, freshness):
            if isinstance(part, Rows):
                self.pieces.append(_rows(templates.index_of(part.parts)))
            else:
                self.pieces.append(_FACTS[part] if isinstance(part, Fact) else part)
            self.paged |= isinstance(part, (Rows, Fact))
            self.ends |= part in {Fact.START_CURSOR, Fact.END_CURSOR}
            self.looks_forward |= part is Fact.HAS_NEXT
            self.looks_backward |= part is Fact.HAS_PREVIOUS
        self.templates = templates.all()
        return self

    def reads_page(self, size: int) -> bool:
        """Whether it needs its page. A page of size 0 has no entries and no cursors, so only the flags need it."""
        return self.paged if size else self.looks_forward or self.looks_backward

    def write(self, found: Found) -> list[str]:
        """The connection in JSON, in pieces: the long text of a page is copied once, when all pieces are joined."""
        return [piece if isinstance(piece, str) else piece(found) for piece in self.pieces]

    def _total(self, key: str, group: Group) -> Callable[[Found], str]:
        self.counted[key] = node_of(group)

        def write(found: Found) -> str:
            total = found.totals[key]
            return "null" if total is None else str(total)

        return write


def freshness_of(selections: Selections, group: Group) -> Callable[[Context, Table], str]:
    """Writes the freshness of a table in JSON, with the fields that are selected of it.

    Raises:
        UnplannedError: the type is not in the schema.
    """
    kind = selections.object_type(Freshness.__name__)
    selected = {
        key: (to_snake_case(name), cast("GraphQLLeafType", get_named_type(kind.fields[name].type)))
        if name in kind.fields
        else None
        for key, name, _ in selections.below(kind.name, group)
    }

    def write(context: Context, table: Table) -> str:
        freshness = Freshness.of(context, table)
        if freshness is None:
            return "null"
        values = {}
        for key, leaf in selected.items():
            # Only `__typename` is not among the fields of the type.
            value = kind.name if leaf is None else getattr(freshness, leaf[0])
            values[key] = value if leaf is None or value is None else leaf[1].coerce_output_value(value)
        return json.dumps(values, separators=(",", ":"))

    return write


def _rows(index: int) -> Callable[[Found], str]:
    return lambda found: found.page.rows[index] if found.page else ""


def _flag(found: Found, *, ahead: bool) -> str:
    page = found.page
    return "true" if page and (page.more_ahead if ahead else page.any_behind) else "false"


def _cursor(end: tuple[tuple[object, ...], Key] | None, ordering: Ordering) -> str:
    return "null" if end is None else f'"{encode_cursor(ordering, *end)}"'


_FACTS: Final[dict[Fact, Callable[[Found], str]]] = {
    Fact.HAS_NEXT: lambda found: _flag(found, ahead=not found.request.backward),
    Fact.HAS_PREVIOUS: lambda found: _flag(found, ahead=found.request.backward),
    Fact.START_CURSOR: lambda found: _cursor(found.page.first if found.page else None, found.request.ordering),
    Fact.END_CURSOR: lambda found: _cursor(found.page.last if found.page else None, found.request.ordering),
}
