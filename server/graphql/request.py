"""Reading a GraphQL request, from its URL or its body: the document, the variables and the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import ClientDisconnect
from strawberry.http import GraphQLRequestData

from schema.errors import Reason, RequestError
from schema.limits.prices import body_points
from schema.limits.structure import check_structure
from server.http.client import COST_HEADER, REFUSAL, header
from server.http.consistency import EXTENSION as CONSISTENCY_TOKEN
from server.http.negotiation import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope

    from schema.context import Account

_COST_HEADER: Final = COST_HEADER.encode()
_INCLUDE: Final = "include"
# Content types are cached, because clients send the same few.
_CONTENT_TYPES: Final = 128
# The parameters of a URL that ask for an operation.
_ASKING: Final = ("query", "documentId", "doc_id", "extensions")
# A parameter with one of these values is absent: forms send empty texts, npm's graphql-ws an empty `query` beside a
# hash, and generated code null.
_ABSENT: Final = (None, "")
_PERSISTED: Final = "persistedQuery"
_PERSISTED_VERSION: Final = 1
_COST: Final = "cost"


@dataclass
class RequestData(GraphQLRequestData):
    """What a request asks for. Its `extensions` hold only those that the server knows.

    Attributes:
        document_id: names the document, if its text is not sent, or in addition to it.
        offered: whether the text was sent to be remembered by its hash.
        values: how many values the variables have; 0 if they are few.
    """

    document_id: str | None = None
    offered: bool = False
    values: int = 0


def names_operation(request: Request) -> bool:
    """Whether a GET asks for an operation."""
    return any(request.query_params.get(name) for name in _ASKING)


def asks_for_cost(scope: Scope) -> bool:
    """Whether the answers to a request, or to all operations of a WebSocket, include the cost."""
    value = header(scope, _COST_HEADER)
    return value is not None and value.strip().lower() == _INCLUDE


async def request_data(request: Request, account: Account | None) -> RequestData:
    """Read a GET or a POST.

    Args:
        request: the request.
        account: pays for a long body, before it is parsed.

    Raises:
        ClientDisconnect: the client has gone away before the end of the body.
        LimitError: LIMIT_EXCEEDED, the body has too many values.
        RequestError: CONTENT_TYPE_UNSUPPORTED, CONTENT_ENCODING_UNSUPPORTED, BODY_INVALID, PARAMETER_INVALID, or what
            the connection finds wrong with the body.
        RateLimitedError: the caller cannot pay for the body.
    """
    if request.method == "GET":
        return data_of(_from_url(request))
    _check_body_headers(request.scope)
    body = await _body(request.receive, request.scope)
    if account is not None:
        pay_for(len(body), account)
    return data_of(_from_body(body))


def pay_for(size: int, account: Account) -> None:
    """Have a caller pay for a body or a message of so many bytes.

    Raises:
        RateLimitedError: it has too few points.
    """
    if points := body_points(size):
        account.pay(points)


def data_of(parameters: Mapping[str, object]) -> RequestData:
    """Check the types of a request's parameters. On every transport, null and an empty text mean an absent parameter.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    given = _given(parameters)
    extensions = _optional(given, "extensions", dict, "an object")
    digest = persisted_hash(extensions) if extensions else None
    return RequestData(
        query=_optional(given, "query", str, "a string"),
        operation_name=_optional(given, "operationName", str, "a string"),
        variables=_optional(given, "variables", dict, "an object"),
        extensions=_known(extensions, digest) if extensions else None,
        document_id=_document_id(given, digest),
    )


def _from_url(request: Request) -> dict[str, object]:
    given: dict[str, object] = {**request.query_params}
    for name in ("variables", "extensions"):
        if text := request.query_params.get(name):
            given[name] = _json(text.encode(), reason=Reason.PARAMETER_INVALID, what=f"`{name}`")
    return given


def _check_body_headers(scope: Scope) -> None:
    content_types, encoded = [], False
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_types.append(value)
        elif name == b"content-encoding":
            encoded = encoded or value.strip().lower() != b"identity"
    # If there are two, a proxy or a browser may have checked the other one.
    if len(content_types) != 1 or not _is_json(content_types[0].decode("latin-1")):
        raise RequestError(Reason.CONTENT_TYPE_UNSUPPORTED, f"Send the request as {JSON}, in UTF-8.")
    if encoded:
        raise RequestError(Reason.CONTENT_ENCODING_UNSUPPORTED, "Send the body uncompressed.")


def _from_body(text: bytes) -> dict[str, object]:
    body = _json(text, reason=Reason.BODY_INVALID, what="The body")
    if not isinstance(body, dict):
        kind = "a batch, which is not supported" if isinstance(body, list) else "not a JSON object"
        raise RequestError(Reason.BODY_INVALID, f"The body is {kind}.")
    return body


async def _body(receive: Receive, scope: Scope) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            # The connection ends a body that is too long, too slow or badly framed, and leaves the reason here.
            if refusal := scope.get(REFUSAL):
                # The error's traceback has this frame, which has the error: a cycle, that would keep the body too.
                chunks.clear()
                del message
                raise refusal
            return b"".join(chunks)


@lru_cache(maxsize=_CONTENT_TYPES)
def _is_json(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = {part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")}
    return kind == JSON and charsets <= {"utf-8", "utf8"}


def _json(text: bytes, *, reason: Reason, what: str) -> object:
    check_structure(text, what)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RequestError(reason, f"{what} is not JSON in UTF-8.") from None


def _given(parameters: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if value not in _ABSENT}


def _known(extensions: Mapping[str, object], digest: str | None) -> dict[str, object] | None:
    """The extensions that the server knows; None if there are none. A subscription would keep the others for hours."""
    known: dict[str, object] = {}
    if digest is not None:
        known[_PERSISTED] = {"version": _PERSISTED_VERSION, "sha256Hash": digest}
    if (token := extensions.get(CONSISTENCY_TOKEN)) not in _ABSENT:
        known[CONSISTENCY_TOKEN] = token
    if extensions.get(_COST) is True:
        known[_COST] = True
    return known or None


def _document_id(given: Mapping[str, object], digest: str | None) -> str | None:
    """The document's id, as GraphQL over HTTP, Relay's network layers or Apollo's extension send it."""
    sent = (
        _optional(given, "documentId", str, "a string"),
        _optional(given, "doc_id", str, "a string"),
        digest,
    )
    ids = {id_ for id_ in sent if id_ is not None}
    if len(ids) > 1:
        raise RequestError(
            Reason.PARAMETER_INVALID,
            "`documentId`, `doc_id` and `extensions.persistedQuery.sha256Hash` differ. Send one of them.",
        )
    return ids.pop() if ids else None


def persisted_hash(extensions: Mapping[str, object]) -> str | None:
    """The hash in Apollo's extension; None if the extension or its hash is absent."""
    persisted = extensions.get(_PERSISTED)
    if isinstance(persisted, dict):
        persisted = _given(persisted)
    if persisted in (*_ABSENT, {}, {"version": _PERSISTED_VERSION}):
        return None
    if not isinstance(persisted, dict) or persisted.get("version") != _PERSISTED_VERSION:
        raise RequestError(
            Reason.PARAMETER_INVALID, f"The version of `extensions.persistedQuery` must be {_PERSISTED_VERSION}."
        )
    digest = persisted.get("sha256Hash")
    if not isinstance(digest, str):
        raise RequestError(Reason.PARAMETER_INVALID, "`extensions.persistedQuery.sha256Hash` must be a string.")
    return digest


def _optional(given: Mapping[str, object], name: str, kind: type, expected: str) -> Any:
    value = given.get(name)
    if value is not None and not isinstance(value, kind):
        raise RequestError(Reason.PARAMETER_INVALID, f"`{name}` must be {expected}.")
    return value
