"""The roles and databases that the control plane creates in an instance's PostgreSQL."""

from __future__ import annotations

from typing import Any

SUPERUSER_ROLE = "databricks_superuser"
DEFAULT_DATABASE = "databricks_postgres"

_CREATE_SUPERUSER_ROLE = """
CREATE ROLE databricks_superuser NOLOGIN CREATEDB CREATEROLE BYPASSRLS;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO databricks_superuser;
"""


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def prepare(connection: Any, creator: str, *, creator_is_user: bool) -> None:
    """Create what every instance has: databricks_superuser, its database, and the creator's role. Idempotent."""
    if not await role_exists(connection, SUPERUSER_ROLE):
        await connection.execute(_CREATE_SUPERUSER_ROLE)
    await make_database(connection, DEFAULT_DATABASE)
    if not await role_exists(connection, creator):
        name = quoted(creator)
        identity = "USER" if creator_is_user else "SERVICE_PRINCIPAL"
        await connection.execute(
            f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE BYPASSRLS;"
            f"GRANT databricks_superuser TO {name} WITH ADMIN TRUE;"
            f"COMMENT ON ROLE {name} IS '{identity}'"
        )


async def role_exists(connection: Any, name: str) -> bool:
    """Whether the role exists."""
    return bool(await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name))


async def database_exists(connection: Any, name: str) -> bool:
    """Whether the database exists."""
    return bool(await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name))


async def make_database(connection: Any, name: str) -> None:
    """Create the database if it is missing, owned by databricks_superuser."""
    if not await database_exists(connection, name):
        await connection.execute(f"CREATE DATABASE {quoted(name)} OWNER databricks_superuser")
