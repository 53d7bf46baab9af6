"""The PostgreSQL databases of a branch as REST resources."""

from __future__ import annotations

from contextlib import asynccontextmanager
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
    from server.local.platform.rest.postgres_bodies import DatabaseBody
    from server.local.platform.state.projects import Branch, Project

_MASK = Mask(("postgres_database", "role"))
_DATABASES = """
SELECT datname AS name, shobj_description(oid, 'pg_database') AS id, pg_get_userbyid(datdba) AS owner
FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY datname
"""


class Databases:
    """The databases. They live in PostgreSQL alone; a comment has the id of one that was created here."""

    def __init__(self, lifecycle: Lifecycle, lookup: Lookup, operations: Operations) -> None:
        self._lifecycle = lifecycle
        self._lookup = lookup
        self._operations = operations

    async def get(self, project: str, branch: str, database: str) -> dict[str, Any]:
        """A Database. It is found by its id, or by its name in PostgreSQL."""
        for found in await self.all(project, branch):
            if database in (found["database_id"], found["status"]["postgres_database"]):
                return found
        raise absent("database")

    async def all(self, project: str, branch: str) -> list[dict[str, Any]]:
        """The Databases of a branch, ordered by their names in PostgreSQL."""
        owner, parent = self._lookup.branch(project, branch)
        async with self._connection(owner, parent) as connection:
            roles = {role.name: role.id for role in await sql.roles(connection)}
            rows = await connection.fetch(_DATABASES)
        name = owner.branch_name(parent)
        return [_as_json(name, row["id"] or sql.id_of(row["name"]), row["name"], row["owner"], roles) for row in rows]

    async def create(self, project: str, branch: str, body: DatabaseBody, query: Mapping[str, str]) -> dict[str, Any]:
        """Begin to create a database, or with `replace_existing` to change the one that has this id."""
        owner, parent = self._lookup.branch(project, branch)
        if not body.spec.role:
            raise invalid("Field 'database.spec.role' is required, expected non-default value (not \"\")!")
        name = body.spec.postgres_database or query.get("database_id") or ""
        if not sql.is_name(name):
            raise invalid(f"Field 'database.spec.postgres_database' is required, and {name!r} is not valid.")
        database_id = checked_id(query["database_id"], "database_id") if query.get("database_id") else sql.id_of(name)
        known = await self.all(project, branch)
        if database_id in {one["database_id"] for one in known} and query.get("replace_existing") == "true":
            return await self._change(owner, parent, database_id, name, body.spec.role)
        if {database_id, name} & {text for one in known for text in (one["database_id"], _name(one))}:
            raise bad_request("database with that name already exists")
        role = await self._role(owner, parent, body.spec.role)

        async def work() -> dict[str, Any]:
            async with self._connection(owner, parent) as connection:
                try:
                    await connection.execute(f"CREATE DATABASE {sql.quoted(name)} OWNER {sql.quoted(role)}")
                except asyncpg.DuplicateDatabaseError:
                    raise bad_request("database with that name already exists") from None
                await connection.execute(f"COMMENT ON DATABASE {sql.quoted(name)} IS '{database_id}'")
            return await self.get(project, branch, database_id)

        return self._operations.begin(f"{owner.branch_name(parent)}/databases/{database_id}", CREATE, work)

    async def update(
        self, project: str, branch: str, database: str, body: DatabaseBody, raw: bytes, query: Mapping[str, str]
    ) -> dict[str, Any]:
        """Begin to change the fields in the mask: the name in PostgreSQL, and the owner."""
        owner, parent = self._lookup.branch(project, branch)
        chosen = _MASK.chosen(query, raw)
        known = await self.get(project, branch, database)
        name = body.spec.postgres_database if "postgres_database" in chosen else None
        role = body.spec.role if "role" in chosen else None
        if name is not None and not sql.is_name(name):
            raise invalid(f"spec.postgres_database: {name!r} is not valid.")
        return await self._change(owner, parent, known["database_id"], name, role)

    async def delete(self, project: str, branch: str, database: str) -> dict[str, Any]:
        """Begin to drop a database. The operation fails while somebody is connected to it."""
        owner, parent = self._lookup.branch(project, branch)
        known = await self.get(project, branch, database)

        async def work() -> None:
            async with self._connection(owner, parent) as connection:
                try:
                    await connection.execute(f"DROP DATABASE {sql.quoted(_name(known))}")
                except asyncpg.ObjectInUseError as error:
                    raise bad_request(f"database '{_name(known)}' is in use: {error.detail}") from None

        return self._operations.begin(known["name"], DELETE, work)

    async def _change(
        self, project: Project, branch: Branch, database_id: str, name: str | None, role: str | None
    ) -> dict[str, Any]:
        new_owner = await self._role(project, branch, role) if role is not None else None

        async def work() -> dict[str, Any]:
            known = _name(await self.get(project.id, branch.id, database_id))
            async with self._connection(project, branch) as connection:
                if new_owner is not None:
                    await connection.execute(f"ALTER DATABASE {sql.quoted(known)} OWNER TO {sql.quoted(new_owner)}")
                # A database without an id of its own would lose it with its name.
                await connection.execute(f"COMMENT ON DATABASE {sql.quoted(known)} IS '{database_id}'")
                if name not in (None, known):
                    await connection.execute(f"ALTER DATABASE {sql.quoted(known)} RENAME TO {sql.quoted(str(name))}")
            return await self.get(project.id, branch.id, database_id)

        return self._operations.begin(f"{project.branch_name(branch)}/databases/{database_id}", UPDATE, work)

    async def _role(self, project: Project, branch: Branch, name: str) -> str:
        """The name in PostgreSQL of the role with this resource name."""
        prefix = f"{project.branch_name(branch)}/roles/"
        async with self._connection(project, branch) as connection:
            for role in await sql.roles(connection):
                if name == prefix + role.id:
                    return role.name
        raise absent("role")

    @asynccontextmanager
    async def _connection(self, project: Project, branch: Branch) -> AsyncIterator[Any]:
        connection = await self._lifecycle.connect(project, branch)
        try:
            yield connection
        finally:
            connection.terminate()


def _name(database: dict[str, Any]) -> str:
    return str(database["status"]["postgres_database"])


def _as_json(branch: str, database_id: str, name: str, owner: str, roles: Mapping[str, str]) -> dict[str, Any]:
    status = {"database_id": database_id, "postgres_database": name}
    # databricks_superuser owns the databases that the platform creates, and is no role of the API.
    if owner in roles:
        status["role"] = f"{branch}/roles/{roles[owner]}"
    return {
        "name": f"{branch}/databases/{database_id}",
        "database_id": database_id,
        "parent": branch,
        "status": status,
    }
