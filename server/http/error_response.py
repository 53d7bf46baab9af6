"""Error responses: which errors a client sees, with which messages, and the HTTP status of the response."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.types.execution import PreExecutionError

from schema.errors import ApiError, InternalError, Reason, UnauthenticatedError
from schema.messages.names import advice_without_names, known_names, without_names
from schema.messages.values import without_python
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from strawberry.types import ExecutionResult

_log = structlog.get_logger(__name__)
_OK = 200
_FAILURES = 400
_SERVER_ERRORS = 500
_DATA_INVALID = "The value stored for this field is not one that the schema allows."
_INTERNAL = "Something went wrong on our side. Quote the error id {} when you report it."
_TOO_MANY_DIGITS = "A number in the document has too many digits."
_TOO_DEEP = "The document is nested too deeply."
# graphql-core raises a TypeError with this text for a null where the schema allows none.
_NULL_IN_NON_NULL = re.compile(r"Cannot return null for non-nullable field \w+\.\w+\.", re.ASCII)
# graphql-core's own messages for these name types, fields, arguments and enum values; the advice of the last one does.
_NAMING = frozenset({Reason.DOCUMENT_INVALID, Reason.VARIABLES_INVALID, Reason.COST_EXCEEDED, Reason.STATEMENT_TIMEOUT})
# A thousand bad rows are a thousand errors to the client. The log needs the first few.
_LOGGED_PER_ANSWER = 3
# A person reads no more errors of one document. graphql-core finds up to a hundred, and quotes the document in each.
_ERRORS_BEFORE_EXECUTION = 20
_LOCATIONS_PER_ERROR = 10
_MESSAGE_CHARACTERS = 500


def present(
    result: ExecutionResult,
    *,
    explores: bool = False,
    is_admin: bool = False,
    query: str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], int]:
    """Return the response's body and its HTTP status.

    Unless the caller `explores`, error messages suggest nothing, and name nothing of the schema that is not in the
    caller's own `query` and `variables`. Unless the caller `is_admin`, they do not name the database's own objects.

    Nothing of an exception that is not an `ApiError` leaves the process: it is logged under its error id.
    """
    before_execution = isinstance(result, PreExecutionError) or (
        result.data is None and all(error.path is None for error in result.errors or [])
    )
    errors = result.errors or []
    reasons = [_reason(error, result, before_execution=before_execution) for error in errors]
    error_id = _error_id() if errors else ""
    _log_faults(errors, reasons, error_id)
    answer: dict[str, Any] = {}
    # A request error "must not contain data" (GraphQL specification, section 7.1).
    if not before_execution:
        answer["data"] = result.data
    if errors:
        known = None if explores or _NAMING.isdisjoint(reasons) else known_names(query, variables)
        formatted = [
            _formatted(error, reason, error_id, known=known, is_admin=is_admin)
            for error, reason in zip(errors, reasons, strict=True)
        ]
        answer["errors"] = _shortened_list(formatted) if before_execution else formatted
    if result.extensions:
        answer["extensions"] = result.extensions
    _note([reason.name for reason in reasons])
    _drop_tracebacks(errors)
    return answer, _status(result.data, reasons)


def present_refusal(error: ApiError) -> tuple[dict[str, Any], int]:
    """Return the body and status for a request that is refused before its execution."""
    _note([error.reason.name])
    return {
        "errors": [{"message": _shortened(error.public), "extensions": _extensions(error.reason, error)}]
    }, error.reason.value.status


def present_fault(error: BaseException) -> tuple[dict[str, Any], int]:
    """Return the body and status for an unexpected exception, and log it."""
    if isinstance(error, ApiError) and not isinstance(error, InternalError):
        return present_refusal(error)
    _note([Reason.INTERNAL.name])
    error_id = _error_id()
    _log.error("fault", error_id=error_id, exc_info=error)
    extensions = _extensions(Reason.INTERNAL, None, error_id=error_id)
    return {"errors": [{"message": _INTERNAL.format(error_id), "extensions": extensions}]}, _SERVER_ERRORS


def note_errors(answer: Mapping[str, Any]) -> None:
    """Note the errors of an answer that was presented before, for another request."""
    _note([error["extensions"]["reason"] for error in answer.get("errors", ())])


def refusal_headers(error: ApiError) -> dict[str, str]:
    """The headers that go with an error: when to try again, or how to authenticate."""
    if isinstance(error, UnauthenticatedError) and error.challenge:
        return {"www-authenticate": error.challenge}
    seconds = [] if error.retry_after_seconds is None else [error.retry_after_seconds]
    return _retry_headers(seconds, error.reason.value.status)


def retry_headers(answer: Mapping[str, Any], status: int) -> dict[str, str]:
    """The header `Retry-After` of a failed request, from the `retryAfter` of the errors in its answer."""
    extensions = [error["extensions"] for error in answer.get("errors", ())]
    return _retry_headers([some["retryAfter"] for some in extensions if "retryAfter" in some], status)


def _retry_headers(seconds: list[int], status: int) -> dict[str, str]:
    return {"retry-after": str(max(seconds))} if seconds and status >= _FAILURES else {}


def _reason(error: GraphQLError, result: ExecutionResult, *, before_execution: bool) -> Reason:
    cause = error.original_error
    if isinstance(cause, ApiError):
        return cause.reason
    if before_execution:
        return _reason_before_execution(error, result)
    # graphql-core's own errors have no cause, or another GraphQLError. No other exception's text may leave the server.
    own = cause is None or isinstance(cause, GraphQLError)
    if own and error.message.startswith("Argument "):
        return Reason.VARIABLES_INVALID
    if own or _NULL_IN_NON_NULL.fullmatch(error.message):
        return Reason.DATA_INVALID
    return Reason.INTERNAL


def _reason_before_execution(error: GraphQLError, result: ExecutionResult) -> Reason:
    cause = error.original_error
    if isinstance(error, GraphQLSyntaxError) or isinstance(cause, RecursionError):
        return Reason.SYNTAX
    if cause is not None and not isinstance(cause, GraphQLError) and not _has_too_many_digits(cause):
        return Reason.INTERNAL
    return Reason.DOCUMENT_INVALID if isinstance(result, PreExecutionError) else Reason.VARIABLES_INVALID


def _has_too_many_digits(cause: BaseException | None) -> bool:
    """Whether Python refused to convert a number of the document, which graphql-core does not foresee."""
    return isinstance(cause, ValueError) and "integer string conversion" in str(cause)


def _formatted(
    error: GraphQLError, reason: Reason, error_id: str, *, known: Collection[str] | None, is_admin: bool
) -> dict[str, Any]:
    formatted: dict[str, Any] = dict(error.formatted)
    formatted["message"] = _shortened(without_python(error.message))
    if error.locations:
        formatted["locations"] = formatted["locations"][:_LOCATIONS_PER_ERROR]
    if reason is Reason.INTERNAL:
        formatted["message"] = _INTERNAL.format(error_id)
    elif reason is Reason.DATA_INVALID:
        formatted["message"] = _DATA_INVALID
    elif isinstance(error.original_error, ApiError) and not is_admin:
        public = error.original_error.public
        if reason in _NAMING and known is not None:
            public = advice_without_names(public, known)
        formatted["message"] = _shortened(public)
    elif isinstance(error.original_error, RecursionError):
        formatted["message"] = _TOO_DEEP
    elif _has_too_many_digits(error.original_error):
        formatted["message"] = _TOO_MANY_DIGITS
    elif reason in _NAMING and known is not None:
        formatted["message"] = _shortened(without_python(without_names(error.message, known)))
    formatted["extensions"] = _extensions(reason, error.original_error, error_id=error_id)
    return formatted


def _shortened(message: str) -> str:
    """Cut a message to what a person reads, because it may quote a client's text of any length."""
    return message if len(message) <= _MESSAGE_CHARACTERS else f"{message[: _MESSAGE_CHARACTERS - 1]}…"


