"""The PostgreSQL roles of an instance that stand for identities of the workspace, as REST resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.platform.compute import sql
from server.local.platform.rest.bodies import RoleBody, boolean
from server.local.platform.rest.errors import PlatformError, conflict, exists, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.instances.instances import Instances
    from server.local.platform.projects.roles import Roles


class InstanceRoles:
    """The roles of an instance's default branch."""

    def __init__(self, instances: Instances, roles: Roles) -> None:
        self._instances = instances
        self._roles = roles

    async def create(self, instance_name: str, body: RoleBody) -> dict[str, Any]:
        """Create a role. Its identity can log in with it, unless that is a group."""
        name = body.name or ""
        if not sql.is_name(name):
            raise invalid(f"Role name {name!r} is invalid.")
        identity = body.identity_type or "PG_ONLY"
        # A role that has no identity may log in with a credential, too.
        auth_method = "NO_LOGIN" if identity == "GROUP" else "LAKEBASE_OAUTH_V1"
        role = sql.PostgresRole(
            name,
            identity,
            sql.id_of(name),
            auth_method,
            **body.attributes.model_dump(),
            superuser=bool(body.membership_role),
        )
        connection = await self._instances.connect(instance_name)
        try:
            if await sql.role_exists(connection, name):
                raise exists(f"Role '{name}' already exists in instance '{instance_name}'.")
            await sql.put_role(connection, role, known=False)
        finally:
            connection.terminate()
        return await self.get(instance_name, name)

    async def all(self, instance_name: str) -> list[dict[str, Any]]:
        """Every DatabaseInstanceRole, ordered by name."""
        connection = await self._instances.connect(instance_name)
        try:
            return [_as_json(role, instance_name) for role in await sql.roles(connection)]
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
        try:
            await self.get(instance_name, name)
        except PlatformError:
            if boolean(query, "allow_missing"):
                return
            raise
        if new_owner := query.get("reassign_owned_to"):
            await self.get(instance_name, new_owner)
            project, branch = self._instances.served(instance_name)
            await self._roles.reassign(project, branch, name, new_owner)
        connection = await self._instances.connect(instance_name)
        try:
            await connection.execute(f"DROP ROLE {sql.quoted(name)}")
        except asyncpg.DependentObjectsStillExistError as error:
            raise conflict(f"Role '{name}' still owns objects: {error.detail}") from None
        finally:
            connection.terminate()


def _as_json(role: sql.PostgresRole, instance_name: str) -> dict[str, Any]:
    attributes = {"bypassrls": role.bypassrls, "createdb": role.createdb, "createrole": role.createrole}
    reply = {
        "name": role.name,
        "instance_name": instance_name,
        "identity_type": role.identity,
        "attributes": attributes,
        "effective_attributes": attributes,
    }
    if role.superuser:
        reply["membership_role"] = "DATABRICKS_SUPERUSER"
    return reply
