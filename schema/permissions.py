"""Owns who may do what: the principal, the roles, and the naming of a role by every root field and Node type."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from schema.errors import ForbiddenError, Reason


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
