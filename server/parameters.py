"""Owns the reading of a GraphQL request: its document, variables and the rest, from a URL or a body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from strawberry.http import GraphQLRequestData

from schema.errors import Reason, RequestError
from server.negotiation import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request


async def request_data(request: Request) -> GraphQLRequestData:
    """What a GET or a POST asks for.

    Raises:
        RequestError: CONTENT_TYPE_UNSUPPORTED, BODY_INVALID, PARAMETER_INVALID.
    """
    return data_of(_from_url(request) if request.method == "GET" else await _from_body(request))


def accepted_by(request: Request) -> str | None:
    """The Accept header; several lines are one list."""
    return ", ".join(request.headers.getlist("accept")) or None


def _from_url(request: Request) -> dict[str, object]:
    # An empty parameter is an absent one, as a form sends it.
    given: dict[str, object] = {name: value for name, value in request.query_params.items() if value}
    for name in ("variables", "extensions"):
        if isinstance(text := given.get(name), str):
            given[name] = _json(text.encode(), reason=Reason.PARAMETER_INVALID, what=f"`{name}`")
    return given


async def _from_body(request: Request) -> dict[str, object]:
    kind, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    charsets = {part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")}
    if kind != JSON or not charsets <= {"utf-8", "utf8"}:
        raise RequestError(Reason.CONTENT_TYPE_UNSUPPORTED, f"Send the request as {JSON}, in UTF-8.")
    body = _json(await request.body(), reason=Reason.BODY_INVALID, what="The body")
    if not isinstance(body, dict):
        kind = "a batch, which is not served here" if isinstance(body, list) else "not a JSON object"
        raise RequestError(Reason.BODY_INVALID, f"The body is {kind}.")
    return body


def _json(text: bytes, *, reason: Reason, what: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RequestError(reason, f"{what} is not JSON in UTF-8.") from None


def data_of(parameters: Mapping[str, object]) -> GraphQLRequestData:
    """The parts of a request, held to their types.

    Raises:
        RequestError: PARAMETER_INVALID.
    """
    query, name = (_optional(parameters, key, str, "a string") for key in ("query", "operationName"))
    variables, extensions = (_optional(parameters, key, dict, "an object") for key in ("variables", "extensions"))
    return GraphQLRequestData(query=query, variables=variables, operation_name=name, extensions=extensions)


def _optional(parameters: Mapping[str, object], name: str, kind: type, said: str) -> Any:
    value = parameters.get(name)
    if value is not None and not isinstance(value, kind):
        raise RequestError(Reason.PARAMETER_INVALID, f"`{name}` has to be {said}.")
    return value
