"""How SQL writes a row as JSON with the rows and pages that it leads to.

Rows are found first, and no more than are written. A row that another leads to is a LATERAL, and a page below a row a
subquery, so that PostgreSQL looks each of them up by an index, whatever its statistics say. Expressions refer to the
rows around them by name, as text: SQLAlchemy would add those to the FROM clause within.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.ports.templates import Fact, NestedRow, Rows, Slot
from server.tables.source import Source
from server.tables.sql.conditions import conditions_of
from server.tables.sql.pages import any_behind, limit, rows_of
from server.tables.sql.shape import Shape
from server.tables.sql.stretches import by_keys, sort_keys
from server.tables.sql.values import constant, cursor, joined, value_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schema.ports.columns import Column, Relation
    from schema.ports.templates import NestedPage, NestedRequest, Part
    from schema.ports.values import Ordering
    from server.tables.catalog.served import Sources
    from server.tables.sql.values import Piece, Text

# PostgreSQL does not pull up a subquery with an OFFSET. It would write a text twice that is counted and aggregated.
FENCE: Final = sa.literal_column("0", sa.Integer())
_FOUND: Final = "found"


class Below(NamedTuple):
    """The part of a nested request that decides the statement's text."""

    shape: Shape
    of_one_parent: bool

    @classmethod
    def all(cls, requests: Iterable[NestedRequest]) -> tuple[Below, ...]:
        """Those of requests, by their numbers."""
        return tuple([cls._of(number, request) for number, request in enumerate(requests)])

    @classmethod
    def _of(cls, number: int, request: NestedRequest) -> Below:
        return cls(Shape.of_parents(request.page, prefix=prefix_of(number)), request.parent is not None)


def prefix_of(number: int) -> str:
    """The prefix of the names of a nested page's parameters."""
    return f"nested_{number}_"


class Names:
    """The names in one statement.

    Args:
        sources: the tables.
        below: the pages that are nested in its templates.
    """

    def __init__(self, sources: Sources, below: tuple[Below, ...]) -> None:
        self.sources = sources
        self.below = below
        self._given = 0

    def new(self) -> str:
        """Another name for rows."""
        self._given += 1
        return f"json_row_{self._given}"


class _Referred(Source):
    """Rows under a name, which have the columns that expressions refer to."""

    def __init__(self, source: Source, name: str) -> None:
        super().__init__(source.table, source.synced)
        self.source = source
        self.name = name
        self.columns: dict[Column, None] = {}

    def column(self, column: Column) -> sa.ColumnElement[Any]:
        """A column as an expression."""
        return sa.literal_column(self.place(column), self.source.column(column).type)

    def place(self, column: Column) -> str:
        """The text of that expression."""
        self.columns[column] = None
        return f"{self.name}.{column.name}"


class _Page(NamedTuple):
    """A page of rows: their texts, and other values of theirs."""

    rows: sa.Subquery
    texts: list[sa.ColumnElement[str]]
    others: list[sa.ColumnElement[Any]]

    @property
    def found(self) -> sa.ColumnElement[int]:
        """The number of rows that were found, in each row."""
        return self.rows.c[_FOUND]


class RelatedRows:
    """Rows that are written, each joined with the single rows that it leads to."""

    def __init__(self, names: Names, source: Source) -> None:
        self._names = names
        self.row = _Referred(source, names.new())
        # What a row leads to, and the place of the key that leads there.
        self._others: dict[tuple[str, Relation], tuple[_Referred, str]] = {}

    def text(self, row: _Referred, parts: Iterable[Part], ordering: Ordering | None = None) -> Text:
        """One of the rows as text; null if any of its values is."""
        pieces: list[Piece] = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(part)
            elif isinstance(part, Slot):
                pieces += value_of(row, part, ordering)
            elif isinstance(part, NestedRow):
                pieces.append(self._other(row, part))
            else:
                parent = row.place(row.table[part.relation.here])
                pieces.append(_NestedPage(self._names, part, parent).text())
        return joined(pieces)

    def page(
        self, found: sa.Select[Any], texts: Sequence[Text], others: Sequence[sa.Label[Any]], *, counted: bool
    ) -> _Page:
        """The rows that were found as a page of texts and other values; with their number, if that was counted."""
        names = [f"text_{index}" for index in range(len(texts))]
        selected = [text.label(name) for text, name in zip(texts, names, strict=True)]
        number = [sa.literal_column(f"{self.row.name}.{_FOUND}", sa.Integer()).label(_FOUND)] if counted else []
        chosen = [*selected, *others, *number] or [sa.literal_column("1").label("nothing")]
        rows = sa.select(*chosen).select_from(self.joined_to(found)).offset(FENCE).subquery("page")
        return _Page(rows, [rows.c[name] for name in names], [rows.c[other.name] for other in others])

    def joined_to(self, found: sa.Select[Any]) -> sa.FromClause:
        """The rows that were found, joined with what they lead to."""
        rows: sa.FromClause = found.subquery(self.row.name)
        for (_, relation), (other, here) in self._others.items():
            source = other.source
            one = (
                sa.select(*labelled(source, other.columns))
                .select_from(source.rows(other.columns))
                .where(source.column(source.table[relation.there]) == sa.literal_column(here))
                .limit(limit(1))
            )
            rows = rows.outerjoin(one.lateral(other.name), sa.true())
        return rows

    def _other(self, row: _Referred, part: NestedRow) -> Text:
        """The row that a row leads to. It is read once, however many places it has."""
        place = row.name, part.relation
        here = row.place(row.table[part.relation.here])
        if place not in self._others:
            self._others[place] = _Referred(self._names.sources[part.table.name], self._names.new()), here
        other, _ = self._others[place]
        missing = other.column(part.table[part.relation.there]).is_(None)
        return sa.case((missing, constant("null")), else_=self.text(other, part.parts))


