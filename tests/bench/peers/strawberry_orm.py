"""A peer: a typical Strawberry server with handwritten types, SQLAlchemy's ORM and both caches, not optimised."""

# No `from __future__ import annotations`: Strawberry and SQLAlchemy read the annotations at run time.

import base64
import os
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NewType

import sqlalchemy as sa
import strawberry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig

from tests.bench.serving import serve

_SCHEMA, _TABLE = os.environ["ORDERS_TABLE"].split(".")
_KEPT_DOCUMENTS = 256


class _Base(DeclarativeBase):
    pass


class _Columns:
    o_orderkey: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    o_custkey: Mapped[int] = mapped_column(sa.BigInteger)
    o_totalprice: Mapped[Decimal]
    o_orderdate: Mapped[date]
    o_orderpriority: Mapped[str]
    o_clerk: Mapped[str]
    o_shippriority: Mapped[int]
    o_comment: Mapped[str]


class _OrderRow(_Columns, _Base):
    __tablename__ = _TABLE
    __table_args__ = {"schema": _SCHEMA}  # noqa: RUF012 # SQLAlchemy declares it like this


class _MergedOrderRow(_Columns, _Base):
    __tablename__ = "merged_orders"
    __table_args__ = {"schema": os.environ["PEERS_SCHEMA"]}  # noqa: RUF012 # as above

    status: Mapped[str]


BigInt = NewType("BigInt", int)


@strawberry.enum
class OrderPriority(Enum):
    """The priorities; the values are those stored."""

    URGENT = "1-URGENT"
    HIGH = "2-HIGH"
    MEDIUM = "3-MEDIUM"
    NOT_SPECIFIED = "4-NOT SPECIFIED"
    LOW = "5-LOW"


@strawberry.enum
class OrderStatus(Enum):
    """The statuses; the values are those stored."""

    OPEN = "O"
    FULFILLED = "F"
    PARTIAL = "P"


@strawberry.type
class Order:
    """An order."""

    order_key: BigInt
    customer_key: BigInt
    total_price: Decimal
    order_date: date
    order_priority: OrderPriority
    clerk: str
    ship_priority: int
    comment: str
    status: OrderStatus | None = None

    @classmethod
    def of(cls, row: Any) -> "Order":
        """Convert a row."""
        return cls(
            order_key=row.o_orderkey,
            customer_key=row.o_custkey,
            total_price=row.o_totalprice,
            order_date=row.o_orderdate,
            order_priority=OrderPriority(row.o_orderpriority),
            clerk=row.o_clerk,
            ship_priority=row.o_shippriority,
            comment=row.o_comment,
            status=OrderStatus(row.status) if isinstance(row, _MergedOrderRow) else None,
        )


@strawberry.type
class OrderEdge:
    """An order with its cursor."""

    cursor: str
    node: Order


@strawberry.type
class PageInfo:
    """The position of a page."""

    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class OrderConnection:
    """A page of orders."""

    edges: list[OrderEdge]
    page_info: PageInfo

    @classmethod
    def of(cls, rows: list[Any], size: int, *, backward: bool) -> "OrderConnection":
        """Convert rows to a page. One row more than the page's size shows that more follow."""
        more, page = len(rows) > size, rows[:size]
        if backward:
            page.reverse()
        edges = [OrderEdge(cursor=_cursor(row.o_orderkey), node=Order.of(row)) for row in page]
        return cls(
            edges=edges,
            page_info=PageInfo(
                has_next_page=backward or more,
                has_previous_page=more or not backward,
                start_cursor=edges[0].cursor if edges else None,
                end_cursor=edges[-1].cursor if edges else None,
            ),
        )


@strawberry.input
class OrderDateFilter:
    """Conditions on the date."""

    gte: date | None = None
    lt: date | None = None


@strawberry.input
class TotalPriceFilter:
    """Conditions on the price."""

    gte: Decimal | None = None


@strawberry.input
class OrderFilter:
    """Which orders to return."""

    order_date: OrderDateFilter | None = None
    total_price: TotalPriceFilter | None = None

    def conditions(self) -> list[Any]:
        """The conditions in SQL."""
        day, price = self.order_date, self.total_price
        return [
            *([_OrderRow.o_orderdate >= day.gte] if day and day.gte else ()),
            *([_OrderRow.o_orderdate < day.lt] if day and day.lt else ()),
            *([_OrderRow.o_totalprice >= price.gte] if price and price.gte else ()),
        ]


_url = sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
_sessions = async_sessionmaker(create_async_engine(_url, pool_size=10), class_=AsyncSession, expire_on_commit=False)


@strawberry.type
class Query:
    """The root fields. Each opens its own session, because concurrent fields cannot share one."""

    @strawberry.field
    async def orders(
        self,
        first: int = 50,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        filter: OrderFilter | None = None,  # noqa: A002 # the argument's name in the schema
    ) -> OrderConnection:
        """The orders after a cursor, or before one."""
        statement = sa.select(_OrderRow).where(*(filter.conditions() if filter else ()))
        if before is None:
            return await _after(statement, _OrderRow, first, after)
        size = last or first
        statement = statement.where(_OrderRow.o_orderkey < _key(before)).order_by(_OrderRow.o_orderkey.desc())
        return OrderConnection.of(await _rows(statement.limit(size + 1)), size, backward=True)

    @strawberry.field
    async def merged_orders(self, first: int = 50, after: str | None = None) -> OrderConnection:
        """The orders after a cursor, with their merged status."""
        return await _after(sa.select(_MergedOrderRow), _MergedOrderRow, first, after)

    @strawberry.field
    async def order(self, order_key: BigInt) -> Order | None:
        """The order with this key."""
        rows = await _rows(sa.select(_OrderRow).where(_OrderRow.o_orderkey == order_key))
        return Order.of(rows[0]) if rows else None


async def _after(statement: sa.Select[Any], table: Any, size: int, cursor: str | None) -> OrderConnection:
    if cursor is not None:
        statement = statement.where(table.o_orderkey > _key(cursor))
    rows = await _rows(statement.order_by(table.o_orderkey).limit(size + 1))
    return OrderConnection.of(rows, size, backward=False)


async def _rows(statement: sa.Select[Any]) -> list[Any]:
    async with _sessions() as session:
        return list((await session.scalars(statement)).all())


def _cursor(key: int) -> str:
    return base64.b64encode(str(key).encode()).decode()


def _key(cursor: str) -> int:
    return int(base64.b64decode(cursor))


def _parser_cache() -> SchemaExtension:
    return ParserCache(_KEPT_DOCUMENTS)


def _validation_cache() -> SchemaExtension:
    return ValidationCache(_KEPT_DOCUMENTS)


schema = strawberry.Schema(
    Query,
    extensions=[_parser_cache, _validation_cache],
    config=StrawberryConfig(scalar_map={BigInt: strawberry.scalar(name="BigInt", serialize=str, parse_value=int)}),
)

if __name__ == "__main__":
    serve(GraphQL(schema), int(os.environ["PORT"]), lifespan="off")
