"""Owns the templates of orders as JSON: text with slots, which a store fills with a row's values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from schema.ports.values import ColumnValue, OrderColumn


class Form(Enum):
    """How a value is written in JSON, which is how its GraphQL type writes it.

    A value that its type would refuse has no such form: it is for graphql-core, whose errors are the errors.
    """

    INT = auto()
    BOOLEAN = auto()
    STRING = auto()
    BIGINT = auto()
    DECIMAL = auto()
    DATE = auto()
    DATETIME = auto()
    ENUM = auto()
    GLOBAL_ID = auto()
    CURSOR = auto()


@dataclass(frozen=True, slots=True)
class Slot:
    """One value of an order.

    `column` is what it is made of, `nullable` whether null is one of its values; `names` are those of an enum's
    members by their stored values. A cursor is made of the ordering's columns too.
    """

    column: OrderColumn
    form: Form
    nullable: bool = False
    names: tuple[tuple[str, str], ...] = ()


# Of the slots of one statement, all its templates together: beyond it the statement itself would cost more than it
# spares, and what is remembered of it would be the caller's to choose.
MOST_SLOTS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What one order looks like in an answer. Itself and no other, so that what is made of it can be remembered."""

    parts: tuple[str | Slot, ...]

    @property
    def slots(self) -> list[Slot]:
        """Its slots, in their order."""
        return [part for part in self.parts if isinstance(part, Slot)]


class JsonPage(NamedTuple):
    """A page of orders in JSON.

    `rows[i]` are all orders as the i-th template has them, with commas between. `first` and `last` are the sort value
    and the key of the outermost orders, in the ordering; None on an empty page, and where they were not asked for.
    """

    rows: tuple[str, ...]
    more_ahead: bool
    any_behind: bool
    first: tuple[ColumnValue, int] | None
    last: tuple[ColumnValue, int] | None
