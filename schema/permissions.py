"""Roles, and the principal that holds them. Every root field and every Node type names the role that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from schema.errors import ForbiddenError, Reason


class Role(IntEnum):
    """What a principal may do. Each role includes the roles before it."""

    READER = 1
    WRITER = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated identity of a request. `user` is the name that is recorded with a change.

    `expires_at` is when the authentication ends, in seconds of the monotonic clock; None means never.
    """

    user: str
    roles: frozenset[Role]
    expires_at: float | None = None

    def holds(self, role: Role) -> bool:
        """Whether the principal has the role, or a higher one."""
        return max(self.roles, default=0) >= role

    def demand(self, role: Role) -> None:
        """Check that the principal has the role, or a higher one.

        Raises:
            ForbiddenError: ROLE_MISSING.
        """
        if not self.holds(role):
            held = ", ".join(sorted(role.name.lower() for role in self.roles)) or "no role"
            raise ForbiddenError(
                Reason.ROLE_MISSING, f"This needs the role `{role.name.lower()}`; {self.user} has: {held}."
            )


NOBODY = Principal("nobody", frozenset())