def _shortened_list(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first distinct errors of a document: equal messages become one error with all their locations."""
    distinct: dict[str, dict[str, Any]] = {}
    for error in errors:
        known = distinct.setdefault(error["message"], error)
        if known is not error and "locations" in known:
            known["locations"] = [*known["locations"], *error.get("locations", [])][:_LOCATIONS_PER_ERROR]
    first = list(distinct.values())[:_ERRORS_BEFORE_EXECUTION]
    if more := len(distinct) - len(first):
        first.append({"message": f"There are {more} more errors.", "extensions": first[0]["extensions"]})
    return first


def _extensions(reason: Reason, cause: BaseException | None, *, error_id: str | None = None) -> dict[str, Any]:
    # An error without an `ApiError` is a mistake in the request, in the data or in the server.
    seconds = cause.retry_after_seconds if isinstance(cause, ApiError) else None
    extensions: dict[str, Any] = {
        "code": reason.value.code.value,
        "reason": reason.name,
        "retryable": seconds is not None,
    }
    if seconds is not None:
        extensions["retryAfter"] = seconds
    if isinstance(cause, ApiError):
        extensions |= cause.details
    if reason is Reason.INTERNAL:
        extensions["errorId"] = error_id
    return extensions


def _status(data: dict[str, Any] | None, reasons: list[Reason]) -> int:
    """200 if any root field has data; otherwise the status of the worst error.

    A response whose `data` is an object was executed, so the request itself was right: it is never a 400.
    """
    if not reasons or any(_has_data(value) for value in (data or {}).values()):
        return _OK
    worst = max(reason.value.status for reason in reasons)
    return _OK if data is not None and worst < _SERVER_ERRORS else worst


def _has_data(value: object) -> bool:
    """Whether a root field has data. A list of nothing but nulls has none."""
    return any(map(_has_data, value)) if isinstance(value, list) and value else value is not None


def _error_id() -> str:
    """The id under which an error is logged: the request's, or a new one outside of a request."""
    return record.request_id if (record := current_record.get()) else str(uuid.uuid4())


def _log_faults(errors: list[GraphQLError], reasons: list[Reason], error_id: str) -> None:
    faults = [
        error
        for error, reason in zip(errors, reasons, strict=True)
        if reason is Reason.DATA_INVALID or reason.value.status >= _SERVER_ERRORS
    ]
    for error in faults[:_LOGGED_PER_ANSWER]:
        cause = error.original_error
        where: dict[str, Any] = {"path": error.path, "error_id": error_id}
        if isinstance(cause, ApiError) and not isinstance(cause, InternalError):
            # The statement and the database's message are in the exception that it was raised from. Without one, the
            # request's own line says everything.
            if cause.__cause__ is not None:
                _log.warning("unavailable", reason=cause.reason.name, cause=repr(cause.__cause__), **where)
        elif cause is None or isinstance(cause, GraphQLError) or _NULL_IN_NON_NULL.fullmatch(error.message):
            _log.warning("data invalid", message=error.message, **where)
        else:
            _log.error("fault", **where, exc_info=cause)


def _drop_tracebacks(errors: list[GraphQLError]) -> None:
    """Drop the tracebacks, which the log has. The frames in them have the errors, in graphql-core's lists: a cycle."""
    # Chains may form a ring: an error that was raised from one that was raised while it was handled.
    left: list[BaseException | None] = [*errors]
    dropped = set[int]()
    while left:
        error = left.pop()
        if error is not None and id(error) not in dropped:
            dropped.add(id(error))
            error.__traceback__ = None
            left += (error.__context__, error.original_error if isinstance(error, GraphQLError) else error.__cause__)


def _note(reasons: Collection[str]) -> None:
    """Note the reasons on the request's record, each once: a subscription may have any number of errors."""
    if reasons and (record := current_record.get()):
        record.errors.extend(reason for reason in dict.fromkeys(reasons) if reason not in record.errors)
