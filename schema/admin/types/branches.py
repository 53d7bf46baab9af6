"""The types of branches, endpoints and snapshots, which only instances of the flavour AUTOSCALING have."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 # Strawberry reads the annotations at run time
from enum import Enum
from typing import ClassVar, Final

import strawberry

from schema.admin.forward_pages import ADMIN_PAGE_LIMITS, forward_page_info
from schema.admin.guard import WithDeadline
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, Reason
from schema.permissions import Role
from schema.ports.admin import branches as ports
from schema.relay.cursors import CURSOR_VERSION, cursor_parts, opaque
from schema.relay.node import Node
from schema.relay.pagination import Connection, Edge, page_size
from schema.relay.selection import reads_page_below
from schema.scalars import BigInt

_BRANCHES: Final = "branches"
_CURSOR_MAX_CHARACTERS: Final = 256
_UNKNOWN: Final = "A state of the platform that this API does not know. It is not a failure."


@strawberry.enum(description="The state of a branch.")
class DatabaseBranchState(Enum):
    """Each value is the port's enum member."""

    INIT = strawberry.enum_value(ports.BranchState.INIT, description="It is being created.")
    READY = strawberry.enum_value(ports.BranchState.READY, description="It can be used.")
    IMPORTING = strawberry.enum_value(ports.BranchState.IMPORTING, description="Data are being imported into it.")
    RESETTING = strawberry.enum_value(ports.BranchState.RESETTING, description="It is being reset to its source.")
    ARCHIVED = strawberry.enum_value(
        ports.BranchState.ARCHIVED, description="It was not used for long. The next use takes longer."
    )
    DELETED = strawberry.enum_value(
        ports.BranchState.DELETED,
        description="It is deleted: until `purgeAt`, `undeleteDatabaseBranch` brings it back.",
    )
    UNKNOWN = strawberry.enum_value(ports.BranchState.UNKNOWN, description=_UNKNOWN)


@strawberry.enum(description="The state of an endpoint.")
class DatabaseEndpointState(Enum):
    """Each value is the port's enum member."""

    INIT = strawberry.enum_value(ports.EndpointState.INIT, description="It is being created or started.")
    ACTIVE = strawberry.enum_value(ports.EndpointState.ACTIVE, description="It accepts connections.")
    IDLE = strawberry.enum_value(
        ports.EndpointState.IDLE, description="It is asleep, and the next connection wakes it; or it is disabled."
    )
    DEGRADED = strawberry.enum_value(ports.EndpointState.DEGRADED, description="It accepts connections, but not well.")
    UNKNOWN = strawberry.enum_value(ports.EndpointState.UNKNOWN, description=_UNKNOWN)


@strawberry.enum(description="What an endpoint is for.")
class DatabaseEndpointKind(Enum):
    """Each value is the port's enum member."""

    READ_WRITE = strawberry.enum_value(ports.EndpointKind.READ_WRITE, description="Reading and writing.")
    READ_ONLY = strawberry.enum_value(ports.EndpointKind.READ_ONLY, description="Reading only.")
    UNKNOWN = strawberry.enum_value(
        ports.EndpointKind.UNKNOWN, description="A kind of the platform that this API does not know."
    )


@strawberry.type(description="An endpoint: the computes of a branch, in their present state.")
class DatabaseEndpoint(Node):
    """One endpoint. What the platform does not report is null."""

    role: ClassVar[Role] = Role.ADMIN

    path: strawberry.Private[str]

    name: str = strawberry.field(description="The name, unique in its branch.")
    kind: DatabaseEndpointKind = strawberry.field(description="What it is for.")
    state: DatabaseEndpointState = strawberry.field(description="The state of the endpoint.")
    host: str | None = strawberry.field(description="Its host.")
    read_only_host: str | None = strawberry.field(
        description="The host for reading only; null without readable secondaries."
    )
    min_cu: float | None = strawberry.field(description="The smallest size, in compute units.")
    max_cu: float | None = strawberry.field(description="The largest size, in compute units.")
    suspend_after_seconds: int | None = strawberry.field(
        description="After how many idle seconds it falls asleep; null if it never does."
    )
    suspended: bool = strawberry.field(description="Whether it is asleep: the next connection wakes it.")
    disabled: bool = strawberry.field(description="Whether it was stopped on purpose: no connection wakes it.")
    last_active_at: datetime | None = strawberry.field(description="When it was last active.")

    @classmethod
    def of(cls, found: ports.Endpoint) -> DatabaseEndpoint:
        """Convert the port's endpoint."""
        return cls(
            path=found.path,
            name=found.name,
            kind=DatabaseEndpointKind(found.kind),
            state=DatabaseEndpointState(found.state),
            host=found.host,
            read_only_host=found.read_only_host,
            min_cu=found.min_cu,
            max_cu=found.max_cu,
            suspend_after_seconds=found.suspend_after_seconds or None,
            suspended=found.suspended,
            disabled=found.disabled,
            last_active_at=found.last_active_at,
        )

    def node_key(self) -> str:
        """The names of the instance, the branch and the endpoint."""
        return "/".join(self.path.split("/")[1::2])


