"""Limits of subscriptions: how many a caller may have in a process, what they may hold, and how long one lasts."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from graphql import OperationDefinitionNode
from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from schema.errors import RateLimitedError, Reason, UnavailableError
from server.observability.request_record import current_record, running_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from strawberry.types.execution import ExecutionContext

    from server.traffic.draining import Draining

_T = TypeVar("_T")
# What the texts and variables of a caller's subscriptions may hold, which they do for hours. 500 subscriptions with a
# text of 4 KB each, or 250 with a list of 1,000 keys, hold as much.
_HELD_BYTES: Final = 32 << 20
# What a syntax tree takes for a character of its text: a megabyte for the longest one.
_TREE_BYTES_OF_CHARACTER: Final = 16


class Held(NamedTuple):
    """What a subscription holds of its request.

    Attributes:
        tree: identifies the syntax tree, which subscriptions with equal texts share.
        tree_bytes: how much the tree takes.
        variables_bytes: how much the variables take that the document declares.
    """

    tree: int = 0
    tree_bytes: int = 0
    variables_bytes: int = 0


_NOTHING: Final = Held()


@dataclass(slots=True)
class _Caller:
    """The open subscriptions of a caller: how many, with which syntax trees, and what they hold in all."""

    number: int = 0
    trees: Counter[int] = field(default_factory=Counter)
    held_bytes: int = 0


class Subscriptions:
    """The open subscriptions in this process, by caller.

    Args:
        most_per_caller: how many a caller may have.
        draining: says when the process is about to stop.
    """

    def __init__(self, most_per_caller: int, draining: Draining) -> None:
        self._most = most_per_caller
        self._draining = draining
        self._callers: dict[str, _Caller] = {}

    def begin(self, user: str, held: Held = _NOTHING) -> None:
        """Count a new subscription.

        Raises:
            RateLimitedError: TOO_MANY_SUBSCRIPTIONS. It is not counted.
            UnavailableError: SERVER_STOPPING. It is not counted. The transports have ended those that began before.
        """
        if self._draining.begun:
            raise UnavailableError(Reason.SERVER_STOPPING, "The server is stopping. Subscribe again.")
        caller = self._callers.get(user) or _Caller()
        if caller.number >= self._most:
            raise _too_many(
                f"A caller may have at most {self._most:,} subscriptions, over all connections: end some first."
            )
        new_bytes = held.variables_bytes + (0 if caller.trees[held.tree] else held.tree_bytes)
        if caller.held_bytes + new_bytes > _HELD_BYTES:
            raise _too_many(
                "Your subscriptions hold too many bytes of texts and variables, over all connections: end some first, "
                "or use shorter ones. Equal texts count once."
            )
        self._callers[user] = caller
        caller.number += 1
        caller.trees[held.tree] += 1
        caller.held_bytes += new_bytes

    def end(self, user: str, held: Held = _NOTHING) -> None:
        """Count a subscription that ended. `held` is as it was given to `begin`."""
        caller = self._callers[user]
        caller.number -= 1
        caller.trees[held.tree] -= 1
        caller.held_bytes -= held.variables_bytes
        if not caller.trees[held.tree]:
            del caller.trees[held.tree]
            caller.held_bytes -= held.tree_bytes
        if not caller.number:
            del self._callers[user]

    def open(self, user: str) -> int:
        """How many subscriptions a caller has."""
        return self._callers[user].number if user in self._callers else 0


def _too_many(message: str) -> RateLimitedError:
    seconds = Reason.TOO_MANY_SUBSCRIPTIONS.value.retry_after
    return RateLimitedError(Reason.TOO_MANY_SUBSCRIPTIONS, message, retry_after_seconds=seconds)


class CountSubscriptions(SchemaExtension):
    """Counts each subscription from its start to its end, however it ends."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions
        self._user: str | None = None
        self._held = _NOTHING

    def on_operation(self) -> Iterator[None]:
        """A subscription lasts until this generator ends, even if it is cancelled."""
        try:
            yield
        finally:
            if self._user is not None:
                self._subscriptions.end(self._user, self._held)

    def on_execute(self) -> Iterator[None]:
        """For a subscription this hook runs at its start only."""
        if self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            user: str = self.execution_context.context.principal.user
            self._held = _held_by(self.execution_context)
            self._subscriptions.begin(user, self._held)
            self._user = user
        yield


def _held_by(execution: ExecutionContext) -> Held:
    """What a subscription is about to hold: graphql-core keeps its variables as they were sent, and converted."""
    document = execution.graphql_document
    declared = {
        definition.variable.name.value
        for node in (document.definitions if document else ())
        if isinstance(node, OperationDefinitionNode)
        for definition in node.variable_definitions or ()
    }
    left: list[Any] = [value for name, value in (execution.variables or {}).items() if name in declared]
    variables_bytes = 0
    while left:
        value = left.pop()
        variables_bytes += 2 * sys.getsizeof(value)
        if isinstance(value, dict):
            left += (*value, *value.values())
        elif isinstance(value, list):
            left += value
    return Held(id(document), len(execution.query or "") * _TREE_BYTES_OF_CHARACTER, variables_bytes)


async def lasting(results: AsyncGenerator[_T, None], seconds: float) -> AsyncGenerator[_T, None]:
    """The results of an operation, for `seconds` if it is a subscription. Other operations have deadlines of their own.

    Raises:
        UnavailableError: SUBSCRIPTION_ENDED.
    """
    loop, record, waiting = running_loop(), current_record.get(), asyncio.timeout(None)
    over = False

    def end() -> None:
        nonlocal over
        # The kind of operation is known only once it has started.
        over = record is not None and record.subscription
        if over and not taken:
            waiting.reschedule(loop.time())

    taken, timer = True, loop.call_later(seconds, end)
    try:
        while not over:
            waiting = asyncio.timeout(None)
            try:
                async with waiting:
                    taken = False
                    try:
                        result = await anext(results)
                    finally:
                        taken = True
            except StopAsyncIteration:
                return
            except TimeoutError:
                if over:
                    break
                raise
            yield result
    finally:
        timer.cancel()
        # The other one has the task, whose error may have a traceback with this frame: a cycle.
        waiting = asyncio.timeout(None)
    raise UnavailableError(
        Reason.SUBSCRIPTION_ENDED,
        f"The subscription has lasted for {seconds:g} s. Subscribe again with the cursor of the last change that you "
        "received as `after`: nothing is lost.",
    )
