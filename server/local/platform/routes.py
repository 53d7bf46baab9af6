"""The routes of the REST API: method, path and handler of each."""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from typing import TYPE_CHECKING, Any

from server.local.platform.calls import listing
from server.local.platform.postgres_routes import POSTGRES
from server.local.platform.rest import bodies as requests
from server.local.platform.rest.bodies import parsed
from server.local.platform.rest.errors import OAuthError, invalid, not_implemented

if TYPE_CHECKING:
    from server.local.platform.calls import Call, Handler, Route

_MAX_SUMMARIES = 10_000


def _token(call: Call) -> dict[str, Any]:
    """OAuth's client credentials grant; the credentials come by Basic authentication or in the form."""
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
        raise OAuthError(400, "unsupported_grant_type", "Only client_credentials is supported.")
    token = call.platform.credentials.exchange(client, secret)
    if token is None:
        raise OAuthError(401, "invalid_client", "Client authentication failed")
    lifetime = int(call.platform.options.token_lifetime)
    return {"access_token": token, "token_type": "Bearer", "scope": "all-apis", "expires_in": lifetime}


def _credential(call: Call) -> dict[str, Any]:
    body = parsed(requests.CredentialBody, call.body)
    if not body.instance_names:
        raise invalid("instance_names is required.")
    uids = [call.platform.instances.find(name).endpoint.uid for name in body.instance_names]
    token, expiry = call.platform.credentials.mint(call.caller, uids)
    return {"token": token, "expiration_time": expiry}


def _unimplemented(name: str) -> Handler:
    def refuse(_: Call) -> dict[str, Any]:
        raise not_implemented(f"{name} is not yet implemented.")

    return refuse


async def _roles(call: Call) -> dict[str, Any]:
    return listing(call, "database_instance_roles", await call.platform.instance_roles.all(call["instance"]))


# The paths that need no token.
PUBLIC = {
    "/.well-known/databricks-config",
    "/oidc/.well-known/oauth-authorization-server",
    "/oidc/v1/token",
}

_OIDC: list[Route] = [
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
]

_SCIM: list[Route] = [
    ("GET", "/Me", lambda call: call.platform.directory.me(call.caller)),
    ("GET", "/Users", lambda call: call.platform.directory.users(call.query)),
    ("GET", "/Users/{id}", lambda call: call.platform.directory.user(call["id"], call.query)),
    ("GET", "/ServicePrincipals", lambda call: call.platform.directory.service_principals(call.query)),
    (
        "GET",
        "/ServicePrincipals/{id}",
        lambda call: call.platform.directory.service_principal(call["id"], call.query),
    ),
]

_DATABASE: list[Route] = [
    (
        "POST",
        "/instances",
        lambda call: call.platform.instances.create(parsed(requests.InstanceBody, call.body), call.caller),
    ),
    ("GET", "/instances", lambda call: listing(call, "database_instances", call.platform.instances.all())),
    ("GET", "/instances:findByUid", lambda call: call.platform.instances.find_by_uid(call.query.get("uid"))),
    (
        "GET",
        "/instances/{name}",
        lambda call: call.platform.instances.as_json(call.platform.instances.find(call["name"])),
    ),
    (
        "PATCH",
        "/instances/{name}",
        lambda call: call.platform.instances.update(call["name"], parsed(requests.InstanceBody, call.body), call.query),
    ),
    ("DELETE", "/instances/{name}", lambda call: call.platform.instances.delete(call["name"], call.query)),
    (
        "POST",
        "/instances/{instance}/roles",
        lambda call: call.platform.instance_roles.create(call["instance"], parsed(requests.RoleBody, call.body)),
    ),
    ("GET", "/instances/{instance}/roles", _roles),
    (
        "GET",
        "/instances/{instance}/roles/{name}",
        lambda call: call.platform.instance_roles.get(call["instance"], call["name"]),
    ),
    (
        "DELETE",
        "/instances/{instance}/roles/{name}",
        lambda call: call.platform.instance_roles.delete(call["instance"], call["name"], call.query),
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

_UNITY: list[Route] = [
    ("GET", "/catalogs", lambda call: listing(call, "catalogs", call.platform.unity.all())),
    ("GET", "/catalogs/{name}", lambda call: call.platform.unity.catalog(call["name"])),
    ("GET", "/schemas/{full_name}", lambda call: call.platform.unity.schema(call["full_name"])),
    ("GET", "/tables/{full_name}", lambda call: call.platform.unity.table(call["full_name"])),
    (
        "GET",
        "/table-summaries",
        lambda call: listing(call, "tables", call.platform.unity.summaries(call.query), _MAX_SUMMARIES),
    ),
]

_PIPELINES: list[Route] = [
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

ROUTES: list[Route] = [
    (method, f"{prefix}{path}", handler)
    for prefix, routes in (
        ("", _OIDC),
        ("/api/2.0/preview/scim/v2", _SCIM),
        ("/api/2.0/database", _DATABASE),
        ("/api/2.0/postgres", POSTGRES),
        ("/api/2.1/unity-catalog", _UNITY),
        ("/api/2.0/pipelines", _PIPELINES),
    )
    for method, path, handler in routes
]
