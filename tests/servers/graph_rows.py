"""The rows of a small graph for tests: rows that the types do not expect, and relations that lead nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from schema.tables.registry import ORDERS_NAME

if TYPE_CHECKING:
    from collections.abc import Collection

# Rows as PostgreSQL reads them: each column's text, or None for null.
Rows: TypeAlias = list[tuple[str | None, ...]]

# Missing customers: 41 and 1500. Customer 7 and the odd ones from 50 on have no orders.
_NAMES_OF_CUSTOMERS: Final[dict[int, str | None]] = {
    -(2**31): "Before all",
    1: "Customer#000000001",
    2: 'O\'Brien "the" \\ Great',
    5: "Same",
    7: "Same",
    9: "Same",
    40: "Łukasz 🦀",
    50: None,
    51: "",
    52: "a",
    53: "a b",
    54: "ab",
    55: "a\tb",
    56: "100%_x",
    57: "100 x",
    58: "\U0010ffff",
    59: "\U0010ffff\U0010ffffz",
    60: "\ud7ffx",
    61: "\ue000x",
    62: "".join(map(chr, range(1, 32))),
    63: 'C"1',
    64: "C\\1",
    65: "c#1",
    66: "Zoë",
}
# (nation, balance, market segment) of the customers that are not ordinary. Nation 77 is missing.
_ODD_CUSTOMERS: Final[dict[int, tuple[str | None, str | None, str | None]]] = {
    2: ("1", "-5.50", "MACHINERY"),
    40: ("77", "100.00", "HOUSEHOLD"),
    50: ("0", "3.00", "FURNITURE"),
    51: (None, "NaN", "BUILDING"),
    52: ("3", "Infinity", "BUILDING"),
    53: ("3", "-Infinity", "BUILDING"),
    54: ("1", None, "BUILDING"),
    55: ("1", "1.00", None),
    56: ("1", "1.00", "X"),
    57: ("1", "1.00", ""),
    58: ("1", "1.00", "building"),
    59: ("4", "0", "AUTOMOBILE"),
}
# (customer, price, date, status) by key.
_ORDERS: Final[dict[int, tuple[str | None, str | None, str | None, str | None]]] = {
    1: ("1", "10.00", "1996-01-02", "O"),
    2: ("1", "10.00", "1996-01-02", "F"),
    3: ("1", "20.00", "1992-02-29", "P"),
    4: ("2", "20.00", "1992-02-29", "O"),
    5: ("5", "7.00", "1998-08-02", "O"),
    6: ("5", "7.00", "1998-08-02", "F"),
    7: ("5", "7.00", "1998-08-02", "F"),
    33: ("41", "1.00", "1995-01-01", "O"),
    34: (None, "1.00", "1995-01-01", "O"),
    35: ("40", "0.00", "0001-01-01", "O"),
    36: ("1", "NaN", "1996-01-02", "O"),
    37: ("1", "Infinity", "1996-01-03", "O"),
    38: ("1", None, "infinity", "O"),
    39: ("1", "9.00", None, "X"),
    40: ("9", "9.00", "9999-12-31", None),
}
# The lines of each order: (line, part). Order 2 has none, order 999999 is missing, and so is part 99.
_LINES: Final[dict[int, tuple[tuple[int, str | None], ...]]] = {
    1: ((1, "1"), (2, "2"), (3, "2"), (4, "3"), (5, "99"), (6, None), (7, "1")),
    3: ((1, "2"), (3, "2")),
    4: ((1, "5"), (2, "6"), (3, "1"), (4, "1"), (5, "1"), (6, "1")),
    5: ((1, "2"), (2, "4")),
    33: ((1, "1"), (2, "2"), (7, "3")),
    39: ((1, "7"), (2, "7")),
    999_999: ((0, "1"), (1, "2")),
}
# Columns of lines that are not ordinary, by their names.
_ODD_LINES: Final[dict[tuple[int, int], dict[str, str | None]]] = {
    (1, 2): {"l_comment": "said \"so\" \\ 'too'\n\u2028", "l_shipmode": "REG AIR"},
    (4, 1): {"l_returnflag": "Z"},
    (4, 2): {"l_quantity": None},
    (4, 3): {"l_discount": "NaN"},
    (4, 4): {"l_shipdate": "infinity"},
    (4, 5): {"l_shipmode": "CAMEL", "l_linestatus": None},
    (4, 6): {"l_receiptdate": "0044-03-15 BC"},
    (5, 1): {"l_commitdate": "10000-01-01"},
    (33, 2): {"l_comment": None},
}
# (name, size, price) by key. No line is of part 8.
_PARTS: Final[dict[int, tuple[str | None, str | None, str | None]]] = {
    1: ("goldenrod lavender", "7", "901.00"),
    2: ("blush 'thistle' blue", "1", "902.00"),
    3: ("spring\\green", "50", "NaN"),
    4: (None, "1", "904.00"),
    5: ("Zoë's", None, "905.00"),
    6: ("dim \x01 navajo", "1", "-Infinity"),
    7: ("", "32767", "0"),
    8: ("no line", "1", "908.00"),
}
# (name, region) by key. No customer is of nation 24, and region 9 is missing.
_NATIONS: Final[dict[int, tuple[str | None, str | None]]] = {
    0: ("ALGERIA", "0"),
    1: ("ARGENTINA", "1"),
    2: ("BRAZIL", "1"),
    3: ("Côte d'Ivoire", "0"),
    4: (None, "2"),
    5: ("NOWHERE", "9"),
    6: ("STATELESS", None),
    24: ("UNITED STATES", "1"),
}
# No nation is of region 4.
_REGIONS: Final[dict[int, str | None]] = {0: "AFRICA", 1: "AMERICA", 2: "ASIA", 3: None, 4: 'MIDDLE "EAST"'}


def _orders() -> Rows:
    return [
        (str(key), customer, status, price, day, "5-LOW", "Clerk#000000001", "0", f"order {key}")
        for key, (customer, price, day, status) in _ORDERS.items()
    ]


def _customers() -> Rows:
    rows: Rows = []
    for key, name in _NAMES_OF_CUSTOMERS.items():
        nation, balance, segment = _ODD_CUSTOMERS.get(key, ("0", "100.00", "BUILDING"))
        rows.append((str(key), name, f"{key} Main St", nation, "10-100-200", balance, segment, f"customer {key}"))
    return rows


def _line_items(others: Collection[int]) -> Rows:
    rows: Rows = []
    ordinary_lines = {key: tuple((number, str((key + number) % 8 + 1)) for number in (1, 2, 4)) for key in others}
    for order, lines in {**ordinary_lines, **_LINES}.items():
        for number, part in lines:
            ordinary: dict[str, str | None] = {
                "l_orderkey": str(order),
                "l_partkey": part,
                "l_suppkey": str(number),
                "l_linenumber": str(number),
                "l_quantity": "17.00",
                "l_extendedprice": "24710.35",
                "l_discount": "0.04",
                "l_tax": "0.02",
                "l_returnflag": "N",
                "l_linestatus": "O",
                "l_shipdate": "1996-03-13",
                "l_commitdate": "1996-02-12",
                "l_receiptdate": "1996-03-22",
                "l_shipinstruct": "DELIVER IN PERSON",
                "l_shipmode": "TRUCK",
                "l_comment": f"line {number}",
            }
            rows.append(tuple({**ordinary, **_ODD_LINES.get((order, number), {})}.values()))
    return rows


def _parts() -> Rows:
    return [
        (
            str(key),
            name,
            "Manufacturer#1",
            "Brand#13",
            "PROMO BURNISHED COPPER",
            size,
            "JUMBO PKG",
            price,
            f"part {key}",
        )
        for key, (name, size, price) in _PARTS.items()
    ]


def _suppliers() -> Rows:
    nations = ("0", "1", "77", None, "24", "4")
    return [
        (
            str(key),
            f"Supplier#{key}",
            f"{key} Side St",
            nation,
            "20-100-200",
            "5.00" if key != 3 else "NaN",
            f"supplier {key}",
        )
        for key, nation in enumerate(nations, 1)
    ]


# The first keys of rows with a value that the types refuse, or do not expect.
_ODD: Final[dict[str, Collection[int]]] = {
    ORDERS_NAME: range(33, 41),
    "customers": range(50, 63),
    "line_items": {4, 5, 33, 999_999},
    "parts": {3, 4, 5, 6},
    "suppliers": {3},
    "nations": {4},
    "regions": {3},
}


def graph_rows(*, lines_of: Collection[int] = (), odd: bool = True) -> dict[str, Rows]:
    """The rows of each table, by its name in settings.

    Args:
        lines_of: the keys of orders that have ordinary lines, too.
        odd: whether there are rows with values that the types do not expect. Some relations lead nowhere in any case.
    """
    rows: dict[str, Rows] = {
        ORDERS_NAME: _orders(),
        "customers": _customers(),
        "line_items": _line_items(lines_of),
        "parts": _parts(),
        "suppliers": _suppliers(),
        "nations": [(str(key), name, region, None) for key, (name, region) in _NATIONS.items()],
        "regions": [(str(key), name, None) for key, name in _REGIONS.items()],
    }
    if odd:
        return rows
    return {name: [row for row in some if int(row[0] or 0) not in _ODD.get(name, ())] for name, some in rows.items()}
