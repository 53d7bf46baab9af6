"""The extension pg_trgm, whose indexes find the texts that contain a piece of text."""

from __future__ import annotations

import contextlib
from typing import Final

import asyncpg

from schema.errors import PlatformError, Reason

# A role needs CREATE on the database for it: the extension is trusted.
CREATE_EXTENSION: Final = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
_OPERATORS: Final = "gin_trgm_ops"
_CREATED: Final = """
    SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm'
"""
_AVAILABLE: Final = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')"


class NoTrigramsError(PlatformError):
    """PostgreSQL does not offer the extension."""

    def __init__(self, table: str) -> None:
        super().__init__(
            Reason.RESOURCE_NOT_FOUND,
            f"The text of {table} cannot be indexed: its PostgreSQL does not offer the extension pg_trgm. Build the "
            "other indexes without `text`.",
        )


async def has_trigrams(connection: asyncpg.Connection) -> bool:
    """Whether the database has the extension."""
    return await connection.fetchval(_CREATED) is not None


async def can_have_trigrams(connection: asyncpg.Connection) -> bool:
    """Whether the database has the extension, or its PostgreSQL offers it."""
    return await has_trigrams(connection) or bool(await connection.fetchval(_AVAILABLE))


async def create_trigrams(connection: asyncpg.Connection) -> bool:
    """Create the extension in the database, unless it is there. False if the server's role may not."""
    if await has_trigrams(connection):
        return True
    try:
        # Another table's build may create it at the same time.
        with contextlib.suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateObjectError):
            await connection.execute(CREATE_EXTENSION)
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


async def trigrams_of(connection: asyncpg.Connection, expression: str) -> str:
    """The method and the column of an index of an expression's trigrams, as in CREATE INDEX."""
    schema = await connection.fetchval(_CREATED)
    return f"USING gin ({expression} {f'{schema}.' if schema else ''}{_OPERATORS})"
