"""What the pages of administration share: their arguments, their size, and that they lead forward only."""

from __future__ import annotations

from typing import Annotated, Final

import strawberry

from schema.context import PageLimits
from schema.relay.pagination import PageInfo

ADMIN_PAGE_LIMITS: Final = PageLimits(default=50, maximum=100)
# The fields of an instance that a page of the platform lacks: they take two more calls for each instance.
FIELDS_OF_COMPUTES: Final = frozenset(
    {
        "state",
        "minCu",
        "maxCu",
        "suspendAfterSeconds",
        "suspended",
        "lastActiveAt",
        "nodeCount",
        "readableSecondaries",
        "stopped",
        "host",
        "readOnlyHost",
    }
)
First = Annotated[
    int | None, strawberry.argument(description="How many to return after `after`: from 0 to 100, by default 50.")
]
After = Annotated[
    str | None, strawberry.argument(description="Start after this cursor, for example `pageInfo.endCursor`.")
]


def forward_page_info(cursors: list[str], *, more: bool, any_before: bool) -> PageInfo:
    """The information about a page with these cursors; `any_before` says whether anything precedes it."""
    return PageInfo(
        has_next_page=more,
        has_previous_page=any_before,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )
