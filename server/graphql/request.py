"""Owns the reading of a GraphQL request: its document, variables and the rest, from a URL or a body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from graphql import GraphQLError, OperationType, get_operation_ast, parse
from starlette.requests import ClientDisconnect
from strawberry.http import GraphQLRequestData

from schema.errors import Reason, RequestError
from server.http.client import REFUSAL, header
from server.http.negotiation import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope

# Clients send the same few.
_REMEMBERED: Final = 128
# What a URL asks with, besides by `query`.
_ASKING: Final = frozenset({"query", "documentId", "doc_id", "extensions"})
_PERSISTED_VERSION: Final = 1


@dataclass
class RequestData(GraphQLRequestData):
    """What a request asks for.

    `document_id` names the document where its text is not sent, or beside it; `offered` is that the text is there to
    be remembered by its hash.
    """

    document_id: str | None = None
    offered: bool = False


def asks(request: Request) -> bool:
    """Whether a GET asks for anything to be run."""
    return not _ASKING.isdisjoint(request.query_params.keys())


async def request_data(request: Request) -> RequestData:
    """What a GET or a POST asks for.

    Raises:
        RequestError: CONTENT_TYPE_UNSUPPORTED, CONTENT_ENCODING_UNSUPPORTED, BODY_INVALID, PARAMETER_INVALID, or what
            the connection finds wrong with the body.
    """
    if request.method == "GET":
        return data_of(_from_url(request))
    _check_body_headers(request.scope)
    return data_of(_from_body(await _body(request.receive, request.scope)))


def _from_url(request: Request) -> dict[str, object]:
    # An empty parameter is an absent one, as a form sends it.
    given: dict[str, object] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if isinstance(text := given.get(name), str):
            given[name] = _json(text.encode(), reason=Reason.PARAMETER_INVALID, what=f"`{name}`")
    return given


def _check_body_headers(scope: Scope) -> None:
    kinds, encoded = [], False
    for name, value in scope["headers"]:
        if name == b"content-type":
            kinds.append(value)
        elif name == b"content-encoding":
            encoded = encoded or value.strip().lower() != b"identity"
    # Of two, whoever looked before may have believed the other.
    if len(kinds) != 1 or not _is_json(kinds[0].decode("latin-1")):
        raise RequestError(Reason.CONTENT_TYPE_UNSUPPORTED, f"Send the request as {JSON}, in UTF-8.")
    if encoded:
        raise RequestError(Reason.CONTENT_ENCODING_UNSUPPORTED, "Send the body as it is, and not compressed.")


def _from_body(text: bytes) -> dict[str, object]:
    body = _json(text, reason=Reason.BODY_INVALID, what="The body")
    if not isinstance(body, dict):
        kind = "a batch, which is not served here" if isinstance(body, list) else "not a JSON object"
        raise RequestError(Reason.BODY_INVALID, f"The body is {kind}.")
    return body


async def _body(receive: Receive, scope: Scope) -> bytes:
    """The whole body.

    Raises:
        ClientDisconnect: the caller has gone away before its end.
        RequestError: it is too long, too slow, or not framed as HTTP has it.
    """
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            if refusal := scope.get(REFUSAL):
                raise refusal
            return b"".join(chunks)


@lru_cache(maxsize=_REMEMBERED)
def _is_json(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")}
    return kind == JSON and charsets <= {"utf-8", "utf8"}


def _json(text: bytes, *, reason: Reason, what: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RequestError(reason, f"{what} is not JSON in UTF-8.") from None


def data_of(parameters: Mapping[str, object]) -> RequestData:
    """The parts of a request, held to their types.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    extensions = _optional(parameters, "extensions", dict, "an object")
    return RequestData(
        query=_optional(parameters, "query", str, "a string"),
        operation_name=_optional(parameters, "operationName", str, "a string"),
        variables=_optional(parameters, "variables", dict, "an object"),
        extensions=extensions,
        document_id=_document_id(parameters, extensions),
    )


def _document_id(parameters: Mapping[str, object], extensions: dict[str, Any] | None) -> str | None:
    """What names the document: as GraphQL over HTTP has it, as Relay's network layers do, or in Apollo's extension."""
    name = "documentId" if "documentId" in parameters else "doc_id"
    named: str | None = _optional(parameters, name, str, "a string") if name in parameters else None
    persisted = extensions.get("persistedQuery") if extensions else None
    if persisted is None:
        return named
    if not isinstance(persisted, dict) or persisted.get("version") != _PERSISTED_VERSION:
        raise RequestError(
            Reason.PARAMETER_INVALID, f"`extensions.persistedQuery` has to be of version {_PERSISTED_VERSION}."
        )
    hashed = persisted.get("sha256Hash")
    if not isinstance(hashed, str) or named not in {None, hashed}:
        wrong = "has to be a string, and no other than the id beside it"
        raise RequestError(Reason.PARAMETER_INVALID, f"`extensions.persistedQuery.sha256Hash` {wrong}.")
    return hashed


def _optional(parameters: Mapping[str, object], name: str, kind: type, said: str) -> Any:
    value = parameters.get(name)
    if value is not None and not isinstance(value, kind):
        raise RequestError(Reason.PARAMETER_INVALID, f"`{name}` has to be {said}.")
    return value


def is_subscription(data: GraphQLRequestData) -> bool:
    """Whether an operation would go on for ever; False where it cannot be told, for that ends by itself."""
    try:
        operation = get_operation_ast(parse(data.query or "", no_location=True), data.operation_name)
    except (GraphQLError, RecursionError):
        return False
    return operation is not None and operation.operation is OperationType.SUBSCRIPTION


COST_HEADER: Final = "x-graphql-cost"


_NAME: Final = COST_HEADER.encode()


_INCLUDE: Final = "include"


def asks_for_cost(scope: Scope) -> bool:
    """Whether the answers to a request, or those over a WebSocket that it opens, are to tell the cost."""
    value = header(scope, _NAME)
    return value is not None and value.strip().lower() == _INCLUDE
