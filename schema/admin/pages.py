"""Pages of instances, operations and the audit. Each entry has a cursor, although the platform pages by tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from schema.admin.audit import AdminAuditConnection, AdminAuditEntry
from schema.admin.forward_pages import ADMIN_PAGE_LIMITS, FIELDS_OF_COMPUTES, forward_page_info
from schema.admin.operations import Operation, OperationConnection
from schema.admin.requests.names import AUDIT_ENTRY_ID, OPERATION_ID
from schema.admin.types.instances import DatabaseInstance, DatabaseInstanceConnection
from schema.errors import InputError, Reason
from schema.ports.admin import administration as ports
from schema.ports.admin import instances as instance_ports
from schema.ports.admin import operations as operation_ports
from schema.ports.admin.audit import AuditPage, AuditPosition
from schema.relay.cursors import CURSOR_VERSION, cursor_parts, opaque
from schema.relay.pagination import Edge, page_size
from schema.relay.selection import Selection, reads_page_below

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schema.context import Info
    from schema.ports.admin.audit import AuditFilter

# The platform's largest page. Most workspaces have fewer instances, so that one call is enough.
_PLATFORM_PAGE: Final = 100
_INSTANCES: Final = "instances"
_OPERATIONS: Final = "operations"
_AUDIT: Final = "audit"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# The platform's token is of unknown length, but a longer one would not fit into the platform's URLs.
_CURSOR_MAX_CHARACTERS: Final = 8192


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an instance is: the token and size of the platform's page, and its index and name there."""

    token: str | None
    size: int
    index: int
    name: str

    def cursor(self) -> str:
        """The opaque cursor of this place."""
        return opaque([CURSOR_VERSION, _INSTANCES, self.token, self.size, self.index, self.name])


async def instance_page(info: Info, *, first: int | None, after: str | None) -> DatabaseInstanceConnection:
    """The page of instances that the arguments ask for.

    Raises:
        InputError: PAGE_SIZE_INVALID, CURSOR_INVALID.
    """
    size = page_size(first, ADMIN_PAGE_LIMITS, argument="first")
    start = None if after is None else _place(after)
    found: list[tuple[_Place, instance_ports.Instance]] = []
    any_before = False
    if reads_page_below(info, "DatabaseInstanceConnection", size):
        lakebase = info.context.lakebase
        async for place, instance, before in _instances(lakebase, start):
            if before:
                any_before = True
                continue
            found.append((place, instance))
            # One more than requested shows that more follow. A token alone does not: its page may be empty.
            if len(found) > size:
                break
        any_before = any_before or (start is not None and await _any_before_page(lakebase, start))
    wanted = found[:size]
    instances: Sequence[instance_ports.Instance] = [instance for _, instance in wanted]
    if instances and _reads_computes(info):
        instances = await info.context.lakebase.instances_in_full(instances)
    edges = [
        Edge(cursor=place.cursor(), node=DatabaseInstance.of(instance))
        for (place, _), instance in zip(wanted, instances, strict=True)
    ]
    return DatabaseInstanceConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=forward_page_info(
            [edge.cursor for edge in edges],
            more=len(found) > size,
            any_before=any_before,
        ),
    )


async def operation_page(info: Info, *, first: int | None, after: str | None) -> OperationConnection:
    """The page of operations that the arguments ask for.

    Raises:
        InputError: PAGE_SIZE_INVALID, CURSOR_INVALID.
    """
    lakebase, size = info.context.lakebase, page_size(first, ADMIN_PAGE_LIMITS, argument="first")
    key = None if after is None else _operation(after)
    # An operation kept in memory only is lost with its process, and with it the place of the cursor.
    if key is not None and await lakebase.operation(key) is None:
        raise InputError(
            Reason.CURSOR_INVALID,
            "The server no longer remembers the operation of this cursor. Start again without a cursor.",
        )
    page = operation_ports.OperationPage((), more=False)
    if reads_page_below(info, "OperationConnection", size):
        page = await lakebase.operations(size=size, after=key)
    edges = [Edge(cursor=_operation_cursor(one.id), node=Operation.of(one)) for one in page.operations]
    return OperationConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        # The operation of the cursor still exists, and is before this page.
        page_info=forward_page_info([edge.cursor for edge in edges], more=page.more, any_before=after is not None),
    )


