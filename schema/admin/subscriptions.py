"""The subscription to the progress of an operation."""

from __future__ import annotations

from collections.abc import AsyncGenerator  # noqa: TC003 # Strawberry reads the annotations at run time
from contextlib import aclosing
from typing import Annotated

import strawberry

from schema.admin.guard import RequiresAdmin
from schema.admin.operations import Operation, operation_key_of
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import PlatformError, Reason


@strawberry.type
class AdminSubscriptions:
    """The subscriptions for administrators."""

    @strawberry.subscription(
        description=(
            "The operation as it is now, and again whenever it makes progress. The last event shows its end; then the "
            "subscription completes."
        ),
        extensions=[RequiresAdmin()],
    )
    async def operation_progress(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The operation's `id`.")],  # noqa: A002 # the argument's name in the schema
    ) -> AsyncGenerator[Operation, None]:
        """A client that subscribes late, or again, starts with the present state."""
        found = False
        async with aclosing(info.context.lakebase.progress(operation_key_of(id))) as events:
            async for operation in events:
                found = True
                yield Operation.of(operation)
        if not found:
            raise PlatformError(
                Reason.RESOURCE_NOT_FOUND, "There is no operation with this id, or the server no longer remembers it."
            )
