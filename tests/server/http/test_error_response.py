"""Error responses: nothing of an exception leaves the process unless it is meant for the client."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from schema.errors import InputError, Reason, UnavailableError
from server.http.error_response import present

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


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, RecursionError])
def test_an_exception_before_execution_is_masked(kind: type[Exception]) -> None:
    """It was raised while the document was parsed or validated."""
    error = GraphQLError(DSN, original_error=kind(DSN))
    answer, _ = present(PreExecutionError(data=None, errors=[error]))
    assert "hunter2" not in str(answer)
    assert "data" not in answer


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
