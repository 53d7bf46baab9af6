"""The commands of `python -m server`: migrate, export-changes, import-changes."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from schema.errors import ApiError
from server.changes.transfer import ImportRefusedError, exported, import_lines
from server.db.app_tables import change_tables
from server.db.engine import create_migration_engine
from server.db.errors import advice
from server.db.migrate import Migrations
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.process.served_database import served_database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

    from server.settings import Settings

_FAILED: Final = 1


def run(command: str, settings: Settings) -> int:
    """Run a command by its name and return the exit code. Errors go to standard error."""
    try:
        summary = asyncio.run(_run(command, settings))
    except (ApiError, ImportRefusedError, SQLAlchemyError, OSError, TimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        sys.stderr.write(f"{command}: {cause or type(error).__name__}{advice(error)}\n")
        return _FAILED
    sys.stderr.write(f"{summary}\n")
    return 0


async def _run(command: str, settings: Settings) -> str:
    return await COMMANDS[command][1](settings)


def _engine(settings: Settings) -> AsyncEngine:
    database = served_database(settings, Instances(settings, PlatformLoader(settings)))
    return create_migration_engine(settings, database)


async def _migrate(settings: Settings) -> str:
    migrations = Migrations(_engine(settings), settings.app_schema)
    return f"The schema {settings.app_schema} is at revision {await migrations.upgrade()}."


async def _export(settings: Settings) -> str:
    changes = entries = 0
    async for line in exported(_engine(settings), change_tables(settings.app_schema)):
        sys.stdout.write(f"{line}\n")
        entries += line.startswith('{"audit"')
        changes += not line.startswith('{"audit"')
    sys.stdout.flush()
    return f"{changes:,} changes and {entries:,} audit entries exported."


async def _import(settings: Settings) -> str:
    engine = _engine(settings)
    await Migrations(engine, settings.app_schema).upgrade()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        # Read everything before the transaction, which locks out writers: standard input may be slow.
        await asyncio.to_thread(shutil.copyfileobj, sys.stdin, lines)
        lines.seek(0)
        new, known, audited = await import_lines(engine, change_tables(settings.app_schema), lines)
    return f"{new:,} changes and {audited:,} audit entries imported; {known:,} changes existed already."


COMMANDS: Final[Mapping[str, tuple[str, Callable[[Settings], Awaitable[str]]]]] = {
    "migrate": ("create the server's own tables, or upgrade them", _migrate),
    "export-changes": ("write the history of all changes and the audit to standard output, as JSON Lines", _export),
    "import-changes": ("add such an export, read from standard input: all of it or nothing", _import),
}
