"""The PostgreSQL roles of an instance that stand for identities of the workspace, as REST resources."""

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
    """The roles. They live in PostgreSQL alone, and a role's comment says what kind of identity it stands for."""

    def __init__(self, lifecycle: Lifecycle, instances: Instances) -> None:
        self._lifecycle = lifecycle
        self._instances = instances

    async def create(self, instance_name: str, body: RoleBody) -> dict[str, Any]:
        """Create a role. Its identity can log in with it, unless that is a group."""
        name = body.name or ""
        if not 1 <= len(name.encode()) <= _MAX_NAME_BYTES or "\0" in name or name.startswith(("pg_", "databricks_")):
            raise invalid(f"Role name {name!r} is invalid.")
        options = ["NOLOGIN" if body.identity_type == "GROUP" else "LOGIN"]
        options += [option.upper() for option, given in body.attributes.model_dump().items() if given]
        role = sql.quoted(name)
        connection = await self._lifecycle.connect(self._instances.find(instance_name))
        try:
            if await sql.role_exists(connection, name):
                raise exists(f"Role '{name}' already exists in instance '{instance_name}'.")
            await connection.execute(
                f"CREATE ROLE {role} {' '.join(options)}; COMMENT ON ROLE {role} IS '{body.identity_type or 'PG_ONLY'}'"
            )
            if body.membership_role:
                await connection.execute(f"GRANT databricks_superuser TO {role}")
        finally:
            connection.terminate()
        return await self.get(instance_name, name)

    async def all(self, instance_name: str) -> list[dict[str, Any]]:
        """Every DatabaseInstanceRole, ordered by name."""
        connection = await self._lifecycle.connect(self._instances.find(instance_name))
        try:
            return [_as_json(row, instance_name) for row in await connection.fetch(_ROLES)]
        finally:
            connection.terminate()

    async def get(self, instance_name: str, name: str) -> dict[str, Any]:
        """The DatabaseInstanceRole with this name."""
        for role in await self.all(instance_name):
            if role["name"] == name:
                return role
        raise not_found(f"Role '{name}' not found in instance '{instance_name}'.")

    async def delete(self, instance_name: str, name: str, query: Mapping[str, str]) -> None:
        """Drop a role. Its objects go to `reassign_owned_to`; without that a role with objects is refused."""
        instance = self._instances.find(instance_name)
        try:
            await self.get(instance_name, name)
        except Exception:
            if boolean(query, "allow_missing"):
                return
            raise
        role = sql.quoted(name)
        if new_owner := query.get("reassign_owned_to"):
            await self.get(instance_name, new_owner)
            await self._reassign(instance_name, role, sql.quoted(new_owner))
        connection = await self._lifecycle.connect(instance)
        try:
            await connection.execute(f"DROP ROLE {role}")
        except asyncpg.DependentObjectsStillExistError as error:
            raise conflict(f"Role '{name}' still owns objects: {error.detail}") from None
        finally:
            connection.terminate()

    async def _reassign(self, instance_name: str, role: str, new_owner: str) -> None:
        instance = self._instances.find(instance_name)
        connection = await self._lifecycle.connect(instance)
        try:
            rows = await connection.fetch("SELECT datname FROM pg_database WHERE datallowconn")
        finally:
            connection.terminate()
        for row in rows:
            connection = await self._lifecycle.connect(instance, row["datname"])
            try:
                await connection.execute(f"REASSIGN OWNED BY {role} TO {new_owner}; DROP OWNED BY {role}")
            finally:
                connection.terminate()


def _as_json(row: Any, instance_name: str) -> dict[str, Any]:
    attributes = {"bypassrls": row["rolbypassrls"], "createdb": row["rolcreatedb"], "createrole": row["rolcreaterole"]}
    reply = {
        "name": row["rolname"],
        "instance_name": instance_name,
        "identity_type": row["identity"],
        "attributes": attributes,
        "effective_attributes": attributes,
    }
    if row["superuser"]:
        reply["membership_role"] = "DATABRICKS_SUPERUSER"
    return reply
