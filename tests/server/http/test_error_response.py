"""Error responses: nothing of an exception leaves the process unless it is meant for the client."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from schema.errors import (
    ApiError,
    InputError,
    OutcomeUnknownError,
    RateLimitedError,
    Reason,
    RequestError,
    UnavailableError,
)
from server.http.error_response import present, present_refusal, refusal_headers, retry_headers

DSN = "postgresql://user:hunter2@host"


def raised(cause: Exception) -> GraphQLError:
    """A resolver's exception as graphql-core wraps it."""
    return GraphQLError(str(cause), path=["orders"], original_error=cause)


@pytest.mark.parametrize(
    "message",
    [
        DSN,
        f"Argument 'dsn' has incorrect type: {DSN}",
        f"Cannot return null for non-nullable field {DSN}",
        f"Cannot return null for non-nullable field Order.clerk. {DSN}",
    ],
)
@pytest.mark.parametrize("kind", [RuntimeError, TypeError, KeyError, ValueError])
def test_an_exception_of_a_resolver_is_masked(message: str, kind: type[Exception]) -> None:
    """Whatever its message is, the client gets an internal error with an id."""
    answer, status = present(ExecutionResult(data={"orders": None}, errors=[raised(kind(message))]))
    assert status == 500
    assert "hunter2" not in str(answer)
    assert answer["errors"][0]["extensions"]["reason"] == "INTERNAL"
    assert answer["errors"][0]["path"] == ["orders"]


@pytest.mark.parametrize("link", ["__context__", "__cause__"])
def test_a_ring_of_exceptions_is_answered(link: str) -> None:
    """As a connection that is lost leaves: each of two errors was raised while the other was handled."""
    first, second = OSError(DSN), OSError(DSN)
    first.__context__ = second
    setattr(second, link, first)
    answer, _ = present(ExecutionResult(data={"orders": None}, errors=[raised(first)]))
    assert answer["errors"][0]["extensions"]["reason"] == "INTERNAL"


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, RecursionError])
def test_an_exception_before_execution_is_masked(kind: type[Exception]) -> None:
    """It was raised while the document was parsed or validated."""
    error = GraphQLError(DSN, original_error=kind(DSN))
    answer, _ = present(PreExecutionError(data=None, errors=[error]))
    assert "hunter2" not in str(answer)
    assert "data" not in answer


def every_error() -> list[ApiError]:
    """An error of each reason that may be retried, and errors that may not."""
    rate = Reason.RATE_LIMITED
    return [
        *(
            next(kind for kind in (RequestError, UnavailableError) if reason in kind.reasons)(reason, "Later.")
            for reason in Reason
            if reason.value.retry
            and reason.value.where == "errors"
            and reason.value.code is not rate.value.code
            and reason is not Reason.OUTCOME_UNKNOWN
        ),
        OutcomeUnknownError(with_key=True),
        OutcomeUnknownError(with_key=False),
        *(RateLimitedError(rate, "Later.", retry_after_seconds=seconds) for seconds in (7, None)),
        InputError(Reason.CURSOR_INVALID, "Never."),
        UnavailableError(Reason.CONTROL_PLANE_NOT_CONFIGURED, "Never."),
    ]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: f"{error.reason.name}-{error.retryable}")
def test_a_retryable_error_says_in_how_many_seconds(error: ApiError) -> None:
    """Clients that read errors see no headers. The header of a failed response has the same number, and no other has it."""
    refused, refused_status = present_refusal(error)
    executed, executed_status = present(ExecutionResult(data={"orders": None}, errors=[raised(error)]))
    for answer, status, headers in (
        (refused, refused_status, refusal_headers(error)),
        (executed, executed_status, retry_headers(executed, executed_status)),
    ):
        extensions = answer["errors"][0]["extensions"]
        assert extensions["retryable"] is error.retryable
        assert extensions.get("retryAfter") == error.retry_after_seconds
        told = error.retryable and status >= 400
        assert headers == ({"retry-after": str(extensions["retryAfter"])} if told else {})


def test_the_header_has_the_longest_of_several_waits() -> None:
    """Before it the whole request cannot succeed."""
    slow = RateLimitedError(Reason.RATE_LIMITED, "Later.", retry_after_seconds=9)
    busy = UnavailableError(Reason.POOL_EXHAUSTED, "Later.")
    answer, status = present(ExecutionResult(data={"a": None, "b": None}, errors=[raised(busy), raised(slow)]))
    assert retry_headers(answer, status) == {"retry-after": "9"}


def test_without_data_the_status_is_that_of_the_worst_error() -> None:
    """Any data makes it 200, but a list of nulls is no data. Bad input to a resolver alone does not fail the request."""
    gone = raised(UnavailableError(Reason.DATABASE_UNAVAILABLE, "gone"))
    slow = raised(UnavailableError(Reason.STATEMENT_TIMEOUT, "slow"))
    wrong = raised(InputError(Reason.CURSOR_INVALID, "wrong"))
    cases: list[tuple[dict[str, Any] | None, list[GraphQLError], int]] = [
        ({"a": None}, [gone], 503),
        ({"a": None, "b": None}, [wrong, gone], 503),
        ({"a": None}, [slow], 504),
        ({"a": None}, [wrong], 200),
        ({"a": None, "b": 0}, [gone], 200),
        ({"a": [None, None]}, [gone], 503),
        ({"a": [None, {}]}, [gone], 200),
        ({"a": None, "b": []}, [gone], 200),
        (None, [gone], 503),
        ({"a": None}, [], 200),
    ]
    for data, errors, status in cases:
        assert present(ExecutionResult(data=data, errors=errors or None))[1] == status
