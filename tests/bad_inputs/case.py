"""Owns the form of a case: what is sent, and the exact answer that it has to get."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlencode

from schema.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bad_inputs.connection import Reply
    from tests.issuer import Issuer

GRAPHQL: Final = "/api/graphql"
# In which what is wrong with a document has a status of its own.
NEW: Final = "application/graphql-response+json"
OLD: Final = "application/json"
# In values that are sent: nothing of it may be in the log.
MARK: Final = "canary-in-a-value"
ORDER: Final = "{ order(orderKey: 1) { orderKey } }"
FOUND: Final[Mapping[str, object]] = {"data": {"order": {"orderKey": "1"}}}
_ABSENT: Final = object()
Header: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes for a connection.

    Args:
        content: the bytes.
        trickled_from: where they are sent one at a time from.
        ended: whether the connection is closed for more.
        headless: whether the answer is that to a HEAD.
    """

    content: bytes
    trickled_from: int | None = None
    ended: bool = False
    headless: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to come back.

    Args:
        status: HTTP's; None where the connection is closed without an answer.
        reasons: of the errors, each once, in the order of the alphabet.
        data: the exact `data`; there is none where this is not given.
        whole: the exact answer, as JSON; instead of reasons and data.
        said: what the JSON of the answer has to contain, more may be beside it.
        limit: the limit that a refusal has to name.
        headers: that have to be there.
        replies: how many answers come; the expectation is of the last one, the others are a good request's.
        closed: whether the server has to close the connection then.
    """

    status: int | None
    reasons: tuple[str, ...] = ()
    data: object = _ABSENT
    whole: object = _ABSENT
    said: object = _ABSENT
    limit: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    replies: int = 1
    closed: bool = False

    def wrong(self, reply: Reply | None) -> list[str]:
        """What is wrong with an answer, in sentences; None stands for none."""
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
        if self.said is not _ABSENT and not _contains(reply.json(), self.said):
            found.append(f"not in the answer: {self.said}")
        if self.reasons:
            found += self._wrong_errors(reply.json())
        return [f"{sentence}; it was {reply}" for sentence in found]

    def _wrong_errors(self, answer: Any) -> list[str]:
        if not isinstance(answer, dict):
            return ["no answer of GraphQL's"]
        errors = answer.get("errors", [])
        told = [error.get("extensions", {}) for error in errors]
        found = []
        if tuple(sorted({extensions.get("reason") for extensions in told})) != self.reasons:
            found.append(f"reasons other than {self.reasons}")
        elif any(extensions["code"] != Reason[extensions["reason"]].value.code.value for extensions in told):
            found.append("another code")
        if self.limit and {extensions.get("limit") for extensions in told} != {self.limit}:
            found.append(f"limits other than {self.limit}")
        if answer.get("data", _ABSENT) != self.data:
            found.append("other data")
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """One bad input. `server` is the name of the one that it is for."""

    name: str
    sent: Sent | Callable[[Issuer], Sent]
    expected: Expected
    server: str = "open"


def request(
    method: str, target: str, *headers: Header, body: bytes = b"", host: str | None = "127.0.0.1", length: bool = True
) -> Sent:
    """An HTTP request as it should be, but for what is given."""
    given = [*([("Host", host)] if host is not None else []), *headers]
    if length and (body or method in {"POST", "PUT", "PATCH"}):
        given.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in given)
    return Sent(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body, headless=method == "HEAD")


def post(body: object, *headers: Header, content_type: str | None = OLD, accept: str | None = NEW) -> Sent:
    """A POST of bytes as they are, and of anything else as JSON."""
    given = [
        *([("Content-Type", content_type)] if content_type is not None else []),
        *([("Accept", accept)] if accept is not None else []),
        *headers,
    ]
    return request("POST", GRAPHQL, *given, body=body if isinstance(body, bytes) else json.dumps(body).encode())


def ask(document: str, variables: Mapping[str, object] | None = None, *headers: Header, accept: str = NEW) -> Sent:
    """A document with its variables, by POST."""
    body: dict[str, object] = {"query": document}
    return post(body if variables is None else {**body, "variables": variables}, *headers, accept=accept)


def get(parameters: Mapping[str, str], *headers: Header, accept: str = NEW) -> Sent:
    """A GET with these parameters."""
    return request("GET", f"{GRAPHQL}?{urlencode(parameters)}", ("Accept", accept), *headers)


def refused(status: int, reason: str, **more: Any) -> Expected:
    """Nothing was run, and so there is no data."""
    return Expected(status, (reason,), **more)


def partly(data: object, *reasons: str) -> Expected:
    """Nulls where errors are, and all the rest."""
    return Expected(200, tuple(sorted(reasons)), data=data)


def fine(answer: object = FOUND, **more: Any) -> Expected:
    """What turns out to be no mistake, and is answered."""
    return Expected(200, whole=answer, **more)


def silent() -> Expected:
    """The connection is closed, and nothing was said on it."""
    return Expected(None, closed=True)


def _contains(answer: object, said: object) -> bool:
    if isinstance(said, dict):
        return isinstance(answer, dict) and all(_contains(answer.get(name), value) for name, value in said.items())
    return answer == said
