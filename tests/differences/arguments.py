"""Random values of the schema's input types, as literals of a document and as JSON for variables."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLNullableType,
    get_named_type,
    is_required_input_field,
)

from schema.ports.values import Ordering, SortKey
from schema.relay.cursors import opaque
from schema.tables.registry import REGISTERED
from tests.differences.corpus import ORDERINGS, Corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from graphql import GraphQLInputType

ABSENT: Final = object()
# What a value is for: the argument or input field, and the ordering of the page around it.
Purpose = tuple[str, Ordering | None]
# The inputs of orderings, and their values that may be left out.
_ORDER_BYS: Final = {declared.order_by for declared in REGISTERED.values()}
_DEFAULTS: Final = frozenset({"ASC", "ORDER_KEY", "CUSTOMER_KEY"})
_SIZES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 5, 8, 13)
_LARGE_SIZES: Final = (60, 1000)
_BAD_SIZES: Final = (-1, 1001, 2**31 - 1, -(2**31))
_BAD_CURSORS: Final = (
    "",
    "x",
    "WzEsMl0",
    "WzEsIm9yZGVyX2tleSsiLDFdCg==",
    "é",
    "a" * 300,
    opaque([1, "order_key+", 2**63]),
    opaque([2, "order_key+", 1]),
    opaque([1, "order_date+", 1, "1996-02-31"]),
    opaque([1, "total_price+", 1, "1e3"]),
    opaque([1, "total_price+", 1, "1.0", 2]),
)
_BAD_IDS: Final = ("", "T3JkZXI6", "T3JkZXI6MDE=", "not base64", "T3JkZXI6MQ", "é", "Tm90aGluZzox", "T3JkZXI6MQ==\n")
_BAD_KEYS: Final = ("1", "1:1", "1:0", "1:x", "x", "77", "99:99")
_WORDS: Final = (
    "Clerk#000000001",
    "Clerk#000000003",
    "Clerk\\\"'%",
    "",
    "Zoë\n",
    "ann@example.com",
    "🦀 no such",
    "local",
    "clerk#",
    "1",
    "%",
    "_",
)
_NAMES: Final = ("orders-pg", "main", "catalog.public.orders_synced", "", "no such name", "Order", "Node", "Nothing")
_WITHIN_ITSELF: Final = 0.1
_DECIMALS: Final = ("100.00", "173665.47", "0", "-0.01", "99999.99", "50000", "100", "0.1", "7.0")
_DAYS: Final = ("1996-01-02", "1992-02-29", "0001-01-01", "9999-12-31", "1995-07-15")
_BAD_DAYS: Final = ("1996-02-30", "19960102", "10000-01-01", "")
_MOMENTS: Final = ("2026-01-01T00:00:00Z", "1996-01-02T03:04:05.678+02:00")
_BAD_MOMENTS: Final = ("2026-01-01", "2026-01-01T00:00:00", "yesterday", "12026-01-01T00:00:00Z")
_TYPES_OF_NODES: Final = (
    "OrderStatusChange",
    "DatabaseInstance",
    "DatabaseCatalog",
    "SyncedTable",
    "Operation",
    "Nothing",
)
# Values that a client may send instead of the right ones.
_STRAYS: Final[tuple[Any, ...]] = (
    *(
        True,
        False,
        None,
        0,
        1,
        1.0,
        1.5,
        1e3,
        -0.0,
        3,
        2**31,
        2**63,
        -(2**63),
        10**30,
        "1",
        "1.0",
        "true",
        "OPEN",
        "\0",
    ),
    *([], [1], [None], [[1]], {}, {"eq": 1}, {"in": []}, "", "ASC", [[]], "x" * 2_000),
)


class Word(str):
    """An enum value, written without quotes."""

    __slots__ = ()


class Number(str):
    """A number in a certain notation, 1e3 for example."""

    __slots__ = ()


@dataclass(frozen=True)
class Variable:
    """A variable in the place of a value."""

    name: str


def literal(value: Any) -> str:
    """A value as a literal."""
    if isinstance(value, Variable):
        return f"${value.name}"
    if isinstance(value, Word | Number):
        return str(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {literal(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(value, ensure_ascii=isinstance(value, str) and len(value) % 2 == 0)


def plain(value: Any) -> Any:
    """A value as JSON."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Word) else value


