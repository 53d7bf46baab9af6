"""Owns the fast way of answering: the JSON of a planned operation, with all around it that is around any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schema.deadline import request_deadline
from schema.errors import ApiError
from schema.plans.replay import Failures
from server.record import current_record
from server.running import running_loop
from server.tracing import tracing

if TYPE_CHECKING:
    from strawberry.http import GraphQLRequestData

    from schema.context import Context
    from schema.plans.operation import PlannedOperation
    from schema.plans.remembered import Plans

_log = structlog.get_logger(__name__)
NAME_CHARACTERS = 100


class FastWay:
    """Answers what has a plan.

    What the schema's extensions do around an operation (server/extensions.py) is done here too: its name is noted, it
    may be read from a secondary, and it is kept to its deadline.

    Args:
        plans: the plans.
        seconds: how long a query may take.
    """

    def __init__(self, plans: Plans, *, seconds: float) -> None:
        self._plans = plans
        self._seconds = seconds

    async def answer(self, data: GraphQLRequestData, context: Context) -> tuple[bytes | None, Context]:
        """The whole answer in JSON; None where it has to be had the ordinary way, and the context for that.

        Raises:
            UnavailableError: REQUEST_TIMEOUT.
        """
        planned = self._plans.find(data.query, data.operation_name)
        if planned is None:
            return None, context
        failures = Failures()
        pieces = await self._written(planned, data, context, failures)
        if pieces is None:
            return None, failures.replayed(context)
        if record := current_record.get():
            record.fast = True
        return "".join(['{"data":', *pieces, "}"]).encode(), context

    async def _written(
        self, planned: PlannedOperation, data: GraphQLRequestData, context: Context, failures: Failures
    ) -> list[str] | None:
        record = current_record.get()
        if record is not None and planned.name:
            record.operation = planned.name[:NAME_CHARACTERS]
        tracing.note_operation(record.operation if record else None, "query")
        try:
            async with request_deadline(self._seconds, running_loop()):
                return await planned.write(context, data.variables or {}, failures)
        except ApiError:
            raise
        except Exception:  # noqa: BLE001 # whatever it is, it is logged, and nobody has to suffer it
            # A fault of ours, which need not be the caller's: the ordinary way does without.
            _log.exception("fault on the fast way")
            return None
