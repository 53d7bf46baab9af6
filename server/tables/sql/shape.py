"""The part of a page request that decides the text of its statement, so that statements can be remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from schema.ports.values import AnyOf, Condition, Not, OfRelated
from schema.ports.ways import Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from schema.ports.columns import Column
    from schema.ports.values import Conditions, Ordering, PageRequest

# A term without its values: of a comparison, the column and the operator.
FormOfTerm: TypeAlias = Any


def _form(conditions: Conditions) -> tuple[FormOfTerm, ...]:
    return tuple([_form_of(term) for term in conditions])


def _form_of(term: FormOfTerm) -> FormOfTerm:
    if isinstance(term, Condition):
        return term.column, term.operator
    if isinstance(term, Not):
        return Not(_form(term.conditions))
    if isinstance(term, OfRelated):
        return OfRelated(term.table, term.here, term.there, _form(term.conditions))
    return AnyOf(tuple([_form(alternative) for alternative in term.alternatives]))


def columns_of(terms: Iterable[FormOfTerm]) -> Iterator[Column]:
    """The columns of a table that terms on its rows need, with or without their values."""
    for term in terms:
        if isinstance(term, Not):
            yield from columns_of(term.conditions)
        elif isinstance(term, AnyOf):
            for alternative in term.alternatives:
                yield from columns_of(alternative)
        elif isinstance(term, OfRelated):
            yield term.here
        else:
            yield term.column if isinstance(term, Condition) else term[0]


class Shape(NamedTuple):
    """The part of a page request that decides the statement's text. `conditions.values_of` gives the rest."""

    ordering: Ordering
    terms: tuple[FormOfTerm, ...]
    size: int
    position: bool
    position_nulls: tuple[bool, ...]
    backward: bool
    look_back: bool
    way: Way
    prefix: str = ""

    @classmethod
    def of(cls, request: PageRequest, way: Way = Way.SERVED, *, prefix: str = "") -> Shape:
        """The shape of a request that is read in this way. The names of its parameters have the prefix."""
        position = request.position
        values = () if position is None else position.values
        return cls(
            ordering=request.ordering,
            terms=_form(request.conditions),
            size=request.size,
            position=position is not None,
            position_nulls=tuple([value is None for value in values]) if values else (),
            backward=request.backward,
            look_back=request.look_back and position is not None,
            way=way,
            prefix=prefix,
        )

    @classmethod
    def of_parents(cls, request: PageRequest, *, prefix: str = "") -> Shape:
        """The shape of a request for rows that belong to parents.

        There is an index of the parent and the key. In any other order all rows of a parent are sorted: an index of
        that order has the rows of all parents.
        """
        return cls.of(request, Way.SERVED if request.ordering.by_key else Way.SORTED, prefix=prefix)

    @property
    def columns(self) -> frozenset[Column]:
        """The columns that the conditions filter by."""
        return frozenset(columns_of(self.terms))

    @property
    def by_values(self) -> bool:
        """Whether the best plan depends on the values. Of the merged status PostgreSQL knows nothing in any case."""
        if self.way is Way.CHANGED:
            return True
        return self.way is not Way.SERVED and any(
            not column.merged and (column is not self.ordering.first or isinstance(term, AnyOf | Not | OfRelated))
            for term in self.terms
            for column in columns_of((term,))
        )
