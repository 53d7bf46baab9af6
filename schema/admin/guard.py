"""The extensions around every admin field: the permission check with its audit, and the deadline."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from graphql import value_from_ast_untyped
from strawberry.extensions import FieldExtension

from schema.access import Requires
from schema.deadline import postpone
from schema.errors import ApiError, Reason, UnavailableError
from schema.permissions import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from schema.context import Info

# Seconds. Well below the 120 s after which the platform's proxy cuts a request, even for three such fields in a row.
ADMIN_SECONDS: Final = 25.0
# Seconds. The field's deadline has to end before the query's, because its error says more.
_LEEWAY_SECONDS: Final = 1.0


class RequiresAdmin(Requires):
    """Resolves an admin field only for an administrator, and within the deadline.

    It writes an audit entry if the caller lacks the role, or if a change fails before the port returns its outcome.
    """

    def __init__(self, *, changes: bool = False) -> None:
        super().__init__(Role.ADMIN)
        self._changes = changes

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """Check before the resolver runs. A subscription's result is its generator, which has no deadline."""
        try:
            async with deadline():
                return await super().resolve_async(next_, source, info, **arguments)
        except ApiError as error:
            if self._changes or error.reason is Reason.ROLE_MISSING:
                await note_refused(info, error.reason)
            raise


class WithDeadline(FieldExtension):
    """Gives a field below an admin field its own deadline, so that the fields already resolved are still answered."""

    async def resolve_async(self, next_: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
        """Resolve the field within the deadline."""
        async with deadline():
            answer = next_(source, info, **arguments)
            return await answer if inspect.isawaitable(answer) else answer


async def note_refused(info: Info, reason: Reason) -> None:
    """Write an audit entry: who tried to resolve the current field, with which arguments, and why it was refused."""
    await info.context.lakebase.note_refused(
        info.context.principal.user, info.field_name, reason, arguments_as_given(info)
    )


def arguments_as_given(info: Info) -> dict[str, Any]:
    """The arguments of the current field, as the client gave them. Strawberry's inputs have defaults as well."""
    node = info._raw_info.field_nodes[0]  # noqa: SLF001 # Strawberry has no public name for it
    return {
        argument.name.value: value_from_ast_untyped(argument.value, info.variable_values)
        for argument in node.arguments or ()
    }


@asynccontextmanager
async def deadline() -> AsyncIterator[None]:
    """Cancel the body after `ADMIN_SECONDS`, and postpone the query's own deadline accordingly.

    Raises:
        UnavailableError: CONTROL_PLANE_TIMEOUT.
    """
    postpone(ADMIN_SECONDS + _LEEWAY_SECONDS)
    try:
        async with asyncio.timeout(ADMIN_SECONDS) as timeout:
            yield
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise UnavailableError(
            Reason.CONTROL_PLANE_TIMEOUT,
            f"The platform did not answer within {ADMIN_SECONDS:g} s. What has begun continues: look at it, or send "
            "the request again.",
        ) from error
