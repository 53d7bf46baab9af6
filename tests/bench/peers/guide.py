"""A peer: the guide's recipe with FastAPI and SQLModel, a session for each request, and all columns of every order."""

# No `from __future__ import annotations`: FastAPI and SQLModel read the annotations at run time.

import os
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException, Query
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, select

from tests.bench.serving import serve

_SCHEMA, _TABLE = os.environ["ORDERS_TABLE"].split(".")


class _Order(SQLModel):
    o_orderkey: int = Field(primary_key=True)
    o_custkey: int
    o_orderstatus: str
    o_totalprice: Decimal
    o_orderdate: date
    o_orderpriority: str
    o_clerk: str
    o_shippriority: int
    o_comment: str


class Order(_Order, table=True):  # type: ignore[call-arg] # mypy does not follow imports of the bench's packages
    """A row of the orders table."""

    __tablename__ = _TABLE
    __table_args__ = {"schema": _SCHEMA}


class MergedOrder(_Order, table=True):  # type: ignore[call-arg] # as above
    """A row of the view with the merged status."""

    __tablename__ = "merged_orders"
    __table_args__ = {"schema": os.environ["PEERS_SCHEMA"]}

    status: str


class OrderRead(_Order):
    """An order in a response."""


class MergedOrderRead(_Order):
    """An order with its merged status in a response."""

    status: str


class CursorPage(SQLModel):
    """The position of a page."""

    page_size: int
    has_next: bool
    has_previous: bool
    next_cursor: int | None
    previous_cursor: int | None


class OrderPage(SQLModel):
    """A page of orders."""

    orders: list[OrderRead]
    pagination: CursorPage


class MergedOrderPage(SQLModel):
    """A page of orders with the merged status."""

    orders: list[MergedOrderRead]
    pagination: CursorPage


_url = sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
_sessions = async_sessionmaker(create_async_engine(_url, pool_size=10), class_=AsyncSession, expire_on_commit=False)
app = FastAPI()


async def _session() -> AsyncIterator[AsyncSession]:
    async with _sessions() as session:
        yield session


_Session = Annotated[AsyncSession, Depends(_session)]
_Cursor = Annotated[int, Query(ge=0)]
_PageSize = Annotated[int, Query(ge=1, le=1000)]


@app.get("/orders/stream", response_model=OrderPage)
async def orders(session: _Session, cursor: _Cursor = 0, page_size: _PageSize = 100) -> Any:
    """The orders after a key."""
    return await _page(session, Order, cursor, page_size)


@app.get("/merged-orders/stream", response_model=MergedOrderPage)
async def merged_orders(session: _Session, cursor: _Cursor = 0, page_size: _PageSize = 100) -> Any:
    """The orders after a key, with their merged status."""
    return await _page(session, MergedOrder, cursor, page_size)


@app.get("/orders/{order_key}", response_model=OrderRead)
async def order(session: _Session, order_key: int) -> Any:
    """The order with this key."""
    found = (await session.execute(select(Order).where(Order.o_orderkey == order_key))).scalars().first()
    if found is None:
        raise HTTPException(404, "Order not found")
    return found


async def _page(session: AsyncSession, table: Any, cursor: int, page_size: int) -> Any:
    statement = select(table).where(table.o_orderkey > cursor).order_by(table.o_orderkey).limit(page_size + 1)
    found = (await session.execute(statement)).scalars().all()
    page = found[:page_size]
    return {
        "orders": page,
        "pagination": {
            "page_size": page_size,
            "has_next": len(found) > page_size,
            "has_previous": cursor > 0,
            "next_cursor": page[-1].o_orderkey if len(found) > page_size else None,
            "previous_cursor": max(0, cursor - page_size) if cursor else None,
        },
    }


if __name__ == "__main__":
    serve(app, int(os.environ["PORT"]))
