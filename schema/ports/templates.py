"""Templates: the JSON text of an order with slots, which the store fills with the values of each row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from schema.ports.columns import Column
    from schema.ports.values import ColumnValue, Key


class Form(Enum):
    """How a value is written in JSON: as its GraphQL type serializes it.

    A value that its type would refuse cannot be written. It is left to graphql-core, which reports the error.
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
    """The place of one value in a template.

    `column` is where the value comes from, and `nullable` says whether it can be null. `names` are pairs of an enum's
    stored value and its member's name. A cursor also needs the columns of the ordering.
    """

    column: Column
    form: Form
    nullable: bool = False
    names: tuple[tuple[str, str], ...] = ()


# The most slots that all templates of one statement may have. A longer statement would cost more than it saves, and
# clients could make the server remember statements of any size.
MOST_SLOTS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The JSON text of one order with its slots. Compared by identity, so that caches can use it as a key cheaply."""

    parts: tuple[str | Slot, ...]

    @property
    def slots(self) -> list[Slot]:
        """The slots, in order."""
        return [part for part in self.parts if isinstance(part, Slot)]


class JsonPage(NamedTuple):
    """A page of orders as JSON.

    `rows[i]` is the text of all orders by the i-th template, separated by commas. `first` and `last` are the sort
    value and the key of the first and the last order; None on an empty page, and if they were not requested.
    """

    rows: tuple[str, ...]
    more_ahead: bool
    any_behind: bool
    first: tuple[ColumnValue, Key] | None
    last: tuple[ColumnValue, Key] | None
