"""The meaning of database failures: from exceptions and SQLSTATEs to the schema's errors."""

from __future__ import annotations

import socket
import ssl
from typing import Final, NamedTuple

import asyncpg
from sqlalchemy.exc import DBAPIError

from schema.errors import ApiError, InputError, InternalError, Reason, UnavailableError
from schema.tables.indexes import served_filters
from schema.tables.registry import ORDERS_NAME, REGISTERED
from server.db.database import LoginRefusedError

# A statement timeout, or a cancelled statement.
QUERY_CANCELED = "57014"
# A read-only transaction: the primary has become a standby, as in a failover.
_READ_ONLY = "25006"
LOCKED: Final = "{table} is locked, as it is while a sync replaces it."
_TABLE_STATES = {
    "42P01": "{table} does not exist.",
    "3F000": "The schema of {table} does not exist.",
    "42703": "{table} lacks a column.",
    "42804": "{table} has a column of another type.",
    "55P03": LOCKED,
    "55000": "{table} has not been filled yet.",
    "42501": "The server's role may not read {table}.",
}
# SQLSTATE classes: 08 connection, 28 login, 3D no such database, 53 out of resources, 57 operator, 58 system.
_CONNECTION_CLASSES = frozenset({"08", "28", "3D", "53", "57", "58"})
_ADVICE = {
    "28": " PostgreSQL refuses the login: check the user, its password or token, and its right to connect.",
    "3D": " The database does not exist.",
    "53300": " It has no free connection.",
    "57P03": " It is starting.",
}
_ADVICE_BY_KIND = {
    socket.gaierror: " Its host name is unknown.",
    ssl.SSLError: " TLS fails: check sslmode and the certificates.",
    asyncpg.ClientConfigurationError: " The connection parameters are wrong: check the URL and the files of sslmode.",
    ConnectionRefusedError: " Nothing listens at its address.",
    TimeoutError: " It does not respond.",
}
# Values that the schema's types accept and PostgreSQL does not: out of range, or not in the database's encoding.
_DATA_CLASS = "22"
_UNREACHABLE = "The database cannot be reached. Try again shortly."
_VALUE_INVALID = "No row can have one of the values in the request."
_TIMEOUT = "The database took too long. Narrow the filter with a condition that an index backs"


# What asyncpg raises, besides OSError (refused, reset) and TimeoutError (silent).
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class TableNamed(NamedTuple):
    """How errors name the table that a statement reads, and their reason if it cannot be read."""

    words: str
    reason: Reason
    # The table whose conditions narrow the statement; None if there are several.
    name: str | None

    @classmethod
    def of(cls, name: str) -> TableNamed:
        """How they name the served table with this name."""
        return cls(f"the table of {name.replace('_', ' ')}", Reason.TABLE_UNAVAILABLE, name)

    def to_narrow(self) -> str:
        """How to ask so that a statement reads less: which conditions an index backs."""
        names = () if self.name is None else served_filters(REGISTERED[self.name].table)
        if not names:
            return f"{_TIMEOUT}."
        *others, last = (f"`{name}`" for name in names)
        return f"{_TIMEOUT}: {' or '.join([', '.join(others), last] if others else [last])}."

    def says(self, text: str) -> str:
        """A sentence about the table."""
        sentence = text.format(table=self.words)
        return sentence[0].upper() + sentence[1:]


ORDERS_NAMED: Final = TableNamed("the orders table", Reason.ORDERS_UNAVAILABLE, ORDERS_NAME)
# A statement of several tables.
TABLES_NAMED: Final = TableNamed("a table of the query", Reason.TABLE_UNAVAILABLE, None)


def classify(error: BaseException, table: TableNamed = ORDERS_NAMED) -> ApiError:
    """The error that any failure means to a caller: an InternalError for a bug of ours, and an ApiError itself.

    Args:
        error: the failure.
        table: the table that the statement reads.
    """
    if isinstance(error, ApiError):
        return error
    cause = driver_error(error)
    if is_refused_value(cause):
        return InputError(Reason.VALUE_INVALID, _VALUE_INVALID)
    if isinstance(cause, asyncpg.PostgresError):
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if meaning := _classify_state(sqlstate(cause), table, connection_lost=lost):
            return meaning
    elif isinstance(cause, (OSError, TimeoutError, *DRIVER_ERRORS)):
        return UnavailableError(Reason.DATABASE_UNAVAILABLE, _UNREACHABLE)
    return InternalError(Reason.INTERNAL, "An internal error; the log has the details.")


def driver_error(error: BaseException) -> BaseException:
    """What asyncpg has raised, if SQLAlchemy wraps it; otherwise the error itself."""
    return error.driver_exception if isinstance(error, DBAPIError) else error


def is_refused_value(error: BaseException) -> bool:
    """Whether the driver refused a value before sending it. The connection stays usable."""
    # For a text that is no UTF-8 it raises an error of PostgreSQL's, which PostgreSQL would send with a severity.
    unsent = isinstance(error, asyncpg.DataError) and error.severity is None
    return unsent or (isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError))


def advice(error: BaseException) -> str:
    """What an operator can check if the database cannot be reached. Contains no address or secret."""
    if isinstance(error, LoginRefusedError):
        return f" {error.why}"
    cause, state = driver_error(error), sqlstate(error)
    for start, text in _ADVICE.items():
        if state.startswith(start):
            return text
    for kind, text in _ADVICE_BY_KIND.items():
        if isinstance(cause, kind):
            return text
    return ""


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a failed statement; empty if there is none."""
    return str(getattr(driver_error(error), "sqlstate", None) or "")


def _classify_state(state: str, table: TableNamed, *, connection_lost: bool) -> ApiError | None:
    if state == QUERY_CANCELED:
        return UnavailableError(Reason.STATEMENT_TIMEOUT, table.to_narrow())
    if state in _TABLE_STATES:
        return UnavailableError(table.reason, f"{table.says(_TABLE_STATES[state])} Try again later.")
    if state[:2] == _DATA_CLASS:
        return InputError(Reason.VALUE_INVALID, _VALUE_INVALID)
    if connection_lost or state == _READ_ONLY or state[:2] in _CONNECTION_CLASSES or not state:
        return UnavailableError(Reason.DATABASE_UNAVAILABLE, _UNREACHABLE)
    return None
