"""The stages of an operation, with the hooks of the extensions around each, and its executor."""

from __future__ import annotations

import contextlib
import weakref
from functools import lru_cache
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

from graphql import GraphQLResolveInfoHelpers
from strawberry.extensions import SchemaExtension
from strawberry.extensions.runner import SchemaExtensionsRunner
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphql import Executor as GraphQLExecutor
    from strawberry.types.execution import ExecutionContext

_NO_STAGE = contextlib.nullcontext()


class Stage:
    """The hooks of all extensions around one stage of an operation, as context managers around the body.

    Strawberry's own would wrap each hook anew for each operation, which takes a sixth of the time of a status change.

    Args:
        extensions: the extensions, the outermost first. Their hooks are generators.
        name: the name of the hook.
    """

    __slots__ = ("_entered", "_extensions", "_name")

    def __init__(self, extensions: Sequence[SchemaExtension], name: str) -> None:
        self._extensions = extensions
        self._name = name
        self._entered: list[Any] = []

    async def __aenter__(self) -> None:
        try:
            for extension in self._extensions:
                if hook := _hook_of(type(extension), self._name):  # type: ignore[arg-type] # a class can be hashed
                    entering = hook(extension)
                    await _advance(entering)
                    self._entered.append(entering)
        except BaseException as error:
            await self._leave(error)
            raise

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Run the rest of the hooks, the innermost first. An error of one of them replaces that of the body."""
        raised = error
        while self._entered:
            try:
                await _advance(self._entered.pop(), raised)
            except BaseException as other:  # noqa: BLE001 # the outer hooks have to run too
                raised = other
        try:
            if raised is not None and raised is not error:
                raise raised
        finally:
            # The error's traceback has this frame: a cycle, that would keep all frames below until the next collection.
            del error, raised


async def _advance(hook: Any, error: BaseException | None = None) -> None:
    """Run a hook up to its `yield`, or from there to its end."""
    try:
        if isinstance(hook, AsyncGeneratorType):
            await (anext(hook) if error is None else hook.athrow(error))
        elif error is None:
            next(hook)
        else:
            hook.throw(error)
    except (StopIteration, StopAsyncIteration):
        return
    finally:
        # As above.
        del error


@lru_cache
def _hook_of(kind: type[SchemaExtension], name: str) -> Callable[[SchemaExtension], Any] | None:
    """The hook of a class of extensions, if it has one of its own."""
    hook: Callable[[SchemaExtension], Any] = getattr(kind, name)
    return None if hook is getattr(SchemaExtension, name) else hook


class Stages(SchemaExtensionsRunner):
    """Strawberry's runner of extensions, with our own stages."""

    def operation(self) -> Any:
        """The stage around the whole operation."""
        return Stage(self.extensions, "on_operation")

    def parsing(self) -> Any:
        """The stage around parsing."""
        return Stage(self.extensions, "on_parse")

    def validation(self) -> Any:
        """The stage around validation."""
        return Stage(self.extensions, "on_validate")

    def executing(self) -> Any:
        """The stage around execution."""
        return Stage(self.extensions, "on_execute")

    def on_stream_result(self, _result: object) -> Any:
        """The stage around each answer of a subscription, for which no extension has a hook."""
        return _NO_STAGE

    async def get_extensions_results(self, ctx: ExecutionContext) -> dict[str, Any]:
        """What the extensions add to an answer. Strawberry would ask each of them, for each event."""
        added: dict[str, Any] = {}
        for extension in self.extensions:
            if results_of := _hook_of(type(extension), "get_results"):  # type: ignore[arg-type] # a class can be hashed
                added.update(results_of(extension))
        return {**added, **ctx.extensions_results}


class Executor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor. Its helpers for resolvers refer to it weakly: as methods they would be a cycle."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        own = weakref.proxy(self)
        self.async_helpers = GraphQLResolveInfoHelpers(
            gather=lambda awaitables: own.gather_async_work(awaitables),  # noqa: PLW0108 # the method would refer to it
            track=lambda values: own.track_async_work(values),  # noqa: PLW0108 # as above
        )

    def build_per_event_executor(self, payload: Any) -> GraphQLExecutor[Any]:
        """A copy for an event. What it remembers of the selection ends with it.

        graphql-core's copies share their memory with the subscription, and each would add to it.
        """
        executor = super().build_per_event_executor(payload)
        executor._relevant_sub_fields = {}  # noqa: SLF001 # graphql-core has no other way
        return executor