class Values:
    """Random values of any input type, most of them valid."""

    def __init__(
        self,
        random: Random,
        corpus: Corpus,
        *,
        mistakes: float = 0.0,
        instead: Callable[[GraphQLInputType, Purpose], Any] = lambda _wanted, _purpose: ABSENT,
    ) -> None:
        """`mistakes` is the share of invalid values. `instead` may replace a part of a value: a variable, or ABSENT."""
        self._random = random
        self._corpus = corpus
        self._mistakes = mistakes
        self._instead = instead
        # In how many filters the part is that is being made.
        self._within = 0

    def of(self, wanted: GraphQLInputType, purpose: Purpose, *, nulls: float = 0.04) -> Any:
        """A value for a position of this type."""
        if isinstance(wanted, GraphQLNonNull):
            return self._given(wanted.of_type, purpose)
        return None if self._random.random() < nulls else self._given(wanted, purpose)

    def _mistaken(self) -> bool:
        return self._random.random() < self._mistakes

    def stray(self) -> Any:
        """A value of any type."""
        return self._random.choice(_STRAYS)

    def _part(self, wanted: GraphQLInputType, purpose: Purpose) -> Any:
        instead = self._instead(wanted, purpose)
        return self.of(wanted, purpose) if instead is ABSENT else instead

    def _given(self, wanted: GraphQLNullableType, purpose: Purpose) -> Any:
        random, ordering = self._random, purpose[1]
        if isinstance(wanted, GraphQLList):
            if get_named_type(wanted).name in _ORDER_BYS and ordering is not None and not self._mistaken():
                return self._order_by(ordering)
            if random.random() < 0.08:
                # A single value is coerced to a list of one.
                return self.of(wanted.of_type, purpose, nulls=0)
            items = [self._part(wanted.of_type, purpose) for _ in range(random.choice((0, 1, 2, 3, 5)))]
            if random.random() < self._mistakes / 5:
                items = [self.of(wanted.of_type, purpose, nulls=0)] * 1001
            # Some lists have a repeated item.
            return items + items[:1] * random.randrange(2)
        if isinstance(wanted, GraphQLInputObjectType):
            return self._object(wanted)
        if isinstance(wanted, GraphQLEnumType):
            return Word(random.choice(list(wanted.values)))
        return self._scalar(str(wanted), purpose)

    def _object(self, wanted: GraphQLInputObjectType) -> dict[str, Any]:
        random, holds_filters = self._random, "and" in wanted.fields
        # A filter within a filter has few parts: they would have no end.
        share = random.choice((0.0, 0.15, 0.3, 0.3, 0.5, 0.8)) / (1 + 4 * self._within * holds_filters)
        self._within += holds_filters
        given = {
            name: self._part(field.type, (f"{wanted.name}.{name}", None))
            for name, field in wanted.fields.items()
            if is_required_input_field(field)
            # A filter within a filter is rarer, or it would not end.
            or random.random() < (_WITHIN_ITSELF if _is_filter(get_named_type(field.type)) else share)
        }
        self._within -= holds_filters
        return given

    def _order_by(self, ordering: Ordering) -> Any:
        """The argument that asks for this ordering."""
        random, keys = self._random, [*ordering.keys]
        if not keys or keys[-1].descending is not ordering.descending or random.random() < 0.1:
            keys.append(SortKey.of(ordering.table.key[0], descending=ordering.descending))
        listed = []
        for key in keys:
            given = {"direction": Word("DESC" if key.descending else "ASC"), "field": Word(key.column.name.upper())}
            # A field with a default may be left out.
            given = {name: value for name, value in given.items() if value not in _DEFAULTS or random.random() < 0.7}
            if key.nulls_first is not key.descending or random.random() < 0.2:
                given["nulls"] = Word("FIRST" if key.nulls_first else "LAST")
            listed.append(given)
        # A single value is coerced to a list of one.
        return listed[0] if len(listed) == 1 and random.random() < 0.6 else listed

    def _scalar(self, kind: str, purpose: Purpose) -> Any:
        random = self._random
        make: dict[str, Callable[[], Any]] = {
            "Boolean": lambda: random.random() < 0.5,
            "Int": lambda: self._size(purpose),
            "Float": lambda: random.choice((1, 1.5, Number("1e3"))),
            "BigInt": lambda: str(self._key(purpose)) if random.random() < 0.4 else self._key(purpose),
            "Decimal": self._decimal,
            "Date": lambda: random.choice(_BAD_DAYS if self._mistaken() else _DAYS),
            "DateTime": lambda: random.choice(_BAD_MOMENTS if self._mistaken() else _MOMENTS),
            "ID": self._id,
            "String": lambda: self._text(purpose),
        }
        return make[kind]()

    def _decimal(self) -> Any:
        random = self._random
        if random.random() < self._mistakes / 5:
            # As a variable it is a float with an exact integer value. As a literal it is refused.
            return Number("1e3")
        text = random.choice(_DECIMALS)
        return Number(text) if random.random() < 0.4 else text

    def _size(self, purpose: Purpose) -> int:
        name, ordering = purpose
        if name != "size" and self._mistaken():
            return self._random.choice(_BAD_SIZES)
        # Large pages of large pages would be more than a test can wait for.
        large = self._random.random() < 0.02 and (ordering is None or ordering.within is None)
        return self._random.choice(_LARGE_SIZES if large else _SIZES)

    def _key(self, purpose: Purpose = ("", None)) -> int:
        random = self._random
        if random.random() < 0.85:
            of = {"customerKey": "Customer", "CustomerKeyFilter": "Customer", "partKey": "Part"}
            return random.choice(self._corpus.keys_of(of.get(purpose[0].partition(".")[0], "Order")))
        return 2**63 if self._mistaken() else random.choice((0, 9, 10**9, 2**31, 2**53 + 1, -1, 2**63 - 1, -(2**63)))

    def _id(self) -> Any:
        random = self._random
        if self._mistaken():
            # An ID may be written as a number. None of the server's ids is one.
            return random.choice((*_BAD_IDS, 7))
        kind, key = "Order", str(self._key())
        if random.random() < 0.5:
            kind = random.choice(list(self._corpus.ids))
            key = random.choice(self._corpus.ids[kind]) if random.random() < 0.9 else random.choice(_BAD_KEYS)
        if random.random() < 0.02 + self._mistakes:
            kind, key = (
                random.choice(_TYPES_OF_NODES),
                random.choice(("main", str(random.choice(self._corpus.changes)))),
            )
        return base64.b64encode(f"{kind}:{key}".encode()).decode()

    def _text(self, purpose: Purpose) -> str:
        random, (name, ordering) = self._random, purpose
        if name not in {"after", "before"}:
            words = (
                self._corpus.names if name.startswith("CustomerNameFilter") else _NAMES if name == "name" else _WORDS
            )
            return "a\0b" if self._mistaken() else random.choice(words)
        if self._mistaken():
            return random.choice((*_BAD_CURSORS, *(self._corpus.cursors[other][0] for other in ORDERINGS)))
        return random.choice(self._corpus.change_cursors if ordering is None else self._corpus.cursors[ordering])


def _is_filter(type_: object) -> bool:
    """Whether it is the filter of a table, or of its related rows: these have filters within them."""
    return isinstance(type_, GraphQLInputObjectType) and bool({"and", "some"} & type_.fields.keys())
