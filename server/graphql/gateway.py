"""The gateway of all operations: it checks and executes them in the same way for every transport."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from schema.errors import ApiError
from schema.limits.variables import check_variables
from server.graphql.answers import answer_of, failure, presented, refusal_of
from server.graphql.introspection import may_explore
from server.graphql.request import asks_for_cost, request_data
from server.http.client import CLIENT_PRESENCE
from server.http.read_requirement import ReadRequirement, current_reads
from server.observability.request_record import RequestRecord, current_record
from server.traffic.subscription_limits import lasting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping

    import strawberry
    from starlette.requests import HTTPConnection, Request
    from strawberry.http import GraphQLRequestData
    from strawberry.types.execution import ExecutionResult
    from strawberry.types.graphql import OperationType

    from schema.context import Context
    from schema.permissions import Principal
    from server.auth.authentication import Authentication
    from server.graphql.documents.persisted import Documents
    from server.graphql.introspection import ExploredBy
    from server.graphql.request import RequestData
    from server.http.client import ClientPresence
    from server.http.consistency import Consistency
    from server.http.origins import Origins
    from server.traffic.rate_limit import RateLimit

_T = TypeVar("_T")
# Converting up to this many values takes no longer than a page.
_MANY_VALUES: Final = 100
# How often a connection that stays open asks for its caller's roles, even if nothing is sent on it.
_ROLES_SECONDS: Final = 30.0


class Gateway:
    """Checks the caller and the operation, and executes it.

    The checks are made in this order:

    1. authentication;
    2. the origin of the page that calls;
    3. the transport's own terms: the method and the media types;
    4. the consistency token in the headers;
    5. the body is read;
    6. the size of the variables;
    7. the document: found by its hash, and trusted where only trusted documents are run;
    8. the consistency token in the operation's `extensions`.

    So an unauthenticated caller learns nothing else, and no body is read for a request that its headers rule out.

    An HTTP request goes through all of them (`prepare`). A WebSocket goes through 1, 2 and 4 once, when it opens, and
    each of its operations through 6 to 8 (`resolve`).

    A connection that stays open asks for its caller's roles again: a WebSocket before each operation (`renewed`), a
    subscription before each event (`answers`), and every open connection twice a minute (`refused_before`).

    Args:
        schema: executes the operations.
        documents: finds documents by their hash, and refuses documents that are not trusted.
        consistency: reads consistency tokens, and adds them to answers.
        origins: the origins whose pages may call.
        explored_by: who may explore the schema.
        rates: the rate limit; None if it is off.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        documents: Documents,
        consistency: Consistency,
        origins: Origins,
        explored_by: ExploredBy,
        rates: RateLimit | None,
    ) -> None:
        self.consistency = consistency
        self.explored_by = explored_by
        self._schema = schema
        self._documents = documents
        self._origins = origins
        self._rates = rates
        self._settle = None if rates is None else rates.settle_operation

    async def authenticate(
        self, connection: HTTPConnection, init: Mapping[str, object] | None = None, *, any_origin: bool = False
    ) -> Context:
        """Authenticate the caller, check the origin, and make the caller's context.

        Args:
            connection: the request, or the upgrade to a WebSocket.
            init: the payload of a WebSocket's `connection_init`, for modes of authentication that wait for it.
            any_origin: whether a page of any origin may call.

        Raises:
            ApiError: the caller is refused, or cannot be authenticated now.
        """
        # Before anything else: a request starts with the context variables of the one before it on its connection.
        current_reads.set(ReadRequirement())
        state = connection.scope["state"]
        authentication: Authentication = state["authentication"]
        principal = await authentication.principal(connection, init)
        presence: ClientPresence | None = connection.scope.get(CLIENT_PRESENCE)
        if presence is not None:
            presence.identify(principal.user)
        if not any_origin:
            self._origins.check(connection)
        context: Context = state["context"]
        own = context.for_caller(
            principal,
            tells_cost=asks_for_cost(connection.scope),
            explores=may_explore(principal, self.explored_by),
        )
        if (record := current_record.get()) is not None:
            self.note_caller(record, principal)
        return own if self._rates is None else self._rates.charging(own)

    def note_caller(self, record: RequestRecord, principal: Principal) -> None:
        """Note on a record whose operation it is, and what charges for what it really takes."""
        record.caller, record.settle = principal.user, self._settle

    async def renewed(self, context: Context) -> Context:
        """The context with the roles that its caller has now.

        Raises:
            UnavailableError: the roles cannot be determined now.
        """
        principal = await context.renew(context.principal)
        if principal == context.principal:
            return context
        return replace(context, principal=principal, explores=may_explore(principal, self.explored_by))

    def check_origin(self, connection: HTTPConnection) -> None:
        """Check the origin of a WebSocket whose client authenticates later, in its `connection_init`.

        Raises:
            ForbiddenError: ORIGIN_FORBIDDEN.
        """
        self._origins.check(connection)

    @staticmethod
    def keep_open(connection: HTTPConnection, context: Context) -> None:
        """Count a connection among the lasting ones, now that its caller is authenticated.

        Raises:
            UnavailableError: OVERLOADED, there is no room for another.
            RateLimitedError: TOO_MANY_SUBSCRIPTIONS, the caller has as many as it may.
        """
        presence: ClientPresence | None = connection.scope.get(CLIENT_PRESENCE)
        if presence is not None:
            presence.become_lasting(context.principal.user)

    async def prepare(
        self, request: Request, negotiate: Callable[[Request], _T], *, any_origin: bool = False
    ) -> tuple[Context, RequestData, _T]:
        """Check an HTTP request, and read its operation.

        Args:
            request: the request, whose body has not been read.
            negotiate: checks the request by the transport's own terms.
            any_origin: whether a page of any origin may call.

        Returns:
            The caller's context, the operation, and what `negotiate` returned.

        Raises:
            ApiError: the request is refused.
        """
        context = await self.authenticate(request, any_origin=any_origin)
        try:
            terms = negotiate(request)
            reads = current_reads.get()
            reads.position = self.consistency.position(request)
            data = await request_data(request, context.account)
        except ApiError:
            self.charge_mistake(context)
            raise
        self.resolve(data, reads, context)
        return context, data, terms

    def resolve(self, data: RequestData, reads: ReadRequirement, context: Context) -> None:
        """Check an operation, and find its document.

        Args:
            data: the operation.
            reads: what its reads require. A consistency token in its extensions may raise it.
            context: the caller's context.

        Raises:
            ApiError: the operation is refused.
        """
        try:
            data.values = check_variables(data.variables)
            self._documents.resolve(data)
            if data.extensions is not None:
                reads.position = max(reads.position, self.consistency.position_in(data.extensions))
        except ApiError:
            self.charge_mistake(context)
            raise

    def charge_mistake(self, context: Context) -> None:
        """Charge for an operation that is refused before its document is looked at.

        Raises:
            RateLimitedError: the caller has no points. It learns nothing else.
        """
        if self._rates is not None:
            self._rates.demand_any(context.principal.user)
            self._rates.note_mistake(context.principal.user)

    @staticmethod
    async def take_turn(data: RequestData, context: Context) -> None:
        """Wait for a turn if the variables have many values, each of which has to be converted."""
        if data.values > _MANY_VALUES:
            await context.turns.take(data.values, context.principal.user)

    async def execute(
        self, data: GraphQLRequestData, context: Context, *, allowed: Collection[OperationType]
    ) -> tuple[dict[str, Any], int]:
        """Execute a query or a mutation.

        Args:
            data: the operation.
            context: its context.
            allowed: the types of operations that may be executed.

        Returns:
            The answer and its HTTP status.

        Raises:
            RequestError: the document has no such operation, or one that is not allowed.
        """
        try:
            result = await self._schema.execute(
                data.query,
                variable_values=data.variables,
                context_value=context,
                operation_name=data.operation_name,
                operation_extensions=data.extensions,
                allowed_operation_types=allowed,
            )
        except (MissingQueryError, CannotGetOperationTypeError, InvalidOperationTypeError) as error:
            raise refusal_of(error) or error from None
        return presented(result, context, data.query, data.variables)

    async def answers(
        self,
        data: RequestData,
        context: Context,
        *,
        allowed: Collection[OperationType],
        lasting_seconds: float,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Execute an operation of any type, and yield its answers. An answer without `data` is the last.

        A subscription ends with such an answer after `lasting_seconds`, or once its caller has lost a role.
        """
        await self.take_turn(data, context)
        record = current_record.get() or RequestRecord("")
        record.asked = data.query, data.variables
        # Strawberry yields some errors and raises others, syntax errors among them.
        try:
            results = await self._schema.stream(
                data.query,
                variable_values=data.variables,
                context_value=context,
                operation_name=data.operation_name,
                operation_extensions=data.extensions,
                allowed_operation_types=allowed,
            )
            # A subscription may last for hours.
            del data
            async with aclosing(results), aclosing(lasting(results, lasting_seconds)) as lasting_results:
                async for result in lasting_results:
                    # A query or a mutation has just begun, and what a mutation has changed is acknowledged.
                    if record.subscription:
                        await context.check_roles()
                    # None of them is a frame of incremental delivery: the schema has no @defer.
                    answer = answer_of(cast("ExecutionResult", result), context, record)
                    yield self.consistency.with_extension(answer)
                    if "data" not in answer:
                        return
        except Exception as error:  # noqa: BLE001 # it is presented: masked, unless it is an ApiError
            yield presented(failure(error), context, *record.asked)[0]


async def refused_before(
    event: Callable[[], Awaitable[object]], *, check: Callable[[], Awaitable[None]]
) -> ApiError | None:
    """Wait for an event. Meanwhile check twice a minute that the caller of an open connection still has its roles.

    Args:
        event: waits for the event. It may be cancelled, and called again.
        check: raises the error if the roles are lost, as `Context.check_roles` does.

    Returns:
        None once the event has come; or the error, as soon as there is one.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ROLES_SECONDS):
                await event()
                return None
        try:
            await check()
        except ApiError as error:
            return error
