"""The platform's calls for logins: addresses, credentials, the server's own identity and the groups of callers."""

from __future__ import annotations

import itertools
import re
import uuid
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

from databricks.sdk.errors import NotFound
from databricks.sdk.service.postgres import Endpoint, EndpointType
from google.protobuf.duration_pb2 import Duration

from schema.errors import PlatformError, Reason
from schema.ports.admin.instances import InstanceState
from server.auth.databricks import canonical_name
from server.db.database import Provenance
from server.lakebase.platform.conversions import DatabaseAddress, parse_time, read_address, read_instance
from server.lakebase.platform.failures import Action
from server.lakebase.platform.sdk_client import SdkClient, get_json

if TYPE_CHECKING:
    from datetime import datetime

    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service import database, postgres

    from server.settings import Settings

# Threads of their own, so that a login never waits behind administration that hangs.
_LOGIN_THREADS: Final = 2
_SCIM: Final = "/api/2.0/preview/scim/v2"
_CLIENT_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
# The most endpoints of a branch that are looked through.
_MAX_ENDPOINTS: Final = 100
# These would end the string in a SCIM filter; no user name contains them.
_UNQUOTABLE: Final = frozenset('"\\')


@dataclass(frozen=True, slots=True)
class Credential:
    """A password for PostgreSQL, when it ends by the platform's clock, and the longest that it can be valid."""

    token: str
    expires_at: datetime | None
    longest_seconds: float = 3600.0


