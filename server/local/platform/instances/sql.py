"""Owns what the control plane does inside an instance's databases beside syncing: roles and databases."""

from __future__ import annotations

import asyncio
from typing import Any

SUPERUSER_ROLE = "databricks_superuser"
DEFAULT_DATABASE = "databricks_postgres"

# A replay that is told to stand still does so at the next record that it comes to.
_PAUSE_SECONDS, _LOOK_SECONDS = 10, 0.01

_SUPERUSER = """
CREATE ROLE databricks_superuser NOLOGIN CREATEDB CREATEROLE BYPASSRLS;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO databricks_superuser;
"""


def quoted(name: str) -> str:
    """The name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


async def prepare(connection: Any, creator: str, *, creator_is_user: bool) -> None:
    """Make what every instance has: databricks_superuser, its database, and the creator's role. Idempotent."""
    if not await role_exists(connection, SUPERUSER_ROLE):
        await connection.execute(_SUPERUSER)
    await make_database(connection, DEFAULT_DATABASE)
    if not await role_exists(connection, creator):
        name = quoted(creator)
        identity = "USER" if creator_is_user else "SERVICE_PRINCIPAL"
        await connection.execute(
            f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE BYPASSRLS;"
            f"GRANT databricks_superuser TO {name} WITH ADMIN TRUE;"
            f"COMMENT ON ROLE {name} IS '{identity}'"
        )


async def pause_replay(standby: Any, *, paused: bool) -> None:
    """Let the standby's replay stand still, or go on, and return when it does."""
    await standby.execute(f"SELECT pg_wal_replay_{'pause' if paused else 'resume'}()")
    wanted = "paused" if paused else "not paused"
    async with asyncio.timeout(_PAUSE_SECONDS):
        while await standby.fetchval("SELECT pg_get_wal_replay_pause_state()") != wanted:  # noqa: ASYNC110 # the other end is a database
            await asyncio.sleep(_LOOK_SECONDS)


async def role_exists(connection: Any, name: str) -> bool:
    """Whether there is such a role."""
    return bool(await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name))


async def database_exists(connection: Any, name: str) -> bool:
    """Whether there is such a database."""
    return bool(await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name))


async def make_database(connection: Any, name: str) -> None:
    """Make the database where there is none, owned by databricks_superuser."""
    if not await database_exists(connection, name):
        await connection.execute(f"CREATE DATABASE {quoted(name)} OWNER databricks_superuser")
