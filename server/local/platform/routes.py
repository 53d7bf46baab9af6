"""Owns the paths of the REST API, and what each of them does."""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.local.platform import requests
from server.local.platform.errors import OAuthError, PlatformError, invalid, not_implemented
from server.local.platform.instances import shown
from server.local.platform.requests import page, parsed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.local.platform.credentials import Identity
    from server.local.platform.exchange import Exchange
    from server.local.platform.service import Platform

    # What is done, at once or in a while; None is answered with an empty object.
    Handler = Callable[["Call"], dict[str, Any] | Awaitable[dict[str, Any] | None] | None]

_MAX_SUMMARIES = 10_000


@dataclass(frozen=True)
class Call:
    """A call of a handler: the exchange, the parameters of its path, and who calls (None on public paths)."""

    platform: Platform
    exchange: Exchange
    params: dict[str, str]
    identity: Identity | None

    def __getitem__(self, name: str) -> str:
        return self.params[name]

    @property
    def caller(self) -> Identity:
        """Who calls, where that is certain."""
        if self.identity is None:
            raise PlatformError(401, "UNAUTHENTICATED", "Credential was not sent.")
        return self.identity

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query."""
        return self.exchange.query

    @property
    def body(self) -> bytes:
        """The body as it came."""
        return self.exchange.body


def _listed(call: Call, name: str, items: list[dict[str, Any]], limit: int = 100) -> dict[str, Any]:
    found = page(items, call.query, limit)
    return {name: found.pop("items"), **found}


def _me(call: Call) -> dict[str, Any]:
    name = call.caller.name
    return {
        "id": "1" if call.caller.is_user else "2",
        "userName": name,
        "displayName": name,
        "active": True,
        "emails": [{"value": name, "type": "work", "primary": True}] if call.caller.is_user else [],
    }


def _token(call: Call) -> dict[str, Any]:
    """OAuth's client credentials, by Basic or in the form."""
    form = dict(urllib.parse.parse_qsl(call.body.decode(errors="replace")))
    client, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = call.exchange.header("authorization").partition(" ")
    if scheme.lower() == "basic":
        try:
            client, _, secret = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise OAuthError(401, "invalid_client", "Client authentication failed") from None
        client, secret = urllib.parse.unquote(client), urllib.parse.unquote(secret)
    if form.get("grant_type") != "client_credentials":
        raise OAuthError(400, "unsupported_grant_type", "Only client_credentials is offered.")
    token = call.platform.credentials.exchange(client, secret)
    if token is None:
        raise OAuthError(401, "invalid_client", "Client authentication failed")
    lifetime = int(call.platform.options.token_lifetime)
    return {"access_token": token, "token_type": "Bearer", "scope": "all-apis", "expires_in": lifetime}


def _credential(call: Call) -> dict[str, Any]:
    body = parsed(requests.CredentialBody, call.body)
    if not body.instance_names:
        raise invalid("instance_names is required.")
    uids = [call.platform.instances.find(name).uid for name in body.instance_names]
    token, end = call.platform.credentials.mint(call.caller, uids)
    return {"token": token, "expiration_time": end}


def _endpoint_credential(call: Call) -> dict[str, Any]:
    instance, seconds = call.platform.projects.asked_for(parsed(requests.EndpointCredentialBody, call.body))
    token, end = call.platform.credentials.mint(call.caller, [instance.uid], seconds=seconds)
    return {"token": token, "expire_time": end}


def _unimplemented(what: str) -> Handler:
    def refuse(_: Call) -> dict[str, Any]:
        raise not_implemented(f"{what} is not yet implemented.")

    return refuse


async def _roles(call: Call) -> dict[str, Any]:
    return _listed(call, "database_instance_roles", await call.platform.roles.listed(call["instance"]))


