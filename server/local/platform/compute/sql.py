"""The roles and databases that the control plane creates in a branch's PostgreSQL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

SUPERUSER_ROLE = "databricks_superuser"
DEFAULT_DATABASE = "databricks_postgres"

_CREATE_SUPERUSER_ROLE = """
CREATE ROLE databricks_superuser NOLOGIN CREATEDB CREATEROLE BYPASSRLS;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO databricks_superuser;
"""
_ROLES = """
SELECT rolname, rolbypassrls, rolcreatedb, rolcreaterole, rolcanlogin,
       string_to_array(shobj_description(oid, 'pg_authid'), ' ') AS comment,
       EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = 'databricks_superuser'::regrole)
           AS superuser
FROM pg_roles r
WHERE split_part(shobj_description(oid, 'pg_authid'), ' ', 1) IN ('GROUP', 'PG_ONLY', 'SERVICE_PRINCIPAL', 'USER')
ORDER BY rolname
"""
_MAX_NAME_BYTES = 63
_NOT_IN_ID = re.compile(r"[^a-z0-9]+")
_MIN_ID = 4


@dataclass(frozen=True)
class PostgresRole:
    """A role. Its comment says what kind of identity it stands for, and what the Postgres API calls it.

    The comment is copied with the data, so a branch's roles have the ids that they had in the original.
    """

    name: str
    identity: str
    id: str
    auth_method: str
    bypassrls: bool = False
    createdb: bool = False
    createrole: bool = False
    superuser: bool = False

    def options(self) -> str:
        """The options of CREATE ROLE and ALTER ROLE."""
        options = {
            "LOGIN": self.auth_method != "NO_LOGIN",
            "BYPASSRLS": self.bypassrls,
            "CREATEDB": self.createdb,
            "CREATEROLE": self.createrole,
        }
        return " ".join(option if on else f"NO{option}" for option, on in options.items())


def quoted(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def is_name(name: str) -> bool:
    """Whether a client may give a role or a database this name."""
    return (
        1 <= len(name.encode()) <= _MAX_NAME_BYTES
        and "\0" not in name
        and not name.startswith(("pg_", "databricks_"))
        and name != "postgres"
    )


def id_of(name: str) -> str:
    """The id for a role or a database that was created without one."""
    slug = _NOT_IN_ID.sub("-", name.lower()).strip("-")
    if slug == name.replace("_", "-") and slug[0].isalpha() and len(slug) >= _MIN_ID:
        return slug
    return f"id-{slug[:40].strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def default_auth_method(identity: str) -> str:
    """How a role of this identity authenticates."""
    return {"GROUP": "NO_LOGIN", "PG_ONLY": "PG_PASSWORD_SCRAM_SHA_256"}.get(identity, "LAKEBASE_OAUTH_V1")


async def prepare(connection: Any, creator: str, *, creator_is_user: bool) -> None:
    """Create what every branch has: databricks_superuser, its database, and the creator's role. Idempotent."""
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


async def roles(connection: Any) -> list[PostgresRole]:
    """The roles that stand for identities, and those that a client created, ordered by name."""
    found = []
    for row in await connection.fetch(_ROLES):
        identity, *known = row["comment"]
        found.append(
            PostgresRole(
                name=row["rolname"],
                identity=identity,
                id=known[0] if known else id_of(row["rolname"]),
                auth_method=known[1] if known else default_auth_method(identity),
                bypassrls=row["rolbypassrls"],
                createdb=row["rolcreatedb"],
                createrole=row["rolcreaterole"],
                superuser=row["superuser"],
            )
        )
    return found


async def put_role(connection: Any, role: PostgresRole, *, known: bool) -> None:
    """Create a role, or alter one that is there, to what is given."""
    name = quoted(role.name)
    membership = f"GRANT {SUPERUSER_ROLE} TO {name}" if role.superuser else ""
    if known and not role.superuser:
        membership = f"REVOKE {SUPERUSER_ROLE} FROM {name}"
    await connection.execute(
        f"{'ALTER' if known else 'CREATE'} ROLE {name} {role.options()};"
        f"COMMENT ON ROLE {name} IS '{role.identity} {role.id} {role.auth_method}'; {membership}"
    )


async def role_exists(connection: Any, name: str) -> bool:
    """Whether the role exists."""
    return bool(await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name))


async def database_oid(connection: Any, name: str) -> int | None:
    """The oid of a database; None if there is none of this name."""
    found: int | None = await connection.fetchval("SELECT oid::bigint FROM pg_database WHERE datname = $1", name)
    return found


async def make_database(connection: Any, name: str) -> None:
    """Create the database if it is missing, owned by databricks_superuser."""
    if await database_oid(connection, name) is None:
        await connection.execute(f"CREATE DATABASE {quoted(name)} OWNER databricks_superuser")
