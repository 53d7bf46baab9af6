"""What random queries name: keys, ids, and the cursors of every list of the schema."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Final

from strawberry.utils.str_converters import to_camel_case

from schema.graph import TABLES
from schema.orders.types import ORDERS
from schema.ports.changes import FeedPlace
from schema.ports.columns import Kind
from schema.ports.values import Ordering, SortKey
from schema.relay.cursors import encode_change_cursor, encode_cursor
from schema.tables.registry import REGISTERED
from schema.tables.rows import BETWEEN_KEYS
from tests.differences.tables import changed_keys, lines_of, rows_of
from tests.servers.graph_tables import records_of
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schema.ports.columns import Column, Table

    _Records = Sequence[Mapping[str, str | None]]


# How many orders by several columns, or with nulls elsewhere, there are of each list.
_MIXED: Final = 14
# When the orders that cursors name were changed last.
_MOMENTS: Final = (None, *(datetime(2026, month, 1, 23, 59, 59, 120_000 + month, UTC) for month in range(1, 10, 3)))


def _orderings(table: Table, within: Column | None = None) -> tuple[Ordering, ...]:
    if not REGISTERED[table.name].order_by:
        # Without an argument for it there is one order.
        return (ordering_by(table, within=within),)
    directions, sorts = (False, True), (*table.sorts, *table.other_sorts)
    plain = [ordering_by(table, column, descending=way, within=within) for column in sorts for way in directions]
    return tuple(dict.fromkeys((*plain, *_mixed(table, sorts, within))))


def _mixed(table: Table, sorts: Sequence[Column], within: Column | None) -> Iterator[Ordering]:
    random = Random(table.name)  # noqa: S311 # the same in every run
    for _ in range(_MIXED):
        columns = random.sample(sorts, random.choice((1, 2, 2, 3)))
        keys = [SortKey(column, random.random() < 0.5, random.random() < 0.5) for column in columns]
        yield Ordering.by(table, keys, within=within)


def _lists() -> Iterator[tuple[tuple[str, str], tuple[Ordering, ...]]]:
    for name in ("orders", "customers"):
        yield ("Query", name), _orderings(REGISTERED[name].table)
    for declared in REGISTERED.values():
        for attribute, relation in declared.table.relations.items():
            if relation.many and not relation.listed:
                target = REGISTERED[relation.target].table
                yield (declared.type_name, to_camel_case(attribute)), _orderings(target, target[relation.there])


# The orderings of each list in pages, by its type and field.
LISTS: Final[dict[tuple[str, str], tuple[Ordering, ...]]] = dict(_lists())
ORDERINGS: Final = tuple(ordering for orderings in LISTS.values() for ordering in orderings)


@dataclass(frozen=True)
class Corpus:
    """The contents of the tables, for arguments that match something.

    Attributes:
        keys: of the orders.
        ids: the types of rows, with the keys in their global ids.
        cursors: by ordering.
        change_cursors: the cursors of changes.
        changes: the keys of changes.
        names: the names of customers, and beginnings of them.
    """

    keys: tuple[int, ...]
    ids: dict[str, tuple[str, ...]]
    cursors: dict[Ordering, tuple[str, ...]]
    change_cursors: tuple[str, ...]
    changes: tuple[int, ...]
    names: tuple[str, ...]

    def keys_of(self, type_name: str) -> tuple[int, ...]:
        """The keys of the rows of a type with one key."""
        return tuple(map(int, self.ids[type_name]))


def corpus_of(table: str) -> Corpus:
    """The contents of the table, and of those beside it."""
    records: dict[str, _Records] = {
        ORDERS.name: [asdict(row) for row in rows_of(table)],
        **{name: records_of(name, lines_of=lines_of(table)) for name in TABLES},
    }
    changes = tuple(range(1, len(changed_keys()) * 2 + 1))
    names = [name for record in records["customers"] if (name := record["c_name"]) is not None]
    return Corpus(
        keys=tuple(int(record["o_orderkey"] or 0) for record in records[ORDERS.name]),
        ids={
            REGISTERED[name].type_name: tuple(
                BETWEEN_KEYS.join(map(str, _key(REGISTERED[name].table, record))) for record in some
            )
            for name, some in records.items()
        },
        cursors={ordering: tuple(_cursors(ordering, records[ordering.table.name])) for ordering in ORDERINGS},
        change_cursors=tuple(encode_change_cursor(FeedPlace(change)) for change in (0, *changes)),
        changes=changes,
        names=(*names, *(name[:length] for name in names for length in (1, 2, 4))),
    )


def _cursors(ordering: Ordering, records: _Records) -> Iterator[str]:
    for record in records:
        parent = None if ordering.within is None else record[str(ordering.within.stored)]
        if ordering.within is None or parent is not None:
            values = tuple(_sort_value(one.column, record) for one in ordering.keys)
            yield encode_cursor(ordering, values, _key(ordering.table, record), parent and int(parent))


def _key(table: Table, record: Mapping[str, str | None]) -> tuple[int, ...]:
    return tuple(int(record[str(column.stored)] or 0) for column in table.key)


def _sort_value(column: Column, record: Mapping[str, str | None]) -> object:
    if column.stored is None:
        return _MOMENTS[len(str(record)) % len(_MOMENTS)]
    text = record[column.stored]
    return text if text is None or column.kind is not Kind.DECIMAL else Decimal(text)
