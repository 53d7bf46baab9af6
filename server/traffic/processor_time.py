"""The processor time of an operation: what its execution takes, also in the tasks that it starts.

What comes before is paid for apart (schema/extensions.py). The fast path takes what its prices say.
"""

from __future__ import annotations

import time
import types
from typing import TYPE_CHECKING, Any

from schema.stages import Executor
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

    from server.observability.request_record import RequestRecord


class MeteredExecutor(Executor):
    """The schema's executor. It notes its processor time on the record of an operation that pays for it."""

    # Whether a step is being measured: one may run within another.
    _measures = False

    def execute_operation(self, serially: bool | None = None) -> Any:  # noqa: FBT001 # graphql-core's signature
        """The result, or what can be awaited for it."""
        record = current_record.get()
        if record is None or record.settle is None:
            return super().execute_operation(serially)
        return self._metered(record, self._executed(serially))

    def complete_awaitable_value(self, *arguments: Any) -> Coroutine[Any, Any, Any]:
        """The value of a field that has to be awaited. If there are several, each gets a task."""
        record, work = current_record.get(), super().complete_awaitable_value(*arguments)
        return work if record is None or record.settle is None else self._metered(record, work)

    async def _executed(self, serially: bool | None) -> Any:  # noqa: FBT001 # as above
        result = super().execute_operation(serially)
        return await result if self.is_awaitable(result) else result

    async def _metered(self, record: RequestRecord, work: Coroutine[Any, Any, Any]) -> Any:
        return await self._steps(record, work)

    @types.coroutine
    def _steps(self, record: RequestRecord, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a coroutine step by step, as the event loop does."""
        go_on: Any = work.send
        given: Any = None
        while True:
            outermost, self._measures, began = not self._measures, True, time.thread_time()
            try:
                awaited = go_on(given)
            except StopIteration as end:
                return end.value
            finally:
                if outermost:
                    self._measures = False
                    record.processor_seconds += time.thread_time() - began
            try:
                go_on, given = work.send, (yield awaited)
            except BaseException as error:  # noqa: BLE001 # the work handles it
                go_on, given = work.throw, error
