"""Owns the word that this process is about to stop, for all who would otherwise go on for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from graphql import GraphQLError, OperationType, get_operation_ast, parse

if TYPE_CHECKING:
    from strawberry.http import GraphQLRequestData


class Draining:
    """Begins once, and never ends. What is in flight is finished; a subscription, which has no end, is sent on."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the process is about to stop."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Tell everybody."""
        self._begun.set()

    async def wait(self) -> None:
        """Return as soon as the process is about to stop."""
        await self._begun.wait()

    async def sends_on(self, data: GraphQLRequestData) -> None:
        """Return as soon as this operation is to be ended: with the process, and never where it ends by itself."""
        await self._begun.wait()
        if not is_subscription(data):
            await asyncio.get_running_loop().create_future()


def is_subscription(data: GraphQLRequestData) -> bool:
    """Whether an operation would go on for ever; False where it cannot be told, for that ends by itself."""
    try:
        operation = get_operation_ast(parse(data.query or "", no_location=True), data.operation_name)
    except (GraphQLError, RecursionError):
        return False
    return operation is not None and operation.operation is OperationType.SUBSCRIPTION
