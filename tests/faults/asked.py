"""A request that is weighed, and how one is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
GRAPHQL: Final = "/api/graphql"
STREAM: Final = "/api/graphql/stream"
# What the others are compared with.
ORDINARY: Final = "page of 10 orders with 5 fields"
FIELDS: Final = "id orderKey status totalPrice orderDate"
ALL_FIELDS: Final = (
    "id orderKey customerKey status totalPrice orderDate orderPriority clerk shipPriority comment statusVersion "
    "statusUpdatedAt statusUpdatedBy syncedStatus statusSuperseded"
)
LAST_KEY: Final = 6_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `make` returns what is sent the n-th time: a body or text, and for a GET the parameters of the URL.

    `transport` is `post`, `get`, `sse`, `websocket`, or `subscription`: server-sent events up to the first one.
    """

    name: str
    make: Callable[[int], Any]
    transport: str = "post"
    content_type: str = JSON


def known(name: str, query: str, transport: str = "post", **variables: Any) -> Asked:
    """A request whose document is always the same."""
    return Asked(name, lambda _: body_of(query, variables), transport)


def new(name: str, query: Callable[[int], str], transport: str = "post") -> Asked:
    """A request with another document each time."""
    return Asked(name, lambda number: body_of(query(number), {}), transport)


def varied(name: str, query: str, variables: Callable[[int], dict[str, Any]]) -> Asked:
    """A request with other variables each time."""
    return Asked(name, lambda number: body_of(query, variables(number)))


def body_of(query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The body of a request."""
    return {"query": query, **({"variables": variables} if variables else {})}


def page_of(arguments: str, selection: str = "id") -> str:
    """A document that asks for a page of orders."""
    return f"{{ orders({arguments}) {{ nodes {{ {selection} }} }} }}"


def aliases(number: int, write: Callable[[int], str]) -> str:
    """A document with so many fields, each under an alias."""
    return f"{{ {' '.join(f'a{n}: {write(n)}' for n in range(number))} }}"
