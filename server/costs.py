"""Owns the header by which a caller asks to be told what an operation costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.headers import header

if TYPE_CHECKING:
    from starlette.types import Scope

COST_HEADER: Final = "x-graphql-cost"
_NAME: Final = COST_HEADER.encode()
_INCLUDE: Final = "include"


def asks_for_cost(scope: Scope) -> bool:
    """Whether the answers to a request, or those over a WebSocket that it opens, are to tell the cost."""
    value = header(scope, _NAME)
    return value is not None and value.strip().lower() == _INCLUDE