@strawberry.type(
    description=(
        "A branch of an instance: a database of its own, which began as a copy of another branch, and shares its "
        "storage."
    )
)
class DatabaseBranch(Node):
    """One branch. What the platform does not report is null."""

    role: ClassVar[Role] = Role.ADMIN

    branch: strawberry.Private[ports.Branch]

    name: str = strawberry.field(description="The name, unique in its instance.")
    instance_name: str = strawberry.field(description="The name of the instance.")
    uid: str | None = strawberry.field(
        description="The platform's id, which distinguishes it from a later branch of the same name."
    )
    state: DatabaseBranchState = strawberry.field(description="The state of the branch.")
    is_default: bool = strawberry.field(description="Whether it is the instance's default branch.")
    is_protected: bool = strawberry.field(description="Whether neither it nor its instance may be deleted.")
    source: str | None = strawberry.field(description="The name of the branch that it was made from.")
    source_time: datetime | None = strawberry.field(description="The moment of its source that it was made from.")
    source_snapshot: str | None = strawberry.field(description="The name of the snapshot that it was made from.")
    created_at: datetime | None = strawberry.field(description="When it was created.")
    expires_at: datetime | None = strawberry.field(description="When the platform deletes it; null if it does not.")
    deleted_at: datetime | None = strawberry.field(description="When it was deleted; null if it was not.")
    purge_at: datetime | None = strawberry.field(
        description="When a deleted branch will be deleted for good, and its name be free."
    )
    size_bytes: BigInt | None = strawberry.field(description="The size of its data.")

    @strawberry.field(
        description="Its endpoints. Looked up only if selected; null, with an error, if the platform does not answer.",
        extensions=[WithDeadline()],
    )
    async def endpoints(self, info: Info) -> list[DatabaseEndpoint] | None:
        """Makes one call to the platform."""
        return [DatabaseEndpoint.of(one) for one in await info.context.lakebase.endpoints(self.branch)]

    @classmethod
    def of(cls, found: ports.Branch) -> DatabaseBranch:
        """Convert the port's branch."""
        return cls(
            branch=found,
            name=found.name,
            instance_name=found.instance_name,
            uid=found.uid,
            state=DatabaseBranchState(ports.BranchState.DELETED if found.deleted_at else found.state),
            is_default=found.is_default,
            is_protected=found.is_protected,
            source=found.source,
            source_time=found.source_time,
            source_snapshot=found.source_snapshot,
            created_at=found.created_at,
            expires_at=found.expires_at,
            deleted_at=found.deleted_at,
            purge_at=found.purge_at,
            size_bytes=None if found.size_bytes is None else BigInt(found.size_bytes),
        )

    def node_key(self) -> str:
        """The names of the instance and the branch."""
        return f"{self.instance_name}/{self.name}"


@strawberry.type(description="A page of branches, in the order of their names. Paging is forward only.")
class DatabaseBranchConnection(Connection[DatabaseBranch]):
    """Relay's connection of branches."""


@strawberry.type(description="A snapshot of a branch: its data at one moment, from which branches can be made.")
class DatabaseSnapshot:
    """One snapshot. What the platform does not report is null."""

    name: str = strawberry.field(description="The name, unique in its instance.")
    instance_name: str = strawberry.field(description="The name of the instance.")
    source: str | None = strawberry.field(description="The name of the branch that it was taken of.")
    created_at: datetime | None = strawberry.field(description="When it was taken.")
    expires_at: datetime | None = strawberry.field(description="When the platform deletes it; null if it does not.")
    full_size_bytes: BigInt | None = strawberry.field(description="The size of its data.")
    diff_size_bytes: BigInt | None = strawberry.field(description="How much storage it takes beside other snapshots.")

    @classmethod
    def of(cls, found: ports.Snapshot) -> DatabaseSnapshot:
        """Convert the port's snapshot."""
        return cls(
            name=found.name,
            instance_name=found.instance_name,
            source=found.source,
            created_at=found.created_at,
            expires_at=found.expires_at,
            full_size_bytes=None if found.full_size_bytes is None else BigInt(found.full_size_bytes),
            diff_size_bytes=None if found.diff_size_bytes is None else BigInt(found.diff_size_bytes),
        )


async def branch_page(info: Info, instance: str, *, first: int | None, after: str | None) -> DatabaseBranchConnection:
    """The page of an instance's branches that the arguments ask for.

    Raises:
        InputError: PAGE_SIZE_INVALID, CURSOR_INVALID.
    """
    size = page_size(first, ADMIN_PAGE_LIMITS, argument="first")
    last = None if after is None else _last_name(after)
    found: list[ports.Branch] = []
    if reads_page_below(info, DatabaseBranchConnection.__name__, size):
        # The platform keeps few branches of an instance, so one call reads them all.
        found = sorted(await info.context.lakebase.branches(instance), key=lambda one: one.name)
    following = [one for one in found if last is None or one.name > last]
    edges = [Edge(cursor=_cursor(one.name), node=DatabaseBranch.of(one)) for one in following[:size]]
    return DatabaseBranchConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=forward_page_info(
            [edge.cursor for edge in edges], more=len(following) > size, any_before=len(following) < len(found)
        ),
    )


def _cursor(name: str) -> str:
    return opaque([CURSOR_VERSION, _BRANCHES, name])


def _last_name(cursor: str) -> str:
    try:
        parts = cursor_parts(cursor, longest=_CURSOR_MAX_CHARACTERS)
    except (ValueError, RecursionError):
        parts = []
    match parts:
        case [_, _, str(name)] if _cursor(name) == cursor:
            return name
    raise InputError(Reason.CURSOR_INVALID, "The cursor was not issued for this list, or is damaged.")


async def branch_with_key(info: Info, key: str) -> DatabaseBranch | None:
    """The branch with this key."""
    instance, _, name = key.partition("/")
    found = await info.context.lakebase.branch(instance, name)
    return None if found is None else DatabaseBranch.of(found)


async def endpoint_with_key(info: Info, key: str) -> DatabaseEndpoint | None:
    """The endpoint with this key."""
    instance, branch, name = key.split("/")
    found = await info.context.lakebase.branch(instance, branch)
    listed = await info.context.lakebase.endpoints(found) if found else ()
    return next((DatabaseEndpoint.of(one) for one in listed if one.name == name), None)
