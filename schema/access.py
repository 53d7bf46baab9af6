"""The permission check of a root field."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from strawberry.extensions import FieldExtension

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.context import Info
    from schema.permissions import Role


class Requires(FieldExtension):
    """Resolves a root field only for a principal that holds the role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """Check before the resolver runs. A subscription's result is its generator, which is not awaited."""
        info.context.principal.demand(self.role)
        answer = next_(source, info, **arguments)
        return await answer if inspect.isawaitable(answer) else answer
