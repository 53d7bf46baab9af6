"""Owns every error that a caller can be given: its code, reason, HTTP status and whether to try again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Code(Enum):
    """The coarse class of an error, in Apollo's words: what `extensions.code` says."""

    BAD_REQUEST = "BAD_REQUEST"
    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    GATEWAY_TIMEOUT = "GATEWAY_TIMEOUT"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the error table.

    `status` is the HTTP status where no root field has data; an answer with data is always a 200.
    `where` is the part of the answer that carries it: `errors`, or a payload's `userErrors`.
    """

    code: Code
    status: int
    meaning: str
    retry: bool = False
    where: str = "errors"


class Reason(Enum):
    """The fine word of an error, ours: what `extensions.reason` says. Each member is its row of the table."""

    BODY_INVALID = Kind(Code.BAD_REQUEST, 400, "The body is not a JSON object in UTF-8.")
    PARAMETER_INVALID = Kind(
        Code.BAD_REQUEST,
        400,
        "`query`, `variables`, `operationName` or `extensions` has the wrong type, or `query` is missing.",
    )
    METHOD_NOT_ALLOWED = Kind(Code.BAD_REQUEST, 405, "Only GET and POST; over GET, queries only.")
    NOT_ACCEPTABLE = Kind(Code.BAD_REQUEST, 406, "`Accept` admits no media type that is served here.")
    CONTENT_TYPE_UNSUPPORTED = Kind(Code.BAD_REQUEST, 415, "A POST takes `application/json` only.")
    SYNTAX = Kind(Code.PARSE_FAILED, 400, "The document is not GraphQL, or is nested too deeply.")
    DOCUMENT_INVALID = Kind(Code.VALIDATION_FAILED, 400, "The document does not fit the schema.")
    OPERATION_UNDETERMINED = Kind(
        Code.OPERATION_RESOLUTION_FAILURE,
        400,
        "Several operations and no `operationName`, or a name that is not in the document.",
    )
    VARIABLES_INVALID = Kind(Code.BAD_USER_INPUT, 400, "A variable does not fit its type.")
    PAGE_SIZE_INVALID = Kind(
        Code.BAD_USER_INPUT, 200, "A page size, page number or sample size is too small or too large."
    )
    PAGE_ARGUMENTS_CONFLICT = Kind(
        Code.BAD_USER_INPUT,
        200,
        "`first` goes with `after`, `last` with `before`; nothing else mixes.",
    )
    CURSOR_INVALID = Kind(Code.BAD_USER_INPUT, 200, "The cursor was not issued by this API.")
    CURSOR_ORDER_MISMATCH = Kind(Code.BAD_USER_INPUT, 200, "The cursor belongs to another `orderBy`.")
    ID_INVALID = Kind(Code.BAD_USER_INPUT, 200, "The global id is malformed or of an unknown type.")
    TOO_MANY_VALUES = Kind(Code.BAD_USER_INPUT, 200, "A list argument is longer than allowed.")
    VALUE_INVALID = Kind(Code.BAD_USER_INPUT, 200, "A value that no order can have, a NUL byte say.")
    ORDERS_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The orders table is missing, or lacks a column (`/readyz` says which).",
        retry=True,
    )
    DATABASE_UNAVAILABLE = Kind(Code.SERVICE_UNAVAILABLE, 503, "The database cannot be reached.", retry=True)
    POOL_EXHAUSTED = Kind(Code.SERVICE_UNAVAILABLE, 503, "Every database connection is in use.", retry=True)
    STATEMENT_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The database took too long: narrow the filter to one that an index backs.",
    )
    DATA_INVALID = Kind(
        Code.INTERNAL_SERVER_ERROR,
        200,
        "A stored value is outside the schema; that row or value alone is null.",
    )
    INTERNAL = Kind(Code.INTERNAL_SERVER_ERROR, 500, "A fault of ours; `errorId` finds it in the log.")


class ApiError(Exception):
    """An error that a caller is meant to read: its message goes out as it is.

    ApiError
    ├── RequestError    the request cannot be executed at all
    ├── InputError      an argument is wrong
    └── UnavailableError     what stands behind the API does not answer, for now

    Anything else that is raised is a fault of ours and is masked.
    """

    reasons: ClassVar[frozenset[Reason]]

    def __init__(self, reason: Reason, message: str) -> None:
        if reason not in self.reasons:
            raise ValueError(f"{type(self).__name__} does not explain {reason.name}")
        super().__init__(message)
        self.reason = reason
        self.message = message


class RequestError(ApiError):
    """The request cannot be executed at all; the answer has no `data`."""

    reasons = frozenset(
        reason
        for reason in Reason
        if reason.value.code in {Code.BAD_REQUEST, Code.PARSE_FAILED, Code.OPERATION_RESOLUTION_FAILURE}
    )


class InputError(ApiError):
    """An argument is wrong; its field is null, the rest of the answer stands."""

    reasons = frozenset(
        reason
        for reason in Reason
        if reason.value.code is Code.BAD_USER_INPUT and reason is not Reason.VARIABLES_INVALID
    )


class UnavailableError(ApiError):
    """What stands behind the API does not answer, for now."""

    reasons = frozenset(
        reason for reason in Reason if reason.value.code in {Code.SERVICE_UNAVAILABLE, Code.GATEWAY_TIMEOUT}
    )


def error_table() -> str:
    """The table of all errors as Markdown, for the README (a test holds the two together)."""
    rows = ["| `reason` | `code` | where | HTTP | try again | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for reason in Reason:
        kind = reason.value
        again = "yes" if kind.retry else "no"
        rows.append(
            f"| `{reason.name}` | `{kind.code.value}` | `{kind.where}` | {kind.status} | {again} | {kind.meaning} |"
        )
    return "\n".join(rows)
