"""AUTH_MODE=databricks-app: the platform's proxy names the caller, and the settings give the roles."""

from __future__ import annotations

import string
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from schema.errors import UnauthenticatedError, UnavailableError
from schema.permissions import Principal, Role
from server.auth.refreshed_value import RefreshedValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers
    from starlette.requests import HTTPConnection

    from server.settings import Settings

# Returns the names of a user's groups, or raises an ApiError if the platform does not answer.
GroupsOf: TypeAlias = Callable[[str], Awaitable[frozenset[str]]]
# The first header that is present names the caller. The proxy removes these headers from what callers send.
# X-Forwarded-Preferred-Username is left out: it is a display name, and a user may choose another user's address for it.
_IDENTITY: Final = ("x-forwarded-email", "x-forwarded-user")
# The longest e-mail address (RFC 3696, erratum 1690).
_IDENTITY_CHARACTERS: Final = 320
_EVERYBODY: Final = "*"
_UPPER_TO_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_NO_GROUPS: Final = "Your groups, which give you your roles, cannot be looked up now. Try again shortly."
# With fewer than there are users, each check of a caller's groups would push out another's.
_REMEMBERED_CALLERS: Final = 10_000
# How long a caller's groups are remembered. A connection that stays open asks every half a minute
# (server/graphql/gateway.py), so a caller that leaves a group loses its role everywhere within five minutes.
_GROUPS_SECONDS: Final = 270.0
# While the platform does not answer, its last answer is used for an hour more.
_GRACE_SECONDS: Final = 3_600.0
# How long a request waits for new groups if it can use the old ones: a role that was taken away should not come back
# for a caller's first request after a pause.
_PATIENCE_SECONDS: Final = 1.0


class DatabricksAuthentication:
    """Trusts the headers of the platform's proxy.

    Elsewhere any client could set these headers, so the settings refuse this mode outside of Databricks Apps.
    """

    def __init__(self, settings: Settings, groups_of: GroupsOf) -> None:
        self._users = {
            role: frozenset(canonical_name(user) for user in users)
            for role, users in (
                (Role.READER, settings.reader_users),
                (Role.WRITER, settings.writer_users),
                (Role.ADMIN, settings.admin_users),
            )
        }
        self._groups = {
            Role.READER: settings.reader_groups,
            Role.WRITER: settings.writer_groups,
            Role.ADMIN: settings.admin_groups,
        }
        self._directory = _Directory(groups_of, ttl_seconds=_GROUPS_SECONDS)

    async def principal(
        self,
        connection: HTTPConnection,
        init: Mapping[str, object] | None = None,  # noqa: ARG002 # this mode trusts the proxy's headers only
    ) -> Principal:
        """The user whom the proxy names, with the roles that the settings give to the user and its groups.

        Raises:
            UnauthenticatedError: the proxy's headers name no user.
            UnavailableError: the user has no role by name, and its groups cannot be looked up now.
        """
        return await self._with_roles(_identity(connection.headers))

    async def renewed(self, principal: Principal) -> Principal:
        """The user with the roles that the settings and its groups give it now.

        Raises:
            UnavailableError: as for a new request.
        """
        return await self._with_roles(principal.user)

    async def _with_roles(self, user: str) -> Principal:
        known = {user, _EVERYBODY}
        roles = frozenset(role for role, users in self._users.items() if users & known)
        if Role.ADMIN not in roles and any(self._groups.values()):
            roles |= await self._roles_of_groups(user, fallback=roles)
        return Principal(user, roles)

    async def _roles_of_groups(self, user: str, *, fallback: frozenset[Role]) -> frozenset[Role]:
        try:
            member_of = await self._directory.groups_of(user)
        except UnavailableError:
            if fallback:
                return fallback
            raise
        return frozenset(role for role, groups in self._groups.items() if groups & member_of)


class _Directory:
    """A cache of the callers' groups."""

    def __init__(self, groups_of: GroupsOf, *, ttl_seconds: float) -> None:
        self._groups_of = groups_of
        self._ttl_seconds = ttl_seconds
        self._callers: OrderedDict[str, RefreshedValue[frozenset[str]]] = OrderedDict()

    async def groups_of(self, user: str) -> frozenset[str]:
        """The names of a user's groups.

        Raises:
            UnavailableError: AUTHENTICATION_UNAVAILABLE, the platform does not answer, and has not answered lately.
        """
        if user not in self._callers:
            if len(self._callers) >= _REMEMBERED_CALLERS:
                self._forget_one()
            self._callers[user] = RefreshedValue(
                "groups",
                lambda: self._groups_of(user),
                missing=_NO_GROUPS,
                ttl_seconds=self._ttl_seconds,
                grace_seconds=_GRACE_SECONDS,
                patience_seconds=_PATIENCE_SECONDS,
            )
        self._callers.move_to_end(user)
        return await self._callers[user].get()

    def _forget_one(self) -> None:
        """Forget the caller that has been away for longest. The platform is not to be asked about it again too soon."""
        spare = next((user for user, groups in self._callers.items() if not groups.unsettled), None)
        if spare is not None:
            del self._callers[spare]


def _identity(headers: Headers) -> str:
    present = {name: values for name in _IDENTITY if any(values := headers.getlist(name))}
    if any(len(values) > 1 for values in present.values()):
        raise UnauthenticatedError("The request names its caller more than once. The platform's proxy names it once.")
    if not present:
        raise UnauthenticatedError("The request did not come through the platform's proxy, which names the caller.")
    name, (value,) = next(iter(present.items()))
    try:
        # Starlette decodes headers as Latin-1; the proxy writes names in UTF-8.
        user = canonical_name(value.encode("latin-1").decode().strip(" \t"))
    except UnicodeDecodeError:
        user = ""
    if not user or len(user) > _IDENTITY_CHARACTERS or not user.isprintable():
        raise UnauthenticatedError(f"The header `{name}` does not hold a valid user name.")
    return user


def canonical_name(user: str) -> str:
    """The one spelling of a user's name. On the platform, names are the same in any case of ASCII's letters.

    Other characters stay as they are. Unicode would fold the Kelvin sign to `k`, and one user could pass for another.
    """
    return user.lower() if user.isascii() else user.translate(_UPPER_TO_LOWER)
