"""The workspace's users, service principals and groups, as SCIM presents them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from server.local.platform.rest.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.identities.credentials import Identity
    from server.local.platform.options import Options
    from server.local.platform.state.store import Store

_FILTER = re.compile(r'\s*(\w+)\s+eq\s+"([^"]*)"\s*', re.IGNORECASE)
_MOST = 10_000
_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:"
_LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
# Returned whatever attributes the client asks for.
_ALWAYS = {"id", "schemas"}


class ScimError(PlatformError):
    """An error with the body of RFC 7644."""

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"schemas": [_ERROR_SCHEMA], "detail": self.message, "status": str(self.status)}


class Directory:
    """Users and service principals: the operator, the service principal, and the members of all groups.

    A member whose name has an @ is a user, by e-mail; any other is a service principal, by client id.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._client_id = store.state.client_id
        self._operator = options.user_name
        self._groups = options.groups

    def me(self, identity: Identity) -> dict[str, Any]:
        """The caller as a User. A service principal is one too, named by its client id."""
        return self._user(identity.name, is_user=identity.is_user)

    def users(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The Users that match the query, ordered by name."""
        names = {self._operator, *(name for name in self._members() if "@" in name)}
        return _listed([self._user(name) for name in sorted(names)], query)

    def user(self, number: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The User with this id."""
        return _found("User", number, self.users({}), query)

    def service_principals(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The ServicePrincipals that match the query, ordered by client id."""
        names = {self._client_id, *(name for name in self._members() if "@" not in name)}
        return _listed([self._service_principal(name) for name in sorted(names)], query)

    def service_principal(self, number: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The ServicePrincipal with this id."""
        return _found("Service principal", number, self.service_principals({}), query)

    def _members(self) -> set[str]:
        return {name for members in self._groups.values() for name in members}

    def _user(self, name: str, *, is_user: bool = True) -> dict[str, Any]:
        return {
            "schemas": [f"{_SCHEMA}User"],
            **self._identity(name),
            "userName": name,
            "emails": [{"value": name, "type": "work", "primary": True}] if is_user else [],
        }

    def _service_principal(self, name: str) -> dict[str, Any]:
        return {"schemas": [f"{_SCHEMA}ServicePrincipal"], **self._identity(name), "applicationId": name}

    def _identity(self, name: str) -> dict[str, Any]:
        return {
            "id": _number(name),
            "displayName": name,
            "active": True,
            "groups": [
                {"display": group, "value": _number(group), "type": "direct", "$ref": f"Groups/{_number(group)}"}
                for group, members in sorted(self._groups.items())
                if name in members
            ],
        }


def _listed(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the items that match `filter`: at most `count`, from `startIndex`, which counts from 1."""
    if text := query.get("filter"):
        items = [item for item in items if _matches(item, text)]
    try:
        start, count = max(int(query.get("startIndex", 1)), 1), max(int(query.get("count", _MOST)), 0)
    except ValueError:
        raise ScimError(400, "INVALID_PARAMETER_VALUE", "startIndex and count must be numbers.") from None
    page = items[start - 1 : start - 1 + min(count, _MOST)]
    return {
        "schemas": [_LIST_SCHEMA],
        "totalResults": len(items),
        "startIndex": start,
        "itemsPerPage": len(page),
        "Resources": [_reduced(item, query) for item in page],
    }


def _found(kind: str, number: str, listed: dict[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    for item in listed["Resources"]:
        if item["id"] == number:
            return _reduced(item, query)
    raise ScimError(404, "NOT_FOUND", f"{kind} with id {number} not found.")


def _matches(item: dict[str, Any], text: str) -> bool:
    parts = _FILTER.fullmatch(text)
    # SCIM ignores the case of both names and values.
    known = {name.lower(): value for name, value in item.items() if isinstance(value, str)}
    if parts is None or (name := parts[1].lower()) not in known:
        raise ScimError(400, "INVALID_PARAMETER_VALUE", f"The filter {text!r} is not supported here.")
    return bool(known[name].lower() == parts[2].lower())


def _reduced(item: dict[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """The item with the attributes that the query asks for, and without the ones it excludes."""
    wanted, excluded = _names(query.get("attributes")), _names(query.get("excludedAttributes"))
    return {
        name: value
        for name, value in item.items()
        if name in _ALWAYS or (name.lower() not in excluded and (not wanted or name.lower() in wanted))
    }


def _names(text: str | None) -> set[str]:
    # `groups.display`, for example, asks for the attribute `groups`.
    return {name.strip().partition(".")[0].lower() for name in (text or "").split(",") if name.strip()}


def _number(name: str) -> str:
    """The id for a name: always the same, and as long as the platform's ids."""
    return str(10**15 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]))
