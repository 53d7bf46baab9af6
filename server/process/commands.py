"""The commands of `python -m server`: migrate, export-changes, import-changes, export-orders."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from schema.errors import ApiError
from server.changes.transfer import ImportRefusedError, exported, import_lines
from server.db.app_tables import change_tables
from server.db.engine import create_migration_engine
from server.db.errors import advice
from server.db.migrate import Migrations
from server.graphql.export.operation import RefusedError
from server.graphql.export.shell import StoppedError, Wanted, write_export
from server.lakebase.login.instances import Instances
from server.lakebase.platform.loader import PlatformLoader
from server.process.app import create_app
from server.process.exports import shell_context
from server.process.served_database import served_database
from server.traffic.draining import Draining

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Awaitable, Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncEngine

    from server.settings import Settings

_FAILED: Final = 1
# Their messages are for the operator.
_EXPECTED: Final = (ApiError, ImportRefusedError, RefusedError, StoppedError)


class Command(NamedTuple):
    """A command: what it does, the function that does it and returns a summary, and its arguments."""

    meaning: str
    run: Callable[[Settings, Namespace], Awaitable[str]]
    add_arguments: Callable[[ArgumentParser], None] = lambda _: None


def run(given: Namespace, settings: Settings) -> int:
    """Run the command that the arguments name, and return the exit code. Errors go to standard error."""
    command: str = given.command
    try:
        summary = asyncio.run(_run(command, settings, given))
    except (*_EXPECTED, SQLAlchemyError, OSError, TimeoutError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        sys.stderr.write(f"{command}: {cause or type(error).__name__}{advice(error)}\n")
        return _FAILED
    sys.stderr.write(f"{summary}\n")
    return 0


async def _run(command: str, settings: Settings, given: Namespace) -> str:
    return await COMMANDS[command].run(settings, given)


def _engine(settings: Settings) -> AsyncEngine:
    database = served_database(settings, Instances(settings, PlatformLoader(settings)))
    return create_migration_engine(settings, database)


async def _migrate(settings: Settings, _given: Namespace) -> str:
    migrations = Migrations(_engine(settings), settings.app_schema)
    return f"The schema {settings.app_schema} is at revision {await migrations.upgrade()}."


async def _export(settings: Settings, _given: Namespace) -> str:
    changes = entries = 0
    async for line in exported(_engine(settings), change_tables(settings.app_schema)):
        sys.stdout.write(f"{line}\n")
        entries += line.startswith('{"audit"')
        changes += not line.startswith('{"audit"')
    sys.stdout.flush()
    return f"{changes:,} changes and {entries:,} audit entries exported."


async def _import(settings: Settings, _given: Namespace) -> str:
    engine = _engine(settings)
    await Migrations(engine, settings.app_schema).upgrade()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
        # Read everything before the transaction, which locks out writers: standard input may be slow.
        await asyncio.to_thread(shutil.copyfileobj, sys.stdin, lines)
        lines.seek(0)
        new, known, audited = await import_lines(engine, change_tables(settings.app_schema), lines)
    return f"{new:,} changes and {audited:,} audit entries imported; {known:,} changes existed already."


async def _export_orders(settings: Settings, given: Namespace) -> str:
    app = create_app(settings, Draining())
    wanted = Wanted(
        query=None if given.query is None else given.query.read_text(),
        variables=given.variables,
        csv=given.format == "csv",
        keep_formulas=given.keep_formulas,
        after=given.after,
        first=given.first,
    )
    async with shell_context(settings) as context:
        if given.output is None:
            return await write_export(app.state.exporter, context, wanted, sys.stdout.buffer)
        with given.output.open("wb" if given.after is None else "ab") as output:
            return await write_export(app.state.exporter, context, wanted, output)


def _arguments_of_orders(parser: ArgumentParser) -> None:
    parser.add_argument("--format", choices=("ndjson", "csv"), default="ndjson", help="ndjson by default")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="by default standard output; continued with --after"
    )
    parser.add_argument("--after", metavar="CURSOR", help="resume after this cursor, which an interrupted export names")
    parser.add_argument("--first", type=int, metavar="N", help="at most so many rows")
    parser.add_argument(
        "--query",
        type=Path,
        metavar="FILE",
        help="a GraphQL query for one connection; by default all orders with all their own fields",
    )
    parser.add_argument(
        "--variables",
        type=json.loads,
        default={},
        metavar="JSON",
        help='its variables; the default query has `filter`: \'{"filter": {"status": {"eq": "OPEN"}}}\'',
    )
    parser.add_argument(
        "--keep-formulas",
        action="store_true",
        help="in CSV, write texts that a spreadsheet would run as formulas without an apostrophe before them",
    )


COMMANDS: Final[Mapping[str, Command]] = {
    "migrate": Command("create the server's own tables, or upgrade them", _migrate),
    "export-changes": Command(
        "write the history of all changes and the audit to standard output, as JSON Lines", _export
    ),
    "import-changes": Command("add such an export, read from standard input: all of it or nothing", _import),
    "export-orders": Command(
        "write all orders, or the rows of another connection, page by page: not one snapshot of them",
        _export_orders,
        _arguments_of_orders,
    ),
}