async def audit_page(info: Info, wanted: AuditFilter, *, first: int | None, after: str | None) -> AdminAuditConnection:
    """The page of the audit that the arguments ask for.

    Raises:
        InputError: PAGE_SIZE_INVALID, CURSOR_INVALID.
    """
    size = page_size(first, ADMIN_PAGE_LIMITS, argument="first")
    position = None if after is None else _audit_place(after)
    page = AuditPage((), more=False, any_before=False)
    if reads_page_below(info, "AdminAuditConnection", size):
        page = await info.context.lakebase.audit(wanted, size=size, after=position)
    nodes = [AdminAuditEntry.of(one) for one in page.entries]
    edges = [Edge(cursor=_audit_cursor(node.place), node=node) for node in nodes]
    return AdminAuditConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=forward_page_info([edge.cursor for edge in edges], more=page.more, any_before=page.any_before),
    )


async def _instances(
    lakebase: ports.Administration, start: _Place | None
) -> AsyncIterator[tuple[_Place, instance_ports.Instance, bool]]:
    """The instances from the page of `start` on, each with its place, and whether it precedes the wanted page."""
    token, size = (start.token, start.size) if start else (None, _PLATFORM_PAGE)
    while True:
        page = await lakebase.instances(size=size, token=token)
        skipped = 0 if start is None else _up_to(page.instances, start)
        for index, instance in enumerate(page.instances):
            yield _Place(token, size, index, instance.name), instance, index < skipped
        if page.next_token is None:
            return
        token, start = page.next_token, None


def _reads_computes(info: Info) -> bool:
    """Whether the page needs more of its instances than the platform's page has."""
    selected = Selection.below(info, "DatabaseInstanceConnection").fields()
    edges = selected.get("edges")
    rows = (selected.get("nodes"), edges.fields().get("node") if edges else None)
    return any(FIELDS_OF_COMPUTES & row.fields().keys() for row in rows if row)


async def _any_before_page(lakebase: ports.Administration, place: _Place) -> bool:
    """Whether any of the platform's pages before the page of this place holds an instance now."""
    token: str | None = None
    while place.token is not None and token != place.token:
        page = await lakebase.instances(size=place.size, token=token)
        if page.instances:
            return True
        if page.next_token is None:
            break
        token = page.next_token
    return False


def _up_to(instances: Sequence[instance_ports.Instance], start: _Place) -> int:
    """How many instances of a page come up to and including `start`."""
    names = [instance.name for instance in instances]
    # If the instance is gone, the next one has moved to its index.
    return names.index(start.name) + 1 if start.name in names else start.index


def _place(cursor: str) -> _Place:
    match _parts(cursor):
        # A class pattern `int()` would also match `true`.
        case [_, _, str() | None as token, size, index, str(name)] if type(size) is int and type(index) is int:
            place = _Place(token, size, index, name)
            if 1 <= size <= _PLATFORM_PAGE and index >= 0 and _is_text(token) and place.cursor() == cursor:
                return place
    raise _invalid()


def _is_text(token: str | None) -> bool:
    """Whether a token can be sent: JSON can hold unpaired surrogates, which UTF-8 cannot encode."""
    return token is None or token.encode(errors="replace").decode() == token


def _operation(cursor: str) -> str:
    match _parts(cursor):
        case [_, _, str(key)] if _operation_cursor(key) == cursor and OPERATION_ID.mistake(key) is None:
            return key
    raise _invalid()


def _audit_place(cursor: str) -> AuditPosition:
    match _parts(cursor):
        case [_, _, microseconds, str(id_)] if type(microseconds) is int and AUDIT_ENTRY_ID.mistake(id_) is None:
            try:
                place = AuditPosition(_EPOCH + microseconds * _MICROSECOND, id_)
            except OverflowError as error:
                raise _invalid() from error
            if _audit_cursor(place) == cursor:
                return place
    raise _invalid()


def _audit_cursor(place: AuditPosition) -> str:
    return opaque([CURSOR_VERSION, _AUDIT, (place.at - _EPOCH) // _MICROSECOND, place.id])


def _operation_cursor(key: str) -> str:
    return opaque([CURSOR_VERSION, _OPERATIONS, key])


def _parts(cursor: str) -> list[object]:
    try:
        return cursor_parts(cursor, longest=_CURSOR_MAX_CHARACTERS)
    except (ValueError, RecursionError) as error:
        raise _invalid() from error


def _invalid() -> InputError:
    return InputError(Reason.CURSOR_INVALID, "The cursor was not issued for this list, or is damaged.")
