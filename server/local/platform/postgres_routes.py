"""The routes of the Postgres API: method, path and handler of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.local.platform.calls import listing
from server.local.platform.projects.credentials import requested
from server.local.platform.rest import postgres_bodies as bodies
from server.local.platform.rest.bodies import EndpointCredentialBody, boolean, parsed

if TYPE_CHECKING:
    from server.local.platform.calls import Call, Route

_PROJECT = "/projects/{project}"
_BRANCH = f"{_PROJECT}/branches/{{branch}}"
_ENDPOINT = f"{_BRANCH}/endpoints/{{endpoint}}"
_DATABASE = f"{_BRANCH}/databases/{{database}}"
_ROLE = f"{_BRANCH}/roles/{{role}}"
_SNAPSHOT = f"{_PROJECT}/snapshots/{{snapshot}}"


def _is_set(call: Call, name: str) -> bool:
    return bool(boolean(call.query, name))


def _credential(call: Call) -> dict[str, Any]:
    compute, seconds = requested(parsed(EndpointCredentialBody, call.body), call.platform.lookup)
    token, expiry = call.platform.credentials.mint(call.caller, [compute.endpoint.uid], seconds=seconds)
    return {"token": token, "expire_time": expiry}


async def _databases(call: Call) -> dict[str, Any]:
    return listing(call, "databases", await call.platform.databases.all(**call.params))


async def _roles(call: Call) -> dict[str, Any]:
    return listing(call, "roles", await call.platform.roles.all(**call.params))


_PROJECTS: list[Route] = [
    (
        "POST",
        "/projects",
        lambda call: call.platform.projects.create(parsed(bodies.ProjectBody, call.body), call.query, call.caller),
    ),
    (
        "GET",
        "/projects",
        lambda call: listing(call, "projects", call.platform.projects.all(deleted=_is_set(call, "show_deleted"))),
    ),
    ("GET", _PROJECT, lambda call: call.platform.projects.get(**call.params)),
    (
        "PATCH",
        _PROJECT,
        lambda call: call.platform.projects.update(
            call["project"], parsed(bodies.ProjectBody, call.body), call.body, call.query
        ),
    ),
    ("DELETE", _PROJECT, lambda call: call.platform.projects.delete(call["project"], purge=_is_set(call, "purge"))),
    ("POST", f"{_PROJECT}/undelete", lambda call: call.platform.projects.undelete(**call.params)),
    (
        "POST",
        f"{_PROJECT}/branches",
        lambda call: call.platform.branches.create(call["project"], parsed(bodies.BranchBody, call.body), call.query),
    ),
    (
        "GET",
        f"{_PROJECT}/branches",
        lambda call: listing(
            call,
            "branches",
            call.platform.branches.all(call["project"], deleted=_is_set(call, "show_deleted")),
        ),
    ),
    ("GET", _BRANCH, lambda call: call.platform.branches.get(**call.params)),
    (
        "PATCH",
        _BRANCH,
        lambda call: call.platform.branches.update(
            **call.params, body=parsed(bodies.BranchBody, call.body), raw=call.body, query=call.query
        ),
    ),
    ("DELETE", _BRANCH, lambda call: call.platform.branches.delete(**call.params, purge=_is_set(call, "purge"))),
    ("POST", f"{_BRANCH}/undelete", lambda call: call.platform.branches.undelete(**call.params)),
    (
        "POST",
        f"{_PROJECT}/snapshots",
        lambda call: call.platform.snapshots.create(
            call["project"], parsed(bodies.SnapshotBody, call.body), call.query
        ),
    ),
    (
        "GET",
        f"{_PROJECT}/snapshots",
        lambda call: listing(call, "snapshots", call.platform.snapshots.all(**call.params)),
    ),
    ("GET", _SNAPSHOT, lambda call: call.platform.snapshots.get(**call.params)),
    ("DELETE", _SNAPSHOT, lambda call: call.platform.snapshots.delete(**call.params)),
]

_OF_BRANCHES: list[Route] = [
    (
        "POST",
        f"{_BRANCH}/endpoints",
        lambda call: call.platform.endpoints.create(
            **call.params, body=parsed(bodies.EndpointBody, call.body), query=call.query
        ),
    ),
    (
        "GET",
        f"{_BRANCH}/endpoints",
        lambda call: listing(call, "endpoints", call.platform.endpoints.all(**call.params)),
    ),
    ("GET", _ENDPOINT, lambda call: call.platform.endpoints.get(**call.params)),
    (
        "PATCH",
        _ENDPOINT,
        lambda call: call.platform.endpoints.update(
            **call.params, body=parsed(bodies.EndpointBody, call.body), raw=call.body, query=call.query
        ),
    ),
    ("DELETE", _ENDPOINT, lambda call: call.platform.endpoints.delete(**call.params)),
    (
        "POST",
        f"{_BRANCH}/databases",
        lambda call: call.platform.databases.create(
            **call.params, body=parsed(bodies.DatabaseBody, call.body), query=call.query
        ),
    ),
    ("GET", f"{_BRANCH}/databases", _databases),
    ("GET", _DATABASE, lambda call: call.platform.databases.get(**call.params)),
    (
        "PATCH",
        _DATABASE,
        lambda call: call.platform.databases.update(
            **call.params, body=parsed(bodies.DatabaseBody, call.body), raw=call.body, query=call.query
        ),
    ),
    ("DELETE", _DATABASE, lambda call: call.platform.databases.delete(**call.params)),
    (
        "POST",
        f"{_BRANCH}/roles",
        lambda call: call.platform.roles.create(
            **call.params, body=parsed(bodies.RoleBody, call.body), query=call.query
        ),
    ),
    ("GET", f"{_BRANCH}/roles", _roles),
    ("GET", _ROLE, lambda call: call.platform.roles.get(**call.params)),
    (
        "PATCH",
        _ROLE,
        lambda call: call.platform.roles.update(
            **call.params, body=parsed(bodies.RoleBody, call.body), raw=call.body, query=call.query
        ),
    ),
    ("DELETE", _ROLE, lambda call: call.platform.roles.delete(**call.params, query=call.query)),
]

# The platform can neither list nor update catalogs and synced tables.
_TABLES: list[Route] = [
    (
        "POST",
        "/catalogs",
        lambda call: call.platform.catalogs.begin_to_create(
            parsed(bodies.CatalogBody, call.body), call.query, call.caller
        ),
    ),
    ("GET", "/catalogs/{name}", lambda call: call.platform.catalogs.resource(**call.params)),
    ("DELETE", "/catalogs/{name}", lambda call: call.platform.catalogs.begin_to_delete(**call.params)),
    (
        "POST",
        "/synced_tables",
        lambda call: call.platform.table_resources.create(
            parsed(bodies.SyncedTableBody, call.body), call.query, call.caller
        ),
    ),
    ("GET", "/synced_tables/{name}", lambda call: call.platform.table_resources.get(**call.params)),
    ("DELETE", "/synced_tables/{name}", lambda call: call.platform.table_resources.delete(**call.params)),
]

POSTGRES: list[Route] = [
    (
        "GET",
        "/{resource:path}/operations/{operation}",
        lambda call: call.platform.operations.get(f"{call['resource']}/operations/{call['operation']}"),
    ),
    *_PROJECTS,
    *_OF_BRANCHES,
    *_TABLES,
    ("POST", "/credentials", _credential),
]
