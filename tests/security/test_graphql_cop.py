"""The requests of graphql-cop 1.15 (github.com/dolevf/graphql-cop), each with what it takes for a finding: 13 of 13.

It sends them without a token; so does this, and then with that of a reader, who gets past the first refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import httpx

    from tests.security.conftest import Attacked, Caller

Check = tuple[dict[str, Any], Callable[["httpx.Response"], Any]]


def posted(query: str) -> dict[str, Any]:
    """How it sends a query."""
    return {"method": "POST", "json": {"query": query, "operationName": "cop"}}


def by_get(query: str) -> dict[str, Any]:
    """How it sends one in a URL."""
    return {"method": "GET", "params": {"query": query}}


def has_data(response: httpx.Response) -> bool:
    """Whether anything was run."""
    return bool((response.json().get("data") or {}).get("__typename"))


_CIRCULAR: Final = f"fields {{ {'type { fields { ' * 3}type {{ name }}{' } }' * 3} }}"
_BATCH: Final = [{"query": "query cop { __typename }"}] * 10
_IDES: Final = ("graphiql.min.css", "GraphQL Playground", "GraphiQL", "graphql-playground")
# The request, and whether its answer is a finding.
CHECKS: Final[dict[str, Check]] = {
    "introspection": (
        posted("query cop { __schema { types { name fields { name } } } }"),
        lambda response: (response.json().get("data") or {}).get("__schema"),
    ),
    "an IDE": (
        {"method": "GET", "headers": {"accept": "text/html"}},
        # To the tool a response of 400 or more is none.
        lambda response: not response.is_error and any(word in response.text for word in _IDES),
    ),
    "field suggestions": (
        posted("query cop { __schema { directive } }"),
        lambda response: any("Did you mean" in error["message"] for error in response.json()["errors"]),
    ),
    "queries by GET": (by_get("query cop {__typename}"), has_data),
    "mutations by GET": (by_get("mutation cop {__typename}"), has_data),
    "a form by POST": ({"method": "POST", "data": {"query": "query cop { __typename }"}}, has_data),
    "tracing": (
        posted("query cop { __typename }"),
        lambda response: "tracing" in str(response.json().get("extensions")) + str(response.json().get("errors")),
    ),
    "101 aliases": (
        posted(f"query cop {{ {' '.join(f'alias{number}:__typename' for number in range(101))} }}"),
        lambda response: "alias100" in (response.json().get("data") or {}),
    ),
    "a batch of ten": (
        {"method": "POST", "json": _BATCH},
        lambda response: isinstance(response.json(), list) and len(response.json()) >= 10,
    ),
    "ten times a directive": (
        posted(f"query cop {{ __typename {'@aa' * 10} }}"),
        lambda response: len(response.json().get("errors", [])) == 10,
    ),
    "a circular introspection": (
        posted(f"query cop {{ __schema {{ types {{ {_CIRCULAR} }} }} }}"),
        lambda response: len(((response.json().get("data") or {}).get("__schema") or {}).get("types", [])) > 25,
    ),
    "500 times a field": (posted("query cop { %s}" % ("__typename \n" * 500)), has_data),
    "an unhandled error": (
        posted("qwerty cop { abc }"),
        lambda response: any("exception" in error["extensions"] for error in response.json()["errors"]),
    ),
}  # fmt: skip
# What is found there is meant, and why it does no harm is a test of its own.
_MEANT: Final = "queries by GET"


def finds(caller: Caller, check: str) -> bool:
    """Whether graphql-cop would name it."""
    request, is_finding = CHECKS[check]
    return bool(is_finding(caller.send(**request)))


def test_these_are_all() -> None:
    """As many as the tool has."""
    assert len(CHECKS) == 13


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_token_nothing_is_found(attacked: Attacked, check: str) -> None:
    """As whoever runs the tool against the address."""
    assert not finds(attacked.nobody, check)


@pytest.mark.parametrize("check", [check for check in CHECKS if check != _MEANT])
def test_a_reader_finds_nothing_either(attacked: Attacked, check: str) -> None:
    """With a token nothing of it is refused for want of one: each has its own refusal."""
    assert not finds(attacked.caller("reader"), check)


def test_a_query_by_get_is_meant_and_no_other_page_can_use_it(attacked: Attacked) -> None:
    """The tool calls it a possible CSRF.

    It needs a token, which no browser adds by itself; it changes nothing; and no page of another origin may read its
    answer, which no shared cache may keep.
    """
    reader = attacked.caller("reader", "writer")
    assert finds(reader, _MEANT)
    assert attacked.nobody.send("GET", params={"query": "{ __typename }"}).status_code == 401
    change = "mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }"
    assert reader.send("GET", params={"query": change}).status_code == 405
    answer = reader.send("GET", params={"query": "{ __typename }"}, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"].startswith(("private", "no-store"))
