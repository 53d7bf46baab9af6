"""Owns what goes around every admin field: the role with an audit of its lack, and a deadline."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from strawberry.extensions import FieldExtension

from schema.access import Requires
from schema.deadline import postpone
from schema.errors import ApiError, Reason, UnavailableError
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from schema.context import Info

# Well before the 120 s at which the platform's proxy cuts a request, also where three such fields stand in a row.
ADMIN_SECONDS: Final = 25.0
# A query with such a field ends with the field's own deadline, which tells more.
_LEEWAY_SECONDS: Final = 1.0


class Administers(Requires):
    """Lets an admin field be resolved only for an administrator, and keeps it to the deadline.

    Who else tried leaves an audit entry. So does a change that fails before the port could tell what became of it.
    """

    def __init__(self, *, changes: bool = False) -> None:
        super().__init__(Role.ADMIN)
        self._changes = changes

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """Ask before the resolver runs. A subscription's answer is its generator, which has no deadline."""
        try:
            async with deadline():
                return await super().resolve_async(next_, source, info, **arguments)
        except ApiError as error:
            if self._changes or error.reason is Reason.ROLE_MISSING:
                await note_refused(info, error.reason)
            raise


class InTime(FieldExtension):
    """Keeps a field below an admin field to a deadline of its own, so that what was found already is answered."""

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """The platform may be slow for this field alone."""
        async with deadline():
            answer = next_(source, info, **arguments)
            return await answer if inspect.isawaitable(answer) else answer


async def note_refused(info: Info, reason: Reason) -> None:
    """Leave an audit entry of who tried the field being resolved, and why it was not done."""
    await info.context.lakebase.note_refused(info.context.principal.user, info.field_name, reason)


@asynccontextmanager
async def deadline() -> AsyncIterator[None]:
    """What is done within has to be done in time, and the query around it may take as long.

    Raises:
        UnavailableError: CONTROL_PLANE_TIMEOUT.
    """
    postpone(ADMIN_SECONDS + _LEEWAY_SECONDS)
    try:
        async with asyncio.timeout(ADMIN_SECONDS) as clock:
            yield
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise UnavailableError(
            Reason.CONTROL_PLANE_TIMEOUT,
            f"The platform did not answer within {ADMIN_SECONDS:g} s. What was begun goes on: look, or send it again.",
        ) from error