def page_rows(
    source: Source, shape: Shape, columns: Iterable[Column], *, parent: str | None = None, counted: bool
) -> sa.Select[Any]:
    """The rows of a page, in its order.

    `counted` adds how many rows were found, in each row: the page's size and one more, if there are as many.
    """
    selected = labelled(source, columns) or [sa.literal_column("1").label("nothing")]
    keys = sort_keys(source, shape.ordering) if shape.backward else []
    one_less = shape if counted else shape._replace(size=shape.size - 1)
    rows = rows_of(source, one_less, columns, [*selected, *keys], parent=parent)
    if counted:
        read = rows.subquery("read")
        rows = sa.select(*read.c, sa.func.count().over().label(_FOUND)).limit(limit(shape.size))
    if not shape.backward:
        return rows
    travelled = rows.subquery("travelled")
    by = [travelled.c[key.name] for key in keys]
    return sa.select(*travelled.c).order_by(*by_keys(shape.ordering, by))


def labelled(source: Source, columns: Iterable[Column]) -> list[sa.Label[Any]]:
    """Columns under the names by which expressions refer to them."""
    return [source.column(column).label(column.name) for column in columns]


def at_ends(values: Sequence[sa.ColumnElement[Any]]) -> tuple[list[Any], list[Any]]:
    """The values in the first row of a page, and those in the last one."""
    places = sa.literal_column("1", sa.Integer()), sa.cast(sa.func.count(), sa.Integer())
    first, last = ([sa.func.array_agg(value, type_=ARRAY(value.type))[place] for value in values] for place in places)
    return first, last


class _NestedPage:
    """Writes a page of the rows that belong to a row: to the one whose value is at the place `parent`."""

    def __init__(self, names: Names, part: NestedPage, parent: str) -> None:
        self._part = part
        self._parent = parent
        self._shape, self._of_one = names.below[part.number]
        self._source = names.sources[part.table.name]
        self._rows = RelatedRows(names, self._source)
        self._facts = {piece for piece in part.parts if isinstance(piece, Fact)}
        backward = self._shape.backward
        self._ahead, self._behind = (
            (Fact.HAS_PREVIOUS, Fact.HAS_NEXT) if backward else (Fact.HAS_NEXT, Fact.HAS_PREVIOUS)
        )

    def text(self) -> Text:
        """The page; null if a value in it is, or if its position is in the page of another parent."""
        page = self._page() if self._shape.size else None
        pieces: list[Piece] = []
        texts = iter(page.texts if page else ())
        for piece in self._part.parts:
            if isinstance(piece, str):
                pieces.append(piece)
            elif isinstance(piece, Fact):
                pieces.append(self._fact(piece, page))
            elif page:
                pieces.append(sa.func.coalesce(sa.func.string_agg(next(texts), constant(",")), constant("")))
        text = joined(pieces)
        if page:
            if page.texts:
                text = sa.case((sa.and_(*(sa.func.count(one) == sa.func.count() for one in page.texts)), text))
            text = sa.select(text).select_from(page.rows).scalar_subquery()
        if not self._of_one:
            return text
        # Evaluated only for that parent.
        of = sa.bindparam(f"{self._shape.prefix}parent", type_=sa.BigInteger())
        return sa.case((sa.literal_column(self._parent) == of, text))

    def _page(self) -> _Page | None:
        """The rows; None if the page has nothing that needs them."""
        ordering, row = self._shape.ordering, self._rows.row
        rows = [piece for piece in self._part.parts if isinstance(piece, Rows)]
        texts = [self._rows.text(row, piece.parts, ordering) for piece in rows]
        ends: list[Column] = []
        if self._facts & {Fact.START_CURSOR, Fact.END_CURSOR}:
            ends = [*ordering.columns, *([ordering.within] if ordering.within else [])]
        by = [row.column(column).label(f"by_{index}") for index, column in enumerate(ends)]
        counted = self._ahead in self._facts
        if not (texts or by or counted):
            return None
        found = page_rows(self._source, self._shape, row.columns, parent=self._parent, counted=counted)
        return self._rows.page(found, texts, by, counted=counted)

    def _fact(self, fact: Fact, page: _Page | None) -> Text:
        if fact is Fact.TOTAL_COUNT:
            return self._total()
        if fact is self._ahead:
            return _flag(self._any_ahead() if page is None else sa.func.max(page.found) > limit(self._shape.size))
        if fact is self._behind:
            at = self._shape.position
            return _flag(any_behind(self._source, self._shape, parent=self._parent)) if at else constant("false")
        return constant("null") if page is None else self._cursor(page, first=fact is Fact.START_CURSOR)

    def _total(self) -> Text:
        rows = self._source.rows(self._shape.columns)
        conditions = conditions_of(self._source, self._shape, parent=self._parent)
        counted = sa.select(sa.cast(sa.func.count(), TEXT())).select_from(rows).where(*conditions)
        return counted.scalar_subquery()

    def _any_ahead(self) -> sa.ColumnElement[bool]:
        """Whether any row follows a page of no rows."""
        one = rows_of(self._source, self._shape, (), [sa.literal_column("1").label("one")], parent=self._parent)
        return one.scalar_subquery().is_not(None)

    def _cursor(self, page: _Page, *, first: bool) -> Text:
        ordering = self._shape.ordering
        starting, ending = at_ends(page.others)
        place = starting if first else ending
        of = place.pop() if ordering.within else None
        written = joined(['"', *cursor(ordering, place, of), '"'])
        return sa.case((sa.func.count() == limit(0), constant("null")), else_=written)


def _flag(value: sa.ColumnElement[bool]) -> Text:
    # Null on an empty page.
    return sa.case((value, constant("true")), else_=constant("false"))
