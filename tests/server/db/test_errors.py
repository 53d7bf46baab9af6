"""What a failure of the database means to a caller: always one of the schema's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
import sqlalchemy as sa
from graphql import GraphQLError
from sqlalchemy.exc import DBAPIError
from strawberry.types.execution import ExecutionResult

from schema.errors import InternalError, Reason
from server.db.app_tables import change_tables
from server.db.errors import classify, driver_error
from server.http.error_response import present, present_fault
from server.orders.orders_table import OrdersTable
from server.tables.reading.reader import Reader
from server.tables.reading.readiness import Readiness

if TYPE_CHECKING:
    from server.db.engine import Engines
    from tests.server.conftest import LogLines


def failure(state: str) -> asyncpg.PostgresError:
    """PostgreSQL's error with this SQLSTATE."""
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "no"})
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (failure("25006"), Reason.DATABASE_UNAVAILABLE),
        (failure("57P01"), Reason.DATABASE_UNAVAILABLE),
        (failure("53300"), Reason.DATABASE_UNAVAILABLE),
        (failure("57014"), Reason.STATEMENT_TIMEOUT),
        (failure("42P01"), Reason.ORDERS_UNAVAILABLE),
        (failure("22003"), Reason.VALUE_INVALID),
        (asyncpg.DataError("out of range"), Reason.VALUE_INVALID),
        (asyncpg.InterfaceError("connection is closed"), Reason.DATABASE_UNAVAILABLE),
        (ConnectionRefusedError(), Reason.DATABASE_UNAVAILABLE),
        (TimeoutError(), Reason.DATABASE_UNAVAILABLE),
        (failure("42601"), Reason.INTERNAL),
        (failure("23505"), Reason.INTERNAL),
        (LookupError("a mistake"), Reason.INTERNAL),
    ],
)
def test_every_failure_has_a_meaning(error: Exception, reason: Reason) -> None:
    """A read-only transaction is a failover; whatever has no meaning of its own is a mistake of the server."""
    meaning = classify(error)
    assert meaning.reason is reason
    assert classify(meaning) is meaning


async def test_sqlalchemys_wrapping_changes_no_meaning(engines: Engines) -> None:
    """A statement means the same whether SQLAlchemy or the driver sends it."""
    for statement, parameters in (("SELECT 1/0", {}), ("SELEC 1", {}), ("SELECT CAST(:n AS int)", {"n": 10**12})):
        async with engines.pages.connect() as connection:
            with pytest.raises(DBAPIError) as raised:
                await connection.execute(sa.text(statement), parameters)
        assert not isinstance(driver_error(raised.value), DBAPIError)
        assert classify(raised.value).reason is classify(driver_error(raised.value)).reason


async def test_a_mistake_in_a_statement_is_logged_once_and_not_told(engines: Engines, log_lines: LogLines) -> None:
    """Each answer logs it with the exception that has PostgreSQL's message. The client learns the error id."""
    reader = Reader(OrdersTable("public.orders_synced", change_tables("no_changes")), Readiness())
    with pytest.raises(InternalError) as raised:
        await reader.fetch(engines.pages, lambda _: sa.text("SELEC secret_column"))
    error = GraphQLError("secret", original_error=raised.value)
    answers = [present(ExecutionResult(data=None, errors=[error])), present_fault(raised.value)]
    for body, status in answers:
        assert status == 500
        assert body["errors"][0]["extensions"]["reason"] == "INTERNAL"
        assert body["errors"][0]["message"].startswith("Something went wrong on our side.")
    lines = log_lines()
    assert [(line["event"], line["level"]) for line in lines] == [("fault", "error")] * len(answers)
    assert all("secret_column" in str(line["exc_info"].__cause__) for line in lines)
