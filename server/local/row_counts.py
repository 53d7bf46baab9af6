"""The numbers of rows of the served tables, counted in PostgreSQL with a credential of the platform."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.environment import PROJECT_ENDPOINT
from server.settings.graph import parse_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

_CREDENTIALS = "/api/2.0/postgres/credentials"
_RESPONSE_SECONDS = 30


def row_counts(addresses: Mapping[str, Any], settings: Mapping[str, str], host: str) -> dict[str, int]:
    """The number of rows of each table that the setting TABLES names, by its name there.

    Args:
        addresses: what the platform says of itself.
        settings: the server's settings.
        host: the address of the instance.
    """
    tables: Any = parse_tables(settings["TABLES"])
    return asyncio.run(_counted(addresses, settings["LAKEBASE_DATABASE_NAME"], host, tables)) if tables else {}


async def _counted(addresses: Mapping[str, Any], database: str, host: str, tables: Mapping[str, str]) -> dict[str, int]:
    connection = await asyncpg.connect(
        host=host,
        port=addresses["pg_port"],
        user=addresses["user"],
        password=_credential(addresses),
        database=database,
    )
    try:
        return {name: await connection.fetchval(_statement(table)) for name, table in tables.items()}
    finally:
        await connection.close()


def _statement(table: str) -> str:
    quoted = ".".join(f'"{part}"' for part in table.split("."))
    return f"SELECT count(*) FROM {quoted}"  # noqa: S608 # the setting holds identifiers


def _credential(addresses: Mapping[str, Any]) -> str:
    request = urllib.request.Request(  # noqa: S310 # our own address
        f"{addresses['host']}{_CREDENTIALS}",
        json.dumps({"endpoint": PROJECT_ENDPOINT}).encode(),
        {"authorization": f"Bearer {addresses['token']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_RESPONSE_SECONDS) as response:  # noqa: S310 # as above
        return str(json.load(response)["token"])
