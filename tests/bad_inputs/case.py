"""A case: the bytes to send, and the exact response that they have to get."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlencode

from schema.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bad_inputs.connection import Reply
    from tests.servers.issuer import Issuer

GRAPHQL: Final = "/api/graphql"
# With this media type, a document that is refused gets a status of its own.
NEW: Final = "application/graphql-response+json"
OLD: Final = "application/json"
# Part of the values that are sent. It must never appear in the log.
MARK: Final = "canary-in-a-value"
ORDER: Final = "{ order(orderKey: 1) { orderKey } }"
FOUND: Final[Mapping[str, object]] = {"data": {"order": {"orderKey": "1"}}}
_ABSENT: Final = object()
Header: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes to send on a connection.

    Args:
        content: the bytes.
        trickled_from: the offset from which they are sent one at a time.
        ended: whether the client closes its sending side afterwards.
        headless: whether the request is a HEAD, whose response has no body.
    """

    content: bytes
    trickled_from: int | None = None
    ended: bool = False
    headless: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected response.

    Args:
        status: the HTTP status; None if the server closes the connection without a response.
        reasons: the reasons of the errors, each once, in alphabetical order.
        data: the exact `data`; by default there is none.
        whole: the exact response body, as JSON; used instead of `reasons` and `data`.
        contains: JSON that the response body has to contain, possibly among other things.
        limit: the limit that a refusal has to name.
        headers: headers that the response has to have.
        replies: how many responses come. The last one is checked here; the ones before are those of a good request.
        closed: whether the server has to close the connection afterwards.
    """

    status: int | None
    reasons: tuple[str, ...] = ()
    data: object = _ABSENT
    whole: object = _ABSENT
    contains: object = _ABSENT
    limit: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    replies: int = 1
    closed: bool = False

    def wrong(self, reply: Reply | None) -> list[str]:
        """The deviations of a response, as sentences. None means that there was no response."""
        if reply is None or self.status is None:
            return [] if reply is None and self.status is None else [f"{self.status} was expected, and got {reply}"]
        found = [] if reply.status == self.status else [f"status {reply.status} instead of {self.status}"]
        found += [
            f"`{name}` is {reply.header(name)!r} instead of {value!r}"
            for name, value in self.headers.items()
            if reply.header(name) != value
        ]
        if self.whole is not _ABSENT and reply.json() != self.whole:
            found.append("another answer")
        if self.contains is not _ABSENT and not _contains(reply.json(), self.contains):
            found.append(f"not in the answer: {self.contains}")
        if self.reasons:
            found += self._wrong_errors(reply.json())
        return [f"{sentence}; it was {reply}" for sentence in found]

    def _wrong_errors(self, answer: Any) -> list[str]:
        if not isinstance(answer, dict):
            return ["no answer of GraphQL's"]
        errors = answer.get("errors", [])
        extensions_of_errors = [error.get("extensions", {}) for error in errors]
        found = []
        if tuple(sorted({extensions.get("reason") for extensions in extensions_of_errors})) != self.reasons:
            found.append(f"reasons other than {self.reasons}")
        elif any(
            extensions["code"] != Reason[extensions["reason"]].value.code.value for extensions in extensions_of_errors
        ):
            found.append("another code")
        if self.limit and {extensions.get("limit") for extensions in extensions_of_errors} != {self.limit}:
            found.append(f"limits other than {self.limit}")
        if answer.get("data", _ABSENT) != self.data:
            found.append("other data")
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """A bad input. `server` names the server that gets it."""

    name: str
    sent: Sent | Callable[[Issuer], Sent]
    expected: Expected
    server: str = "open"


def request(
    method: str, target: str, *headers: Header, body: bytes = b"", host: str | None = "127.0.0.1", length: bool = True
) -> Sent:
    """A well-formed HTTP request, except for the given parts."""
    given = [*([("Host", host)] if host is not None else []), *headers]
    if length and (body or method in {"POST", "PUT", "PATCH"}):
        given.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in given)
    return Sent(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body, headless=method == "HEAD")


def post(body: object, *headers: Header, content_type: str | None = OLD, accept: str | None = NEW) -> Sent:
    """A POST. Bytes are sent unchanged, anything else as JSON."""
    given = [
        *([("Content-Type", content_type)] if content_type is not None else []),
        *([("Accept", accept)] if accept is not None else []),
        *headers,
    ]
    return request("POST", GRAPHQL, *given, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def ask(document: str, variables: Mapping[str, object] | None = None, *headers: Header, accept: str = NEW) -> Sent:
    """A POST of a document with its variables."""
    body: dict[str, object] = {"query": document}
    return post(body if variables is None else {**body, "variables": variables}, *headers, accept=accept)


def get(parameters: Mapping[str, str], *headers: Header, accept: str = NEW) -> Sent:
    """A GET with these parameters."""
    return request("GET", f"{GRAPHQL}?{urlencode(parameters)}", ("Accept", accept), *headers)


def refused(status: int, reason: str, **more: Any) -> Expected:
    """A refusal before execution, so without data."""
    return Expected(status, (reason,), **more)


def partly(data: object, *reasons: str) -> Expected:
    """A response with errors, and null in their places."""
    return Expected(200, tuple(sorted(reasons)), data=data)


def fine(answer: object = FOUND, **more: Any) -> Expected:
    """A success: the input turns out to be acceptable."""
    return Expected(200, whole=answer, **more)


def silent() -> Expected:
    """The server closes the connection without a response."""
    return Expected(None, closed=True)


def _contains(answer: object, contains: object) -> bool:
    if isinstance(contains, dict):
        return isinstance(answer, dict) and all(_contains(answer.get(name), value) for name, value in contains.items())
    return answer == contains
