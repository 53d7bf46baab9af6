"""Owns AUTH_MODE=databricks-app: the platform's proxy says who calls, and settings what they may."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from schema.errors import ApiError, Reason, UnauthenticatedError, UnavailableError
from schema.permissions import Principal, Role
from server.auth.refreshed_value import RefreshedValue

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.datastructures import Headers
    from starlette.requests import HTTPConnection

    from server.settings import Settings

# The names of a user's groups; raises an ApiError while the platform does not say.
GroupsOf: TypeAlias = Callable[[str], Awaitable[frozenset[str]]]
# The first that is there is who calls. The proxy takes away what callers send under these names. Not the preferred
# name beside them: it is a display name, which may be chosen to be somebody else's address.
_IDENTITY: Final = ("x-forwarded-email", "x-forwarded-user")
# What an e-mail address may have at most (RFC 3696, erratum 1690).
_IDENTITY_CHARACTERS: Final = 320
_EVERYBODY: Final = "*"
_REMEMBERED_CALLERS: Final = 1_000
# How long a caller's groups are remembered: who leaves a group loses its role within this time.
_GROUPS_SECONDS: Final = 300.0
# While the platform does not say who is in which group, what it said last counts for an hour more.
_GRACE_SECONDS: Final = 3_600.0


class DatabricksAuthentication:
    """Believes the headers of the platform's proxy. Off the platform anybody can write them, which settings see to."""

    def __init__(self, settings: Settings, groups_of: GroupsOf) -> None:
        self._users = {
            Role.READER: _folded(settings.reader_users),
            Role.WRITER: _folded(settings.writer_users),
            Role.ADMIN: _folded(settings.admin_users),
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
        init: Mapping[str, object] | None = None,  # noqa: ARG002 # nothing that is said in it counts here
    ) -> Principal:
        """Who the proxy says, with the roles that the settings give to them and to their groups.

        Raises:
            UnauthenticatedError: it does not say.
            UnavailableError: only their groups may give them a role, and these cannot be told now.
        """
        user = _identity(connection.headers)
        known = {user.casefold(), _EVERYBODY}
        roles = frozenset(role for role, users in self._users.items() if users & known)
        if Role.ADMIN not in roles and any(self._groups.values()):
            roles |= await self._roles_of_groups(user, otherwise=roles)
        return Principal(user, roles)

    async def _roles_of_groups(self, user: str, *, otherwise: frozenset[Role]) -> frozenset[Role]:
        try:
            held = await self._directory.groups_of(user)
        except ApiError as error:
            if otherwise:
                return otherwise
            if isinstance(error, UnavailableError):
                raise
            # The platform does not let the server look, say: whoever calls can only wait until somebody mends it.
            raise UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, error.message) from error
        return frozenset(role for role, groups in self._groups.items() if groups & held)


class _Directory:
    """The groups of those who call, as the platform said them last."""

    def __init__(self, groups_of: GroupsOf, *, ttl_seconds: float) -> None:
        self._groups_of = groups_of
        self._ttl_seconds = ttl_seconds
        self._callers: OrderedDict[str, RefreshedValue[frozenset[str]]] = OrderedDict()

    async def groups_of(self, user: str) -> frozenset[str]:
        """The names of their groups.

        Raises:
            ApiError: the platform does not say, and has not said lately.
        """
        key = user.casefold()
        if key not in self._callers:
            self._callers[key] = RefreshedValue(
                lambda: self._groups_of(user), ttl_seconds=self._ttl_seconds, grace_seconds=_GRACE_SECONDS
            )
        self._callers.move_to_end(key)
        if len(self._callers) > _REMEMBERED_CALLERS:
            self._callers.popitem(last=False)
        return await self._callers[key].get()


def _identity(headers: Headers) -> str:
    given = {name: values for name in _IDENTITY if any(values := headers.getlist(name))}
    if any(len(values) > 1 for values in given.values()):
        raise UnauthenticatedError("The platform's proxy says who calls once, and this request says it several times.")
    if not given:
        raise UnauthenticatedError("The request has not come through the platform's proxy, which says who calls.")
    name, (value,) = next(iter(given.items()))
    try:
        # Headers come as Latin-1, and names are written in UTF-8.
        user = value.encode("latin-1").decode().strip()
    except UnicodeDecodeError:
        user = ""
    if not user or len(user) > _IDENTITY_CHARACTERS or not user.isprintable():
        raise UnauthenticatedError(f"What `{name}` says is nobody's name.")
    return user


def _folded(users: Collection[str]) -> frozenset[str]:
    return frozenset(user.casefold() for user in users)
