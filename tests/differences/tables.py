"""The tables that random queries read: ordinary orders, with orders among them that the schema does not expect."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from schema.orders.enums import OrderPriority, OrderStatus
from schema.orders.types import ORDERS
from tests.servers.graph_tables import make_graph, served
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import asyncpg

APP_SCHEMA: Final = "differences_app"
READER: Final = "differences_reader"
PADDED, PLAIN, CLEAN = "differences_padded", "differences_plain", "differences_clean"
# The schemas of the tables beside each table of orders. Beside the padded one they have other types than a sync gives,
# and beside the clean one no odd rows.
_BESIDE: Final = {PADDED: "differences_unusual", PLAIN: "differences_usual", CLEAN: "differences_ordinary"}
ORDERINGS: Final = tuple(
    ordering_by(ORDERS, column, descending=descending)
    for column in (ORDERS["order_key"], ORDERS["order_date"], ORDERS["total_price"])
    for descending in (False, True)
)
_ORDERS = 300
_CHANGED_BY = ("ann@example.com", 'b"o\\b\n', "Łukasz 🦀", "")
# The declared types of each table's columns, in the order of `Row`.
_TYPES: Final = {
    PADDED: ("bigint", "bigint", "char(3)", "numeric", "date", "char(15)", "char(15)", "integer", "varchar(5000)"),
    PLAIN: ("bigint", "integer", "text", "numeric(40, 4)", "date", "varchar(30)", "text", "smallint", "text"),
    CLEAN: ("bigint", "bigint", "text", "numeric(18, 2)", "date", "text", "text", "integer", "text"),
}
_ODD_TEXTS: Final[dict[str, tuple[str, ...]]] = {
    "o_orderkey": tuple(map(str, (-(2**63), 2**63 - 1, -1, 0, -77, 2**53 + 1, 2**31))),
    "o_custkey": ("-2147483648",),
    "o_orderstatus": ("X", "", "OO", "o"),
    "o_totalprice": (
        *("NaN", "Infinity", "-Infinity", "0", "7", "1.10", "-0.01", "-5000000"),
        *(f"1{'0' * 25}", f"0.{'0' * 18}1", "123456789012345678.123456789"),
    ),
    "o_orderdate": (
        *("infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "5874897-12-31"),
        *("0001-01-01", "9999-12-31", "1900-02-28", "0999-01-01"),
    ),
    "o_orderpriority": ("6-NEVER", "", "1-urgent", "2-HIGH%"),
    "o_clerk": ("", "Clerk\\\"'%", "  Clerk", "Zoë\n"),
    "o_shippriority": ("-32768", "32767"),
    "o_comment": (
        'say "so"',
        "back\\slash, \\u0000 \\n \\x00 and \\\\",
        "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
        "🦀 👩‍👩‍👧 \U0010ffff \ufffe \ufeff \u200e",
        "one\u2028two\u2029three\x85four",
        "100 % %s %(x)s %% {} {0} $1 :name ' \" ` <script>&amp;</script>",
        "a\nb\r\nc\td",
        "  spaces around  ",
        "",
        "x" * 4_900,
        "é" * 1_000 + "\\" * 500 + '"' * 500,
        "null",
        '{"a": [1]}',
        "]}",
    ),
}


@dataclass(frozen=True)
class Row:
    """A row as PostgreSQL reads it: each column's text, or None for null."""

    o_orderkey: str | None
    o_custkey: str | None
    o_orderstatus: str | None
    o_totalprice: str | None
    o_orderdate: str | None
    o_orderpriority: str | None
    o_clerk: str | None
    o_shippriority: str | None
    o_comment: str | None


def _odd() -> Iterator[Mapping[str, str | None]]:
    """The columns in which each odd row differs."""
    for column, texts in _ODD_TEXTS.items():
        yield from ({column: text} for text in texts)
    yield from ({field.name: None} for field in fields(Row) if field.name != "o_orderkey")
    yield {"o_totalprice": None, "o_orderdate": None}
    yield {"o_orderstatus": None, "o_orderpriority": None, "o_clerk": None}
    yield {"o_orderdate": "infinity", "o_totalprice": "NaN", "o_comment": None}


