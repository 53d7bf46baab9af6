"""Lets a root field be resolved only for a principal with its role."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from strawberry.extensions import FieldExtension

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.context import Info
    from schema.permissions import Role


class Requires(FieldExtension):
    """Lets a root field be resolved only for a principal with the role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """Ask before the resolver runs; a subscription's answer is its generator."""
        info.context.principal.demand(self.role)
        answer = next_(source, info, **arguments)
        return await answer if inspect.isawaitable(answer) else answer
