"""The PostgreSQL roles of a branch as REST resources of the Postgres API."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from server.local.platform.compute import sql
from server.local.platform.projects.operations import CREATE, DELETE, UPDATE
from server.local.platform.rest.errors import absent, bad_request, invalid
from server.local.platform.rest.masks import Mask
from server.local.platform.rest.values import checked_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from server.local.platform.compute.lifecycle import Lifecycle
    from server.local.platform.projects.lookup import Lookup
    from server.local.platform.projects.operations import Operations
    from server.local.platform.rest.postgres_bodies import RoleBody, RoleSpecBody
    from server.local.platform.state.projects import Branch, Project

_ATTRIBUTES = ("bypassrls", "createdb", "createrole")
_MASK = Mask(
    ("auth_method", "membership_roles", "attributes", *(f"attributes.{name}" for name in _ATTRIBUTES)),
)
_MIN_ID = 4
_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn"


class Roles:
    """The roles. They live in PostgreSQL alone, so a branch has those of its original at that time.

    PostgreSQL's own passwords are not imitated: a role that authenticates by one cannot log in.
    """

    def __init__(self, lifecycle: Lifecycle, lookup: Lookup, operations: Operations) -> None:
        self._lifecycle = lifecycle
        self._lookup = lookup
        self._operations = operations

    async def get(self, project: str, branch: str, role: str) -> dict[str, Any]:
        """A Role."""
        owner, parent = self._lookup.branch(project, branch)
        async with self._connection(owner, parent) as connection:
            return _as_json(owner.branch_name(parent), await _found(connection, role))

    async def all(self, project: str, branch: str) -> list[dict[str, Any]]:
        """The Roles of a branch, ordered by their names in PostgreSQL."""
        owner, parent = self._lookup.branch(project, branch)
        async with self._connection(owner, parent) as connection:
            return [_as_json(owner.branch_name(parent), role) for role in await sql.roles(connection)]

    async def create(self, project: str, branch: str, body: RoleBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to create a role, or with `replace_existing` to make the one that is there what the body has."""
        owner, parent = self._lookup.branch(project, branch)
        spec = body.spec
        name = spec.postgres_role or query.get("role_id") or ""
        if not sql.is_name(name):
            raise invalid(f"Field 'role.spec.postgres_role' is required, and {name!r} is not valid.")
        role_id = checked_id(query["role_id"], "role_id") if query.get("role_id") else sql.id_of(name)
        if len(role_id) < _MIN_ID:
            raise invalid("Field 'role_id' must be 4-63 characters.")
        async with self._connection(owner, parent) as connection:
            known = [one for one in await sql.roles(connection) if role_id == one.id or name == one.name]
        if known and (query.get("replace_existing") != "true" or known[0].name != name):
            raise bad_request("role with that name already exists")
        identity = spec.identity_type or "PG_ONLY"
        new = sql.PostgresRole(name, identity, role_id, spec.auth_method or sql.default_auth_method(identity))
        new = _changed(new, spec, {"membership_roles", "attributes"})

        async def work() -> dict[str, Any]:
            async with self._connection(owner, parent) as connection:
                try:
                    await sql.put_role(connection, new, known=bool(known))
                except asyncpg.DuplicateObjectError:
                    raise bad_request("role with that name already exists") from None
            return _as_json(owner.branch_name(parent), new)

        return self._operations.begin(f"{owner.branch_name(parent)}/roles/{role_id}", CREATE, work)

    async def update(
        self, project: str, branch: str, role: str, body: RoleBody, raw: bytes, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Begin to change the fields in the mask. The memberships are replaced as a whole."""
        owner, parent = self._lookup.branch(project, branch)
        chosen = _MASK.chosen(query, raw)
        async with self._connection(owner, parent) as connection:
            new = _changed(await _found(connection, role), body.spec, chosen)

        async def work() -> dict[str, Any]:
            async with self._connection(owner, parent) as connection:
                await sql.put_role(connection, new, known=True)
            return _as_json(owner.branch_name(parent), new)

        return self._operations.begin(f"{owner.branch_name(parent)}/roles/{new.id}", UPDATE, work)

    async def delete(self, project: str, branch: str, role: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to drop a role. Its objects go to `reassign_owned_to`; without that a role that has any is kept."""
        owner, parent = self._lookup.branch(project, branch)
        name = owner.branch_name(parent)
        async with self._connection(owner, parent) as connection:
            old = await _found(connection, role)
            heir = None
            if query.get("reassign_owned_to"):
                heir = await _found(connection, query["reassign_owned_to"].removeprefix(f"{name}/roles/"))

        async def work() -> None:
            if heir:
                await self.reassign(owner, parent, old.name, heir.name)
            async with self._connection(owner, parent) as connection:
                try:
                    await connection.execute(f"DROP ROLE {sql.quoted(old.name)}")
                except asyncpg.DependentObjectsStillExistError as error:
                    raise bad_request(f"role '{old.name}' still owns objects: {error.detail}") from None

        return self._operations.begin(f"{name}/roles/{old.id}", DELETE, work)

    async def reassign(self, project: Project, branch: Branch, role: str, heir: str) -> None:
        """Give the objects that a role owns to another, in every database."""
        async with self._connection(project, branch) as connection:
            databases = [row["datname"] for row in await connection.fetch(_DATABASES)]
        for database in databases:
            async with self._connection(project, branch, database) as connection:
                old, new = sql.quoted(role), sql.quoted(heir)
                await connection.execute(f"REASSIGN OWNED BY {old} TO {new}; DROP OWNED BY {old}")

    @asynccontextmanager
    async def _connection(self, project: Project, branch: Branch, database: str = "postgres") -> AsyncIterator[Any]:
        connection = await self._lifecycle.connect(project, branch, database)
        try:
            yield connection
        finally:
            connection.terminate()


async def _found(connection: Any, role: str) -> sql.PostgresRole:
    for one in await sql.roles(connection):
        if one.id == role:
            return one
    raise absent("role")


def _changed(role: sql.PostgresRole, spec: RoleSpecBody, chosen: set[str]) -> sql.PostgresRole:
    """The role with the fields of a spec in a mask."""
    values: dict[str, Any] = {}
    if "auth_method" in chosen and spec.auth_method:
        values["auth_method"] = spec.auth_method
    if "membership_roles" in chosen:
        values["superuser"] = bool(spec.membership_roles)
    for name in _ATTRIBUTES:
        if {"attributes", f"attributes.{name}"} & chosen:
            values[name] = bool(spec.attributes and getattr(spec.attributes, name))
    return replace(role, **values)


def _as_json(branch: str, role: sql.PostgresRole) -> dict[str, Any]:
    status: dict[str, Any] = {
        "role_id": role.id,
        "postgres_role": role.name,
        "auth_method": role.auth_method,
        "membership_roles": ["DATABRICKS_SUPERUSER"] if role.superuser else [],
        "attributes": {name: getattr(role, name) for name in _ATTRIBUTES},
    }
    if role.identity != "PG_ONLY":
        status["identity_type"] = role.identity
    return {"name": f"{branch}/roles/{role.id}", "role_id": role.id, "parent": branch, "status": status}
