"""The gateway of all operations: what is checked before one is executed, in the same order on every transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from schema.limits.variables import check_variables
from server.graphql.introspection import may_explore
from server.graphql.request import asks_for_cost, request_data
from server.read_requirement import ReadRequirement, current_reads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import strawberry
    from starlette.requests import HTTPConnection, Request

    from schema.context import Context
    from server.auth.authentication import Authentication
    from server.graphql.introspection import ExploredBy
    from server.graphql.persisted_documents import Documents
    from server.graphql.request import RequestData
    from server.http.consistency import Consistency
    from server.http.origins import Origins
    from server.traffic.rate_limit import RateLimit

_T = TypeVar("_T")


class Gateway:
    """Decides who may ask, and prepares what they ask for.

    The order of the checks:

    1. authentication;
    2. the origin of the page that calls;
    3. the transport's own terms: the method, the media types;
    4. the consistency token of the headers;
    5. the body is read;
    6. the size of the variables;
    7. the document: found by its hash, or one that may be run;
    8. the consistency token of the operation's `extensions`.

    So a caller who is not known learns nothing else, and no body is read for a request that its headers rule out. An
    HTTP request goes through all of it (`prepare`). A WebSocket goes through 1, 2 and 4 once, when it opens, and each
    of its operations through 6 to 8 (`resolve`).

    Args:
        schema: executes the operations.
        documents: finds a document by its hash, and refuses documents that are not trusted.
        consistency: reads the consistency tokens, and puts them into answers.
        origins: the origins whose pages may call.
        explored_by: who may see the schema.
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
        self.schema = schema
        self.consistency = consistency
        self.explored_by = explored_by
        self._documents = documents
        self._origins = origins
        self._rates = rates

    async def authenticate(
        self, connection: HTTPConnection, init: Mapping[str, object] | None = None, *, any_origin: bool = False
    ) -> Context:
        """Make the context of a caller who may call, and from this page.

        Args:
            connection: the request, or the upgrade to a WebSocket.
            init: the payload of a WebSocket's `connection_init`, for a mode of authentication that waits for it.
            any_origin: let a page of any origin call: it cannot read the answer, and the request changes nothing.

        Raises:
            ApiError: the caller is unknown, may not call in this way, or cannot be authenticated now.
        """
        current_reads.set(ReadRequirement())
        state = connection.scope["state"]
        authentication: Authentication = state["authentication"]
        principal = await authentication.principal(connection, init)
        if not any_origin:
            self._origins.check(connection)
        context: Context = state["context"]
        own = context.of(
            principal,
            tells_cost=asks_for_cost(connection.scope),
            explores=may_explore(principal, self.explored_by),
        )
        return own if self._rates is None else self._rates.charging(own)

    def check_origin(self, connection: HTTPConnection) -> None:
        """Check the origin of a WebSocket that authenticates later, in its `connection_init`.

        Raises:
            ForbiddenError: ORIGIN_FORBIDDEN.
        """
        self._origins.check(connection)

    async def prepare(
        self, request: Request, negotiate: Callable[[Request], _T], *, any_origin: bool = False
    ) -> tuple[Context, RequestData, _T]:
        """Take an HTTP request through all checks.

        Args:
            request: the request, whose body has not been read.
            negotiate: checks the request by the transport's own terms, before its body is read.
            any_origin: as `authenticate` has it.

        Returns:
            The caller's context, the operation, and what was negotiated.

        Raises:
            ApiError: the request is refused.
        """
        context = await self.authenticate(request, any_origin=any_origin)
        terms = negotiate(request)
        reads = current_reads.get()
        reads.position = self.consistency.position(request)
        data = await request_data(request)
        self.resolve(data, reads)
        return context, data, terms

    def resolve(self, data: RequestData, reads: ReadRequirement) -> None:
        """Take an operation through the checks of its own, and find its document.

        Args:
            data: the operation.
            reads: what its reads require so far. Its consistency token may require more.

        Raises:
            ApiError: the operation is refused.
        """
        check_variables(data.variables)
        self._documents.resolve(data)
        if data.extensions is not None:
            reads.position = max(reads.position, self.consistency.position_in(data.extensions))
