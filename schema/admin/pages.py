"""Owns paging through what the platform pages by tokens: a cursor for every entry, and pages cut anew from its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schema.admin.names import OPERATION_ID
from schema.admin.operations import Operation, OperationConnection
from schema.admin.types import DatabaseInstance, DatabaseInstanceConnection
from schema.context import PageLimits
from schema.errors import InputError, Reason
from schema.relay.pagination import CURSOR_VERSION, Edge, PageInfo, cursor_parts, opaque, page_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schema.ports import administration as ports

ADMIN_PAGE_LIMITS: Final = PageLimits(default=50, maximum=100)
# The most that the platform gives at once: most workspaces have fewer instances, and are one question.
_PLATFORM_PAGE: Final = 100
_INSTANCES: Final = "instances"
_OPERATIONS: Final = "operations"
# A token is the platform's, and as long as it likes; a URL of the platform's would not hold a longer one.
_CURSOR_MAX_CHARACTERS: Final = 8192


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an instance stands: on the platform's page with this token and size, at this index, by this name."""

    token: str | None
    size: int
    index: int
    name: str

    def cursor(self) -> str:
        """The opaque cursor of the place."""
        return opaque([CURSOR_VERSION, _INSTANCES, self.token, self.size, self.index, self.name])


async def instance_page(
    lakebase: ports.Administration, *, first: int | None, after: str | None
) -> DatabaseInstanceConnection:
    """The page of instances that the arguments ask for.

    Raises:
        InputError: PAGE_SIZE_INVALID, CURSOR_INVALID.
    """
    size = page_size(first, ADMIN_PAGE_LIMITS, argument="first")
    start = None if after is None else _place(after)
    found: list[tuple[_Place, ports.Instance]] = []
    async for one in _instances(lakebase, start):
        found.append(one)
        # One more than asked for tells that more follow: a token alone does not, for its page may be empty.
        if len(found) > size:
            break
    edges = [Edge(cursor=place.cursor(), node=DatabaseInstance.of(instance)) for place, instance in found[:size]]
    return DatabaseInstanceConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=_page_info([edge.cursor for edge in edges], more=len(found) > size, after=after),
    )


async def operation_page(
    lakebase: ports.Administration, *, first: int | None, after: str | None
) -> OperationConnection:
    """The page of operations that the arguments ask for.

    Raises:
        InputError: PAGE_SIZE_INVALID, CURSOR_INVALID.
    """
    size = page_size(first, ADMIN_PAGE_LIMITS, argument="first")
    key = None if after is None else _operation(after)
    # One that was in memory alone is gone with its process, and nobody can tell any more what came after it.
    if key is not None and await lakebase.operation(key) is None:
        raise InputError(Reason.CURSOR_INVALID, "The operation of this cursor is forgotten: start again without one.")
    page = await lakebase.operations(size=size, after=key)
    edges = [Edge(cursor=_operation_cursor(one.id), node=Operation.of(one)) for one in page.operations]
    return OperationConnection(
        edges=edges,
        nodes=[edge.node for edge in edges],
        page_info=_page_info([edge.cursor for edge in edges], more=page.more, after=after),
    )


async def _instances(
    lakebase: ports.Administration, start: _Place | None
) -> AsyncIterator[tuple[_Place, ports.Instance]]:
    """The instances from a place on, each with its own place."""
    token, size = (start.token, start.size) if start else (None, _PLATFORM_PAGE)
    while True:
        page = await lakebase.instances(size=size, token=token)
        skipped = 0 if start is None else _seen(page.instances, start)
        for index, instance in enumerate(page.instances):
            if index >= skipped:
                yield _Place(token, size, index, instance.name), instance
        if page.next_token is None:
            return
        token, start = page.next_token, None


def _seen(instances: Sequence[ports.Instance], start: _Place) -> int:
    """How many of a page come before the next, or are it."""
    names = [instance.name for instance in instances]
    # Where it is gone, the next has moved into its place.
    return names.index(start.name) + 1 if start.name in names else start.index


def _page_info(cursors: list[str], *, more: bool, after: str | None) -> PageInfo:
    return PageInfo(
        has_next_page=more,
        has_previous_page=after is not None,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )


def _place(cursor: str) -> _Place:
    match _parts(cursor):
        # `int()` would take `true` for 1.
        case [_, _, str() | None as token, size, index, str(name)] if type(size) is int and type(index) is int:
            place = _Place(token, size, index, name)
            if 1 <= size <= _PLATFORM_PAGE and index >= 0 and _is_text(token) and place.cursor() == cursor:
                return place
    raise _invalid()


def _is_text(token: str | None) -> bool:
    """Whether a token can be sent: JSON can hold halves of characters, which UTF-8 cannot."""
    return token is None or token.encode(errors="replace").decode() == token


def _operation(cursor: str) -> str:
    match _parts(cursor):
        case [_, _, str(key)] if _operation_cursor(key) == cursor and OPERATION_ID.mistake(key) is None:
            return key
    raise _invalid()


def _operation_cursor(key: str) -> str:
    return opaque([CURSOR_VERSION, _OPERATIONS, key])


def _parts(cursor: str) -> list[object]:
    try:
        return cursor_parts(cursor, longest=_CURSOR_MAX_CHARACTERS)
    except (ValueError, RecursionError) as error:
        raise _invalid() from error


def _invalid() -> InputError:
    return InputError(Reason.CURSOR_INVALID, "The cursor was not issued for this list, or is damaged.")
