"""Owns the roles of an instance that stand for identities of the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.platform.instances import sql
from server.local.platform.rest.bodies import RoleBody, boolean
from server.local.platform.rest.errors import conflict, exists, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.instances.instances import Instances
    from server.local.platform.instances.lifecycle import Lifecycle

_MAX_NAME_BYTES = 63
_ROLES = """
SELECT rolname, rolbypassrls, rolcreatedb, rolcreaterole, shobj_description(oid, 'pg_authid') AS identity,
       EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid = 'databricks_superuser'::regrole)
           AS superuser
FROM pg_roles r
WHERE shobj_description(oid, 'pg_authid') IN ('GROUP', 'PG_ONLY', 'SERVICE_PRINCIPAL', 'USER')
ORDER BY rolname
"""


class Roles:
    """The roles, which live in PostgreSQL alone: what kind of identity each is for is its comment."""

    def __init__(self, life: Lifecycle, instances: Instances) -> None:
        self._life = life
        self._instances = instances

    async def create(self, instance_name: str, body: RoleBody) -> dict[str, Any]:
        """Make a role that its identity can log in with; a group's cannot."""
        name = body.name or ""
        if not 1 <= len(name.encode()) <= _MAX_NAME_BYTES or "\0" in name or name.startswith(("pg_", "databricks_")):
            raise invalid(f"Role name {name!r} is invalid.")
        words = ["NOLOGIN" if body.identity_type == "GROUP" else "LOGIN"]
        words += [word.upper() for word, given in body.attributes.model_dump().items() if given]
        role = sql.quoted(name)
        connection = await self._life.connect(self._instances.find(instance_name))
        try:
            if await sql.role_exists(connection, name):
                raise exists(f"Role '{name}' already exists in instance '{instance_name}'.")
            await connection.execute(
                f"CREATE ROLE {role} {' '.join(words)}; COMMENT ON ROLE {role} IS '{body.identity_type or 'PG_ONLY'}'"
            )
            if body.membership_role:
                await connection.execute(f"GRANT databricks_superuser TO {role}")
        finally:
            connection.terminate()
        return await self.get(instance_name, name)

    async def listed(self, instance_name: str) -> list[dict[str, Any]]:
        """The roles, by name."""
        connection = await self._life.connect(self._instances.find(instance_name))
        try:
            return [_shown(row, instance_name) for row in await connection.fetch(_ROLES)]
        finally:
            connection.terminate()

    async def get(self, instance_name: str, name: str) -> dict[str, Any]:
        """A DatabaseInstanceRole."""
        for role in await self.listed(instance_name):
            if role["name"] == name:
                return role
        raise not_found(f"Role '{name}' not found in instance '{instance_name}'.")

    async def delete(self, instance_name: str, name: str, query: Mapping[str, str]) -> None:
        """Drop the role; what it owns goes to `reassign_owned_to`, and without that it is refused."""
        instance = self._instances.find(instance_name)
        try:
            await self.get(instance_name, name)
        except Exception:
            if boolean(query, "allow_missing"):
                return
            raise
        role = sql.quoted(name)
        if heir := query.get("reassign_owned_to"):
            await self.get(instance_name, heir)
            await self._hand_over(instance_name, role, sql.quoted(heir))
        connection = await self._life.connect(instance)
        try:
            await connection.execute(f"DROP ROLE {role}")
        except asyncpg.DependentObjectsStillExistError as error:
            raise conflict(f"Role '{name}' still owns something: {error.detail}") from None
        finally:
            connection.terminate()

    async def _hand_over(self, instance_name: str, role: str, heir: str) -> None:
        instance = self._instances.find(instance_name)
        connection = await self._life.connect(instance)
        try:
            rows = await connection.fetch("SELECT datname FROM pg_database WHERE datallowconn")
        finally:
            connection.terminate()
        for row in rows:
            connection = await self._life.connect(instance, row["datname"])
            try:
                await connection.execute(f"REASSIGN OWNED BY {role} TO {heir}; DROP OWNED BY {role}")
            finally:
                connection.terminate()


def _shown(row: Any, instance_name: str) -> dict[str, Any]:
    attributes = {"bypassrls": row["rolbypassrls"], "createdb": row["rolcreatedb"], "createrole": row["rolcreaterole"]}
    shown = {
        "name": row["rolname"],
        "instance_name": instance_name,
        "identity_type": row["identity"],
        "attributes": attributes,
        "effective_attributes": attributes,
    }
    if row["superuser"]:
        shown["membership_role"] = "DATABRICKS_SUPERUSER"
    return shown
