"""Owns the fast way of answering: the JSON of a planned operation, with all around it that is around any other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import structlog

from schema.deadline import request_deadline
from schema.errors import ApiError
from schema.extensions import asks_for_cost, cost_told
from schema.plans.replay import Failures
from server.observability.request_record import current_record, running_loop
from server.observability.tracing import tracing

if TYPE_CHECKING:
    from strawberry.http import GraphQLRequestData

    from schema.context import Context
    from schema.plans.operation import PlannedOperation
    from schema.plans.remembered import Plans

_log = structlog.get_logger(__name__)
NAME_CHARACTERS = 100


class FastPath:
    """Answers what has a plan.

    What the schema's extensions do around an operation (server/graphql/extensions.py) is done here too: its name is
    noted, and it is kept to its deadline. That it may be read from a secondary is what a record says unless it is told
    otherwise.

    Args:
        plans: the plans.
        seconds: how long a query may take.
        limit: what an operation may cost.
    """

    def __init__(self, plans: Plans, *, seconds: float, limit: int) -> None:
        self._plans = plans
        self._seconds = seconds
        self._limit = limit

    def find(self, data: GraphQLRequestData) -> PlannedOperation | None:
        """The plan of a request, where there is one."""
        return self._plans.find(data.query, data.operation_name)

    def deadline(self) -> request_deadline:
        """That of a query, both ways together."""
        return request_deadline(self._seconds, running_loop())

    async def answer(
        self, planned: PlannedOperation, data: GraphQLRequestData, context: Context
    ) -> tuple[bytes | None, Context]:
        """The whole answer in JSON; None where it has to be had the ordinary way, and the context for that."""
        record = current_record.get()
        if record is not None and planned.name:
            record.operation = planned.name[:NAME_CHARACTERS]
        tracing.note_operation(record.operation if record else None, "query")
        variables = data.variables or {}
        cost = planned.cost.evaluate(variables, context.limits)
        if cost > self._limit:
            # It is refused there.
            return None, context
        try:
            if context.charge is not None:
                context.charge(cost)
        except ApiError as error:
            return None, replace(context, charge=_Refusing(error))
        failures = Failures()
        try:
            pieces = await planned.write(context, variables, failures)
        except Exception:  # noqa: BLE001 # whatever it is, it is logged, and nobody has to suffer it
            # A fault of ours, which need not be the caller's: the ordinary way does without.
            _log.exception("fault on the fast way")
            pieces = None
        if pieces is None:
            # Its cost has been charged.
            return None, replace(failures.replayed(context), charge=None)
        if record is not None:
            record.fast = True
        end = "}"
        if context.tells_cost or data.extensions is not None:
            end = self._end(cost, data, context)
        return "".join(['{"data":', *pieces, end]).encode(), context

    def _end(self, cost: int, data: GraphQLRequestData, context: Context) -> str:
        if not asks_for_cost(context, data.extensions):
            return "}"
        return f',"extensions":{orjson.dumps(cost_told(cost, self._limit)).decode()}}}'


class _Refusing:
    """Refuses an operation the ordinary way as it has been refused already."""

    def __init__(self, error: ApiError) -> None:
        self._error = error

    def __call__(self, _cost: int) -> None:
        raise self._error