async def _inventory(call: Call) -> dict[str, Any]:
    platform = call.platform
    state = platform.store.state
    return {
        "instances": [
            {**shown(i), "suspended": i.suspended, "processes": await platform.life.processes(i)}
            for i in list(state.instances.values())
        ],
        "catalogs": [catalog.model_dump() for catalog in state.catalogs.values()],
        "synced_tables": [
            {"uid": table.uid, **platform.synced_tables.shown(table)} for table in state.synced_tables.values()
        ],
        "pipelines": [pipeline.model_dump() for pipeline in state.pipelines.values()],
    }


def _counters(call: Call) -> dict[str, Any]:
    platform = call.platform
    return {
        "requests": dict(platform.requests),
        **platform.credentials.counted(),
        "mints_at_once": platform.mints.at_once,
        "wakes": platform.life.wakes(),
    }


def _revoke(call: Call) -> dict[str, Any]:
    name = parsed(requests.RevokeBody, call.body).instance
    uid = None if name is None else call.platform.instances.find(name).uid
    return {"revoked": call.platform.credentials.revoke(uid)}


async def _suspend(call: Call) -> None:
    await call.platform.life.suspend(call.platform.instances.find(call["name"]))


PUBLIC = {
    "/.well-known/databricks-config",
    "/oidc/.well-known/oauth-authorization-server",
    "/oidc/v1/token",
}
# Where credentials are asked for.
MINTS = {"/api/2.0/database/credentials", "/api/2.0/postgres/credentials"}

_OIDC: list[tuple[str, str, Handler]] = [
    (
        "GET",
        "/.well-known/databricks-config",
        lambda call: {"oidc_endpoint": f"{call.exchange.base_url}/oidc", "workspace_id": "1"},
    ),
    (
        "GET",
        "/oidc/.well-known/oauth-authorization-server",
        lambda call: {
            "authorization_endpoint": f"{call.exchange.base_url}/oidc/v1/authorize",
            "token_endpoint": f"{call.exchange.base_url}/oidc/v1/token",
        },
    ),
    ("POST", "/oidc/v1/token", _token),
    ("GET", "/api/2.0/preview/scim/v2/Me", _me),
]

_DATABASE: list[tuple[str, str, Handler]] = [
    (
        "POST",
        "/instances",
        lambda call: call.platform.instances.create(parsed(requests.InstanceBody, call.body), call.caller),
    ),
    ("GET", "/instances", lambda call: _listed(call, "database_instances", call.platform.instances.listed())),
    ("GET", "/instances:findByUid", lambda call: call.platform.instances.find_by_uid(call.query.get("uid"))),
    ("GET", "/instances/{name}", lambda call: shown(call.platform.instances.find(call["name"]))),
    (
        "PATCH",
        "/instances/{name}",
        lambda call: call.platform.instances.update(call["name"], parsed(requests.InstanceBody, call.body), call.query),
    ),
    ("DELETE", "/instances/{name}", lambda call: call.platform.instances.delete(call["name"], call.query)),
    (
        "POST",
        "/instances/{instance}/roles",
        lambda call: call.platform.roles.create(call["instance"], parsed(requests.RoleBody, call.body)),
    ),
    ("GET", "/instances/{instance}/roles", _roles),
    (
        "GET",
        "/instances/{instance}/roles/{name}",
        lambda call: call.platform.roles.get(call["instance"], call["name"]),
    ),
    (
        "DELETE",
        "/instances/{instance}/roles/{name}",
        lambda call: call.platform.roles.delete(call["instance"], call["name"], call.query),
    ),
    ("GET", "/instances/{instance}/catalogs", _unimplemented("List Database Catalogs")),
    ("GET", "/instances/{instance}/synced_tables", _unimplemented("List Synced Database Tables")),
    (
        "POST",
        "/catalogs",
        lambda call: call.platform.catalogs.create(parsed(requests.CatalogBody, call.body), call.caller),
    ),
    ("GET", "/catalogs/{name}", lambda call: call.platform.catalogs.get(call["name"])),
    ("PATCH", "/catalogs/{name}", _unimplemented("Update Database Catalog")),
    ("DELETE", "/catalogs/{name}", lambda call: call.platform.catalogs.delete(call["name"])),
    (
        "POST",
        "/synced_tables",
        lambda call: call.platform.synced_tables.create(parsed(requests.SyncedTableBody, call.body), call.caller),
    ),
    ("GET", "/synced_tables/{name}", lambda call: call.platform.synced_tables.get(call["name"])),
    ("PATCH", "/synced_tables/{name}", _unimplemented("Update Synced Database Table")),
    ("DELETE", "/synced_tables/{name}", lambda call: call.platform.synced_tables.delete(call["name"], call.query)),
    (
        "POST",
        "/tables",
        lambda call: call.platform.catalogs.create_table(parsed(requests.DatabaseTableBody, call.body)),
    ),
    ("GET", "/tables/{name}", lambda call: call.platform.catalogs.get_table(call["name"])),
    ("DELETE", "/tables/{name}", lambda call: call.platform.catalogs.delete_table(call["name"])),
    ("POST", "/credentials", _credential),
]