class LoginApi:
    """The calls that logins need, in both APIs of the platform. They raise the errors of `failures.to_api_error`."""

    def __init__(self, settings: Settings) -> None:
        self._client = SdkClient(settings, threads=_LOGIN_THREADS)
        # A request waits for the groups of its caller, and the caller can be answered from the last groups known.
        self._groups_client = SdkClient(settings, retry_seconds=1)

    def close(self) -> None:
        """Begin no further calls."""
        self._client.close()
        self._groups_client.close()

    async def user_name(self) -> str:
        """The server's own user name in PostgreSQL: an e-mail address, or a service principal's client id."""
        me = await self._client.call(Action.GET_IDENTITY, lambda client: client.current_user.me())
        if not me.user_name:
            raise PlatformError(
                Reason.CONTROL_PLANE_REFUSED, "The platform does not report the server's own user name."
            )
        return me.user_name

    async def groups_of(self, user: str) -> frozenset[str]:
        """The names of the groups of a user (an e-mail address) or a service principal (a client id).

        A user that the workspace does not know has no groups.

        Args:
            user: the name, as `canonical_name` spells it.
        """
        if _UNQUOTABLE & set(user):
            return frozenset()
        kind, attribute = (
            ("ServicePrincipals", "applicationId") if _CLIENT_ID.fullmatch(user) else ("Users", "userName")
        )

        def request(client: WorkspaceClient) -> frozenset[str]:
            # Not by the SDK's own method, which asks for page after page until one is empty.
            query = {"filter": f'{attribute} eq "{user}"', "attributes": f"{attribute},groups"}
            answer = get_json(client, f"{_SCIM}/{kind}", query)
            # The platform may take other letters for the same than the server does: the groups of a name that only
            # resembles the caller's are not the caller's. Nor are all users' if the platform did not apply the filter.
            listed = answer["Resources"] if answer["totalResults"] else ()
            found = [one for one in listed if canonical_name(one[attribute]) == user]
            groups = (found[0].get("groups") or ()) if len(found) == 1 else ()
            return frozenset(str(group["display"]) for group in groups if group.get("display"))

        return await self._groups_client.call(Action.GET_GROUPS, request)

    async def credential(self, instance: str) -> Credential:
        """Mint a password for an instance."""
        minted = await self._client.call(
            Action.MINT_CREDENTIAL,
            lambda client: client.database.generate_database_credential(
                instance_names=[instance], request_id=str(uuid.uuid4())
            ),
        )
        return Credential(_token_of(minted), parse_time(minted.expiration_time))

    async def endpoint_credential(self, path: str, *, seconds: int) -> Credential:
        """Mint a password for an endpoint, valid for `seconds`."""
        ttl = Duration()
        ttl.FromSeconds(seconds)
        minted = await self._client.call(
            Action.MINT_ENDPOINT_CREDENTIAL,
            lambda client: client.postgres.generate_database_credential(path, ttl=ttl),
        )
        ends = minted.expire_time
        return Credential(_token_of(minted), ends.ToDatetime(UTC) if ends else None, longest_seconds=seconds)

    async def branch_uid(self, path: str) -> str | None:
        """The uid of a branch, or its path if it has none; None if there is no such branch.

        Args:
            path: the path of the branch, or of an endpoint of it.
        """
        branch = path.partition("/endpoints/")[0]
        found = await self._client.find(Action.GET_BRANCH, lambda client: client.postgres.get_branch(branch))
        return (found.uid or branch) if found else None

    async def branch_provenance(self, path: str) -> Provenance | None:
        """What the platform tells of a branch; None if there is no such branch.

        Args:
            path: the path of the branch, or of an endpoint of it.
        """
        path = path.partition("/endpoints/")[0]
        found = await self._client.find(Action.GET_BRANCH, lambda client: client.postgres.get_branch(path))
        if found is None:
            return None
        _, instance, _, branch = path.split("/")
        status = found.status
        source = (status.source_branch or status.source_snapshot) if status else None
        moment = (status and status.source_branch_time) or found.create_time
        return Provenance(
            instance=instance,
            branch=branch,
            source=source.rpartition("/")[2] if source else None,
            moment=moment.ToDatetime(UTC) if moment else None,
            is_root=status is not None and not source,
            is_main=bool(status and status.default),
        )

    async def instance_provenance(self, name: str) -> Provenance | None:
        """What the platform tells of an instance; None if there is no such instance."""
        found = await self._client.find(Action.GET_INSTANCE, lambda client: client.database.get_database_instance(name))
        if found is None:
            return None
        parent = found.parent_instance_ref
        return Provenance(
            instance=name,
            source=parent.name if parent else None,
            moment=parse_time(parent.branch_time or found.creation_time) if parent else None,
            is_root=parent is None,
        )

    async def instance_uid(self, name: str) -> str | None:
        """The uid of an instance, or its name if it has none; None if there is no such instance."""
        found = await self._client.find(Action.GET_INSTANCE, lambda client: client.database.get_database_instance(name))
        return (found.uid or name) if found else None

    async def find_endpoint(self, path: str) -> DatabaseAddress | None:
        """The address of an endpoint, or of the read-write endpoint of a branch; None if there is no such resource.

        A branch without this endpoint has an address without a host: its databases exist, and cannot be reached.

        Args:
            path: the path of the endpoint, or of the branch.
        """
        find = _endpoint_at if "/endpoints/" in path else _endpoint_of
        found = await self._client.find(Action.GET_ENDPOINT, lambda client: find(client, path))
        return read_address(found) if found else None

    async def find_instance(self, name: str) -> DatabaseAddress | None:
        """The address of an instance; None if there is no such instance."""
        found = await self._client.find(Action.GET_INSTANCE, lambda client: client.database.get_database_instance(name))
        if found is None:
            return None
        instance = read_instance(found)
        # `stopped` says what is wanted. While the instance is stopped or started, only its state tells the two apart.
        stopped = instance.state is InstanceState.STOPPED or (
            instance.state is InstanceState.UPDATING and bool(instance.stopped)
        )
        return DatabaseAddress(instance.host, instance.read_only_host, instance.state.value, stopped=stopped)


def _endpoint_at(client: WorkspaceClient, path: str) -> Endpoint:
    """The endpoint with this path; one without name and host if only its branch exists."""
    try:
        return client.postgres.get_endpoint(path)
    except NotFound:
        branch = client.postgres.get_branch(path.partition("/endpoints/")[0])
        if branch.status and branch.status.delete_time:
            raise
        return Endpoint()


def _endpoint_of(client: WorkspaceClient, branch: str) -> Endpoint:
    """The read-write endpoint of a branch, which has one at most; one without name and host if it has none.

    An endpoint whose type the platform does not tell, or that the SDK does not know, counts if it is the only one.
    """
    listed = list(itertools.islice(client.postgres.list_endpoints(branch), _MAX_ENDPOINTS))
    kinds = [one.status.endpoint_type if one.status else None for one in listed]
    if EndpointType.ENDPOINT_TYPE_READ_WRITE in kinds:
        return listed[kinds.index(EndpointType.ENDPOINT_TYPE_READ_WRITE)]
    return listed[0] if kinds == [None] else Endpoint()


def _token_of(minted: database.DatabaseCredential | postgres.DatabaseCredential) -> str:
    # The SDK does not check the types of an answer.
    if not (isinstance(minted.token, str) and minted.token):
        raise PlatformError(Reason.CONTROL_PLANE_REFUSED, "The platform returned a credential without a token.")
    return minted.token
