"""A peer: a typical Strawberry server over SQLAlchemy's ORM, with a dataloader for each relation, not optimised."""

# No `from __future__ import annotations`: Strawberry and SQLAlchemy read the annotations at run time.

import base64
import os
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NewType

import sqlalchemy as sa
import strawberry
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, SchemaExtension, ValidationCache
from strawberry.schema.config import StrawberryConfig

from tests.bench.serving import serve

_KEPT_DOCUMENTS = 256


class _Base(DeclarativeBase):
    pass


class _OrderRow(_Base):
    __tablename__ = "merged_orders"
    __table_args__ = {"schema": os.environ["PEERS_SCHEMA"]}  # noqa: RUF012 # SQLAlchemy declares it like this

    o_orderkey: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    o_custkey: Mapped[int] = mapped_column(sa.BigInteger)
    o_totalprice: Mapped[Decimal]
    o_orderdate: Mapped[date]
    status: Mapped[str]


class _CustomerRow(_Base):
    __tablename__ = "customer_synced"

    c_custkey: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    c_name: Mapped[str]
    c_nationkey: Mapped[int] = mapped_column(sa.BigInteger)
    c_mktsegment: Mapped[str]


class _NationRow(_Base):
    __tablename__ = "nation_synced"

    n_nationkey: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    n_name: Mapped[str]


class _LineItemRow(_Base):
    __tablename__ = "lineitem_synced"

    l_orderkey: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    l_linenumber: Mapped[int] = mapped_column(primary_key=True)
    l_partkey: Mapped[int] = mapped_column(sa.BigInteger)
    l_quantity: Mapped[Decimal]
    l_extendedprice: Mapped[Decimal]
    l_shipdate: Mapped[date]


class _PartRow(_Base):
    __tablename__ = "part_synced"

    p_partkey: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    p_name: Mapped[str]
    p_brand: Mapped[str]


_url = sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
_sessions = async_sessionmaker(create_async_engine(_url, pool_size=10), class_=AsyncSession, expire_on_commit=False)


async def _rows(statement: sa.Select[Any]) -> list[Any]:
    async with _sessions() as session:
        return list((await session.scalars(statement)).all())


def _to_one(key: Any, made: Callable[[Any], Any]) -> DataLoader[int, Any]:
    """A loader of one type's objects by the column of its key."""

    async def load(keys: list[int]) -> list[Any]:
        found = {getattr(row, key.key): made(row) for row in await _rows(sa.select(key.class_).where(key.in_(keys)))}
        return [found.get(wanted) for wanted in keys]

    return DataLoader(load)


async def _line_items(keys: list[int]) -> list[list["LineItem"]]:
    statement = sa.select(_LineItemRow).where(_LineItemRow.l_orderkey.in_(keys)).order_by(_LineItemRow.l_linenumber)
    found: dict[int, list[LineItem]] = defaultdict(list)
    for row in await _rows(statement):
        found[row.l_orderkey].append(LineItem.of(row))
    return [found[key] for key in keys]


BigInt = NewType("BigInt", int)


@strawberry.enum
class OrderStatus(Enum):
    """The statuses; the values are those stored."""

    OPEN = "O"
    FULFILLED = "F"
    PARTIAL = "P"


@strawberry.type
class Nation:
    """A nation."""

    name: str


@strawberry.type
class Customer:
    """A customer."""

    nation_key: strawberry.Private[int]
    name: str
    market_segment: str

    @strawberry.field
    async def nation(self, info: strawberry.Info) -> Nation | None:
        """The customer's nation."""
        nation: Nation | None = await info.context["nations"].load(self.nation_key)
        return nation


@strawberry.type
class Part:
    """A part."""

    name: str
    brand: str


@strawberry.type
class LineItem:
    """A line of an order."""

    part_key: strawberry.Private[int]
    line_number: int
    quantity: Decimal
    extended_price: Decimal
    ship_date: date

    @strawberry.field
    async def part(self, info: strawberry.Info) -> Part | None:
        """The part of the line."""
        part: Part | None = await info.context["parts"].load(self.part_key)
        return part

    @classmethod
    def of(cls, row: _LineItemRow) -> "LineItem":
        """Convert a row."""
        return cls(
            part_key=row.l_partkey,
            line_number=row.l_linenumber,
            quantity=row.l_quantity,
            extended_price=row.l_extendedprice,
            ship_date=row.l_shipdate,
        )


@strawberry.type
class LineItemConnection:
    """The lines of an order."""

    nodes: list[LineItem]


@strawberry.type
class Order:
    """An order."""

    customer_key: strawberry.Private[int]
    order_key: BigInt
    status: OrderStatus
    total_price: Decimal
    order_date: date

    @strawberry.field
    async def customer(self, info: strawberry.Info) -> Customer | None:
        """The customer of the order."""
        customer: Customer | None = await info.context["customers"].load(self.customer_key)
        return customer

    @strawberry.field
    async def line_items(self, info: strawberry.Info, first: int) -> LineItemConnection:
        """The first lines of the order."""
        lines = await info.context["line_items"].load(self.order_key)
        return LineItemConnection(nodes=lines[:first])

    @classmethod
    def of(cls, row: _OrderRow) -> "Order":
        """Convert a row."""
        return cls(
            customer_key=row.o_custkey,
            order_key=BigInt(row.o_orderkey),
            status=OrderStatus(row.status),
            total_price=row.o_totalprice,
            order_date=row.o_orderdate,
        )


@strawberry.type
class PageInfo:
    """The position of a page."""

    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class OrderConnection:
    """A page of orders."""

    nodes: list[Order]
    page_info: PageInfo


@strawberry.type
class Query:
    """The root field."""

    @strawberry.field
    async def orders(self, first: int, after: str | None = None) -> OrderConnection:
        """The orders after a cursor."""
        statement = sa.select(_OrderRow).order_by(_OrderRow.o_orderkey).limit(first + 1)
        if after is not None:
            statement = statement.where(_OrderRow.o_orderkey > int(base64.b64decode(after)))
        rows = await _rows(statement)
        nodes = [Order.of(row) for row in rows[:first]]
        end = base64.b64encode(str(nodes[-1].order_key).encode()).decode() if nodes else None
        return OrderConnection(nodes=nodes, page_info=PageInfo(has_next_page=len(rows) > first, end_cursor=end))


def _customer(row: _CustomerRow) -> Customer:
    return Customer(nation_key=row.c_nationkey, name=row.c_name, market_segment=row.c_mktsegment)


class _WithLoaders(GraphQL[dict[str, Any], None]):
    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> dict[str, Any]:
        return {
            "request": request,
            "response": response,
            "customers": _to_one(_CustomerRow.c_custkey, _customer),
            "nations": _to_one(_NationRow.n_nationkey, lambda row: Nation(name=row.n_name)),
            "line_items": DataLoader(_line_items),
            "parts": _to_one(_PartRow.p_partkey, lambda row: Part(name=row.p_name, brand=row.p_brand)),
        }


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
    serve(_WithLoaders(schema), int(os.environ["PORT"]), lifespan="off")
