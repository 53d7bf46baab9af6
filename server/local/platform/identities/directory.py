"""Owns the workspace's identities and their groups, as SCIM shows them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from server.local.platform.rest.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.local.platform.identities.credentials import Identity
    from server.local.platform.options import Options
    from server.local.platform.state import Store

_FILTER = re.compile(r'\s*(\w+)\s+eq\s+"([^"]*)"\s*', re.IGNORECASE)
_MOST = 10_000
_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:"
_LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
# Whatever attributes are asked for.
_ALWAYS = {"id", "schemas"}


class ScimError(PlatformError):
    """What SCIM refuses with, in the words of RFC 7644."""

    def body(self) -> dict[str, Any]:
        """How it looks on the wire."""
        return {"schemas": [_ERROR_SCHEMA], "detail": self.message, "status": str(self.status)}


class Directory:
    """Users and service principals: the operator, the service principal, and whoever is in a group.

    A member of a group with an @ in its name is a user by its e-mail, any other a service principal by its client id.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._client_id = store.state.client_id
        self._operator = options.user_name
        self._groups = options.groups

    def me(self, identity: Identity) -> dict[str, Any]:
        """The User who calls; a service principal is one too here, its client id its name."""
        return self._user(identity.name, is_user=identity.is_user)

    def users(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The Users that the query asks for, by name."""
        names = {self._operator, *(name for name in self._members() if "@" in name)}
        return _listed([self._user(name) for name in sorted(names)], query)

    def user(self, number: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A User by its id."""
        return _found("User", number, self.users({}), query)

    def service_principals(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The ServicePrincipals that the query asks for, by their client ids."""
        names = {self._client_id, *(name for name in self._members() if "@" not in name)}
        return _listed([self._service_principal(name) for name in sorted(names)], query)

    def service_principal(self, number: str, query: Mapping[str, str]) -> dict[str, Any]:
        """A ServicePrincipal by its id."""
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
    """A page of those that match: from `startIndex`, the first being 1, `count` of them at most."""
    if text := query.get("filter"):
        items = [item for item in items if _matches(item, text)]
    try:
        start, count = max(int(query.get("startIndex", 1)), 1), max(int(query.get("count", _MOST)), 0)
    except ValueError:
        raise ScimError(400, "INVALID_PARAMETER_VALUE", "startIndex and count have to be numbers.") from None
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
    # SCIM takes the case of neither names nor values.
    known = {name.lower(): value for name, value in item.items() if isinstance(value, str)}
    if parts is None or (name := parts[1].lower()) not in known:
        raise ScimError(400, "INVALID_PARAMETER_VALUE", f"The filter {text!r} is not offered here.")
    return bool(known[name].lower() == parts[2].lower())


def _reduced(item: dict[str, Any], query: Mapping[str, str]) -> dict[str, Any]:
    """With the attributes that the query asks for, and without those that it excludes."""
    asked, excluded = _names(query.get("attributes")), _names(query.get("excludedAttributes"))
    return {
        name: value
        for name, value in item.items()
        if name in _ALWAYS or (name.lower() not in excluded and (not asked or name.lower() in asked))
    }


def _names(text: str | None) -> set[str]:
    # Of groups.display, say, the attribute is the first part.
    return {name.strip().partition(".")[0].lower() for name in (text or "").split(",") if name.strip()}


def _number(name: str) -> str:
    """The id of what has this name, as long as the platform's, and the same tomorrow."""
    return str(10**15 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]))