_POSTGRES: list[tuple[str, str, Handler]] = [
    ("GET", "/projects", lambda call: _listed(call, "projects", call.platform.projects.listed())),
    ("GET", "/projects/{project}", lambda call: call.platform.projects.project(**call.params)),
    (
        "GET",
        "/projects/{project}/branches",
        lambda call: _listed(call, "branches", call.platform.projects.branches(**call.params)),
    ),
    ("GET", "/projects/{project}/branches/{branch}", lambda call: call.platform.projects.branch(**call.params)),
    (
        "GET",
        "/projects/{project}/branches/{branch}/endpoints",
        lambda call: _listed(call, "endpoints", call.platform.projects.endpoints(**call.params)),
    ),
    (
        "GET",
        "/projects/{project}/branches/{branch}/endpoints/{endpoint}",
        lambda call: call.platform.projects.endpoint(**call.params),
    ),
    ("POST", "/credentials", _endpoint_credential),
]

_UNITY: list[tuple[str, str, Handler]] = [
    ("GET", "/catalogs/{name}", lambda call: call.platform.unity.catalog(call["name"])),
    ("GET", "/schemas/{full_name}", lambda call: call.platform.unity.schema(call["full_name"])),
    ("GET", "/tables/{full_name}", lambda call: call.platform.unity.table(call["full_name"])),
    (
        "GET",
        "/table-summaries",
        lambda call: _listed(call, "tables", call.platform.unity.summaries(call.query), _MAX_SUMMARIES),
    ),
]

_PIPELINES: list[tuple[str, str, Handler]] = [
    ("GET", "/{id}", lambda call: call.platform.pipelines.get(call["id"])),
    ("DELETE", "/{id}", lambda call: call.platform.pipelines.delete(call["id"])),
    (
        "POST",
        "/{id}/updates",
        lambda call: call.platform.pipelines.start(call["id"], parsed(requests.UpdateBody, call.body)),
    ),
    ("GET", "/{id}/updates", lambda call: {"updates": call.platform.pipelines.updates(call["id"])}),
    ("GET", "/{id}/updates/{update}", lambda call: call.platform.pipelines.get_update(call["id"], call["update"])),
]

_LOCAL: list[tuple[str, str, Handler]] = [
    ("POST", "/faults", lambda call: call.platform.faults.add(parsed(requests.FaultBody, call.body))),
    ("DELETE", "/faults", lambda call: call.platform.faults.clear()),
    ("GET", "/held", lambda call: {"held": call.platform.faults.held()}),
    ("POST", "/release", lambda call: {"released": call.platform.faults.release()}),
    ("GET", "/inventory", _inventory),
    ("GET", "/counters", _counters),
    ("POST", "/credentials/revoke", _revoke),
    ("POST", "/instances/{name}/suspend", _suspend),
]

ROUTES = [
    (method, f"{prefix}{path}", handler)
    for prefix, routes in (
        ("", _OIDC),
        ("/api/2.0/database", _DATABASE),
        ("/api/2.0/postgres", _POSTGRES),
        ("/api/2.1/unity-catalog", _UNITY),
        ("/api/2.0/pipelines", _PIPELINES),
        ("/local", _LOCAL),
    )
    for method, path, handler in routes
]