def rows_of(table: str) -> list[Row]:
    """The rows of a table, always the same. Dates, prices and customers repeat."""
    random = Random(1)  # noqa: S311 # the same in every run
    rows = [
        Row(
            o_orderkey=str(index // 8 * 32 + index % 8 + 1),
            o_custkey=str(random.choice((1, 2, 5, 40, 41, 1500))),
            o_orderstatus=random.choice([str(status.value) for status in OrderStatus]),
            o_totalprice=random.choice(("100.00", "173665.47", "99999.99", f"{random.randrange(10**7) / 100:.2f}")),
            o_orderdate=random.choice(("1996-01-02", "1992-02-29", f"199{random.randrange(10)}-07-1{index % 10}")),
            o_orderpriority=random.choice([str(priority.value) for priority in OrderPriority]),
            o_clerk=f"Clerk#00000000{random.randrange(5)}",
            o_shippriority=str(random.choice((0, 0, 0, 1, 7))),
            o_comment=f"order {index} sleeps",
        )
        for index in range(_ORDERS)
    ]
    if table == CLEAN:
        return rows
    for index, odd in enumerate(_odd()):
        # Two odd rows in a row, then some ordinary ones, so that there are pages of all kinds.
        place = index // 2 * 7 + index % 2 + 10
        rows[place] = replace(rows[place], **_fitting(table, odd))
    return rows


def _fitting(table: str, odd: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """The odd values that the table's columns can hold: a column with a precision holds no infinity."""
    price = odd.get("o_totalprice") or ""
    return odd if table == PADDED or "Infinity" not in price else {"o_totalprice": None}


def lines_of(table: str) -> list[int]:
    """The keys of the orders in a table that have line items of their own."""
    return [int(row.o_orderkey or 0) for row in rows_of(table)][::3]


def changed_keys() -> list[int]:
    """The keys of the orders with a changed status. Some are odd orders, some do not exist."""
    keys = [int(row.o_orderkey or 0) for row in rows_of(PADDED)]
    return list(dict.fromkeys((*keys[::5], -(2**63), 2**63 - 1, 0, 31, 1_000_000)))


def settings_for(table: str) -> dict[str, Any]:
    """The settings of a server of this table of orders, with the tables beside it and the changes."""
    return {
        "orders_table": table,
        "tables": served(_BESIDE[table]),
        "app_schema": APP_SCHEMA,
    }


async def make_tables(database: asyncpg.Connection) -> None:
    """Create the tables, and a role that may only read them."""
    columns = [field.name for field in fields(Row)]
    await database.execute(
        f"""
        DO $$ BEGIN
            IF to_regrole('{READER}') IS NULL THEN CREATE ROLE {READER} LOGIN PASSWORD '{READER}'; END IF;
        END $$
        """
    )
    for table, types in _TYPES.items():
        declared = ", ".join(f"{name} {type_}" for name, type_ in zip(columns, types, strict=True))
        # Autovacuum would change the statistics, and with them the estimates, during a test.
        await database.execute(
            f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} ({declared}) WITH (autovacuum_enabled = false)"
        )
        values = ", ".join(f"${index}::text::{type_}" for index, type_ in enumerate(types, 1))
        await database.executemany(f"INSERT INTO {table} VALUES ({values})", [astuple(row) for row in rows_of(table)])
        await database.execute(f"CREATE UNIQUE INDEX ON {table} (o_orderkey); ANALYZE {table}")
        await database.execute(f"GRANT SELECT ON {table} TO {READER}")
    for table, schema in _BESIDE.items():
        await make_graph(database, schema, unusual=table == PADDED, lines_of=lines_of(table), odd=table != CLEAN)
        await database.execute(
            f"GRANT USAGE ON SCHEMA {schema} TO {READER}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {READER}"
        )


async def change_statuses(database: asyncpg.Connection) -> None:
    """Fill the existing tables of status changes: two changes for each order, the later one in the overlay.

    For every other order the change is superseded: the synced status has changed since.
    """
    random = Random(2)  # noqa: S311 # the same in every run
    synced = {int(row.o_orderkey or 0): row.o_orderstatus for row in rows_of(PADDED)}
    changes, overlay = [], []
    for index, key in enumerate(changed_keys()):
        then = synced.get(key) if index % 2 else random.choice(("F", "O", None, "X"))
        by, at = random.choice(_CHANGED_BY), f"2026-0{index % 9 + 1}-01 23:59:59.{random.randrange(10**6):06d}+00"
        statuses = random.choice(("F", "O", "P")), random.choice(("F", "O", "P", None))
        for version, status in enumerate(statuses, 1):
            note = random.choice((None, 'said "so"\n', "x" * 200))
            changes.append(
                (index * 2 + version, key, then, status or then, status is None, then, version, by, at, note)
            )
        overlay.append((key, statuses[1], 2, then, by, at))
    await database.executemany(
        f"INSERT INTO {APP_SCHEMA}.order_status VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz)", overlay
    )
    await database.executemany(
        f"INSERT INTO {APP_SCHEMA}.order_status_change VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::timestamptz, $10)",
        changes,
    )
    await database.execute(f"ANALYZE {APP_SCHEMA}.order_status; ANALYZE {APP_SCHEMA}.order_status_change")
