"""Owns who may do what: the principal, the roles, and the naming of a role by every root field and Node type."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from strawberry.extensions import FieldExtension

from schema.errors import ForbiddenError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.context import Info


class Role(IntEnum):
    """What a principal may do. Each role may do what the ones before it may."""

    READER = 1
    WRITER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. `user` is what is recorded with a change.

    `expires_at`: in seconds of the monotonic clock, when it is not known any more that it is they; None is never.
    """

    user: str
    roles: frozenset[Role]
    expires_at: float | None = None

    def holds(self, role: Role) -> bool:
        """Whether the principal may do what the role may."""
        return any(held >= role for held in self.roles)

    def demand(self, role: Role) -> None:
        """Go on only where the principal may do what the role may.

        Raises:
            ForbiddenError: ROLE_MISSING.
        """
        if not self.holds(role):
            held = ", ".join(sorted(role.name.lower() for role in self.roles)) or "no role"
            raise ForbiddenError(
                Reason.ROLE_MISSING, f"This takes the role `{role.name.lower()}`; {self.user} has: {held}."
            )


NOBODY = Principal("nobody", frozenset())


class Requires(FieldExtension):
    """Lets a root field be resolved only for a principal with the role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """Ask before the resolver runs; a subscription's answer is its generator."""
        info.context.principal.demand(self.role)
        answer = next_(source, info, **arguments)
        return await answer if inspect.isawaitable(answer) else answer
