"""The 13 requests of graphql-cop 1.15 (github.com/dolevf/graphql-cop), and the responses that it counts as findings.

The tool sends them without a token. So do these tests, and then with a reader's token, which gets past the first
refusal.
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
    """Send a query as the tool does by POST."""
    return {"method": "POST", "json": {"query": query, "operationName": "cop"}}


def by_get(query: str) -> dict[str, Any]:
    """Send a query as the tool does in a URL."""
    return {"method": "GET", "params": {"query": query}}


def has_data(response: httpx.Response) -> bool:
    """Whether anything was executed."""
    return bool((response.json().get("data") or {}).get("__typename"))


_CIRCULAR: Final = f"fields {{ {'type { fields { ' * 3}type {{ name }}{' } }' * 3} }}"
_BATCH: Final = [{"query": "query cop { __typename }"}] * 10
_IDES: Final = ("graphiql.min.css", "GraphQL Playground", "GraphiQL", "graphql-playground")
# The tool's requests, and whether a response is a finding.
CHECKS: Final[dict[str, Check]] = {
    "introspection": (
        posted("query cop { __schema { types { name fields { name } } } }"),
        lambda response: (response.json().get("data") or {}).get("__schema"),
    ),
    "an IDE": (
        {"method": "GET", "headers": {"accept": "text/html"}},
        # The tool ignores responses of 400 and above.
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
# This finding is intended. Another test shows why it does no harm.
_MEANT: Final = "queries by GET"


def finds(caller: Caller, check: str) -> bool:
    """Whether graphql-cop would report a finding."""
    request, is_finding = CHECKS[check]
    return bool(is_finding(caller.send(**request)))


def test_every_check_of_the_tool_is_here() -> None:
    """There are as many checks as the tool has."""
    assert len(CHECKS) == 13


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_token_nothing_is_found(attacked: Attacked, check: str) -> None:
    """Run against the address without a token, the tool finds nothing."""
    assert not finds(attacked.nobody, check)


@pytest.mark.parametrize("check", [check for check in CHECKS if check != _MEANT])
def test_a_reader_finds_nothing_either(attacked: Attacked, check: str) -> None:
    """With a reader's token, each request is refused for its own reason, not for a missing token."""
    assert not finds(attacked.caller("reader"), check)


def test_queries_by_get_are_intended_and_no_other_page_can_use_them(attacked: Attacked) -> None:
    """The tool reports queries by GET as possible CSRF.

    A query needs a token, which no browser adds by itself. It changes nothing. No page of another origin can read the
    response, and no shared cache may store it.
    """
    reader = attacked.caller("reader", "writer")
    assert finds(reader, _MEANT)
    assert attacked.nobody.send("GET", params={"query": "{ __typename }"}).status_code == 401
    change = "mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }"
    assert reader.send("GET", params={"query": change}).status_code == 405
    answer = reader.send("GET", params={"query": "{ __typename }"}, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"].startswith(("private", "no-store"))
