"""The fast path: answers planned operations from their JSON template, with the same checks as any other request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import structlog

from schema.deadline import request_deadline
from schema.errors import ApiError
from schema.extensions import asks_for_cost, cost_extension
from schema.plans.replay import Failures
from server.observability.request_record import current_record, running_loop
from server.observability.tracing import tracing

if TYPE_CHECKING:
    from strawberry.http import GraphQLRequestData

    from schema import DocumentCache
    from schema.context import Context
    from schema.plans.operation import PlannedOperation

_log = structlog.get_logger(__name__)
# An operation's name is cut to this length in logs and traces.
NAME_CHARACTERS = 100


class FastPath:
    """Answers planned operations from their template, with the same checks as the ordinary path.

    It does what the extensions of the ordinary path do (server/graphql/extensions.py): it notes the operation's name
    and keeps to the deadline. It need not route reads: its operations are queries, which a replica may answer by
    default.

    Args:
        documents: the cache of documents, which holds the plans.
        seconds: how long a query may take.
        limit: the cost limit of an operation.
    """

    def __init__(self, documents: DocumentCache, *, seconds: float, limit: int) -> None:
        self._documents = documents
        self._seconds = seconds
        self._limit = limit

    def find(self, data: GraphQLRequestData) -> PlannedOperation | None:
        """The plan of a request's operation; None if it has none, or none yet."""
        document = self._documents.get(data.query or "")
        return None if document is None else document.plans.get(data.operation_name)

    def deadline(self) -> request_deadline:
        """The deadline of a query, which the fast and the ordinary path share."""
        return request_deadline(self._seconds, running_loop())

    async def answer(
        self, planned: PlannedOperation, data: GraphQLRequestData, context: Context
    ) -> tuple[bytes | None, Context]:
        """Answer an operation.

        Returns:
            The whole answer in JSON, or None if the ordinary path has to answer; and the context for that path.
        """
        record = current_record.get()
        if record is not None and planned.name:
            record.operation = planned.name[:NAME_CHARACTERS]
        tracing.note_operation(record.operation if record else None, "query")
        variables = data.variables or {}
        cost = planned.cost.price(variables, context.limits, context.statistics)
        if cost > self._limit:
            # The ordinary path refuses it.
            return None, context
        try:
            if context.charge is not None:
                context.charge(cost)
        except ApiError as error:
            return None, replace(context, charge=_Refusing(error))
        failures = Failures()
        try:
            pieces = await planned.write(context, variables, failures)
        except Exception:  # noqa: BLE001 # a fault of a plan must not fail the request
            # The ordinary path answers without the plan.
            _log.exception("the fast path failed")
            pieces = None
        if pieces is None:
            # The cost has been charged.
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
        return f',"extensions":{orjson.dumps(cost_extension(cost, self._limit)).decode()}}}'


class _Refusing:
    """A charge that refuses the operation on the ordinary path with the error of the fast path."""

    def __init__(self, error: ApiError) -> None:
        self._error = error

    def __call__(self, _cost: int) -> None:
        raise self._error
