"""Owns the admin root field that goes on: an operation and each step that it comes further."""

from __future__ import annotations

from collections.abc import AsyncGenerator  # noqa: TC003 # Strawberry reads the annotations at run time
from contextlib import aclosing
from typing import Annotated

import strawberry

from schema.admin.guard import Administers
from schema.admin.operations import Operation, operation_key_of
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import PlatformError, Reason


@strawberry.type
class AdminSubscriptions:
    """The root fields that administrators listen to."""

    @strawberry.subscription(
        description=(
            "The operation as it is now, and again whenever it has come further. It ends with the operation, whose "
            "end is the last that is told."
        ),
        extensions=[Administers()],
    )
    async def operation_progress(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The operation's `id`.")],  # noqa: A002 # the argument's name in the schema
    ) -> AsyncGenerator[Operation, None]:
        """Whoever comes late, or back, begins with how it is."""
        found = False
        async with aclosing(info.context.lakebase.progress(operation_key_of(id))) as further:
            async for operation in further:
                found = True
                yield Operation.of(operation)
        if not found:
            raise PlatformError(Reason.RESOURCE_NOT_FOUND, "There is no operation with this id, or it is forgotten.")
