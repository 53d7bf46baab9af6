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
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    CONFLICT = "CONFLICT"
    NOT_FOUND = "NOT_FOUND"
    RATE_LIMITED = "RATE_LIMITED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    GATEWAY_TIMEOUT = "GATEWAY_TIMEOUT"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the error table.

    `status` is the HTTP status where no root field has data; an answer with data is always a 200.
    `where` is the part of the answer that carries it first of all: `errors`, a payload's `userErrors`, or the
    `failure` of an operation.
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
        "`query`, `documentId`, `variables`, `operationName` or `extensions` has the wrong type, or there is neither "
        "of the first two.",
    )
    PATH_UNKNOWN = Kind(Code.NOT_FOUND, 404, "Nothing is served at this path; the README names those that are.")
    METHOD_NOT_ALLOWED = Kind(Code.BAD_REQUEST, 405, "Only GET and POST; over GET, queries only.")
    NOT_ACCEPTABLE = Kind(
        Code.BAD_REQUEST, 406, "`Accept` admits no media type, or `Accept-Encoding` no encoding, that is served here."
    )
    CONTENT_TYPE_UNSUPPORTED = Kind(Code.BAD_REQUEST, 415, "A POST takes `application/json` only.")
    CONTENT_ENCODING_UNSUPPORTED = Kind(Code.BAD_REQUEST, 415, "A body is taken as it is, and not compressed.")
    BODY_TOO_LARGE = Kind(
        Code.BAD_REQUEST, 413, "The body, or a WebSocket's message, is longer than `BODY_BYTES`: send less at once."
    )
    BODY_TOO_SLOW = Kind(Code.BAD_REQUEST, 408, "The body was not there within `BODY_TIMEOUT`.", retry=True)
    HTTP_INVALID = Kind(
        Code.BAD_REQUEST,
        400,
        "What came is not HTTP, or is HTTP that may be read in two ways. The connection is closed.",
    )
    HEADERS_TOO_LARGE = Kind(Code.BAD_REQUEST, 431, "The address and headers are longer, or are more, than is read.")
    HEADERS_TOO_SLOW = Kind(Code.BAD_REQUEST, 408, "The headers were not there within `HEADERS_TIMEOUT`.", retry=True)
    CONSISTENCY_TOKEN_INVALID = Kind(
        Code.BAD_REQUEST,
        400,
        "The `X-Consistency-Token` was not issued by this deployment: send the last one you were given, or none.",
    )
    TOO_MANY_OPERATIONS = Kind(
        Code.BAD_REQUEST, 400, "More operations at once on one WebSocket than are served: end some, or open another."
    )
    SYNTAX = Kind(Code.PARSE_FAILED, 400, "The document is not GraphQL, or is nested too deeply.")
    DOCUMENT_INVALID = Kind(Code.VALIDATION_FAILED, 400, "The document does not fit the schema.")
    LIMIT_EXCEEDED = Kind(
        Code.VALIDATION_FAILED,
        400,
        "The document has more of something than is allowed: `limit` names it, `requested` and `allowed` say how much. "
        "Nothing was run.",
    )
    COST_EXCEEDED = Kind(
        Code.VALIDATION_FAILED,
        400,
        "The operation costs `requested`, and `allowed` are: ask for smaller pages or fewer fields. Nothing was run.",
    )
    INTROSPECTION_DISABLED = Kind(
        Code.VALIDATION_FAILED, 400, "The schema is not shown here, or not to this caller: `EXPLORING` says to whom."
    )
    PERSISTED_QUERY_NOT_FOUND = Kind(
        Code.PERSISTED_QUERY_NOT_FOUND,
        200,
        "No document of this hash is known here: send it with its text once, and the hash alone from then on.",
        retry=True,
    )
    PERSISTED_QUERY_NOT_SUPPORTED = Kind(
        Code.PERSISTED_QUERY_NOT_SUPPORTED, 200, "Documents are not remembered by their hash here: send the text."
    )
    PERSISTED_QUERY_MISMATCH = Kind(Code.BAD_REQUEST, 400, "The hash is not that of the text beside it.")
    DOCUMENT_NOT_TRUSTED = Kind(
        Code.FORBIDDEN, 403, "Only documents of the manifest are run here: send the hash of one of them."
    )
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
    VALUE_INVALID = Kind(
        Code.BAD_USER_INPUT, 200, "A value that cannot be: a NUL byte, an order key below 1, a note that is too long."
    )
    ORDER_UNDETERMINED = Kind(
        Code.BAD_USER_INPUT, 200, "Not exactly one of `orderKey` and `id`: give the one you have, and only it."
    )
    ORDER_REPEATED = Kind(
        Code.BAD_USER_INPUT, 200, "The same order twice among the changes: send one change for each order."
    )
    RATE_LIMITED = Kind(
        Code.RATE_LIMITED,
        429,
        "The caller has spent the points that it has: `Retry-After`, and `retryAfter` in the error, say in how many "
        "seconds this can be paid. Without them it never can: ask for less.",
        retry=True,
    )
    TOO_MANY_SUBSCRIPTIONS = Kind(
        Code.RATE_LIMITED, 429, "The caller has as many subscriptions as one may: end some.", retry=True
    )
    STATUS_CONFLICT = Kind(
        Code.CONFLICT,
        200,
        "The order no longer is as expected, and nothing was written. The error carries its present status and "
        "version: decide anew, and expect those.",
        where="userErrors",
    )
    ORDER_NOT_FOUND = Kind(Code.NOT_FOUND, 200, "There is no order with this key.", where="userErrors")
    CHANGE_NOT_APPLIED = Kind(
        Code.CONFLICT,
        200,
        "Another change of the same ATOMIC list was refused, so this one was not made: mend that one, and send "
        "all of them again.",
        where="userErrors",
    )
    IDEMPOTENCY_KEY_REUSED = Kind(
        Code.CONFLICT,
        200,
        "The key was used for another input before, and nothing was written: take a new key for a new intent.",
        where="userErrors",
    )
    NAME_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "A name that the platform does not take: the message says which characters and lengths it does. Nothing was "
        "sent.",
        where="userErrors",
    )
    SETTING_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "A property out of its range, or one that does not go with another. Nothing was sent.",
        where="userErrors",
    )
    COST_NOT_ACKNOWLEDGED = Kind(
        Code.BAD_USER_INPUT,
        200,
        "This costs money from then on: look at the plan, and send it with `acknowledgeCost: true`.",
        where="userErrors",
    )
    DELETION_NOT_CONFIRMED = Kind(
        Code.BAD_USER_INPUT,
        200,
        "This deletes: look at the plan, and send it with `confirmDeletion: true`.",
        where="userErrors",
    )
    STATUS_CHANGES_AT_STAKE = Kind(
        Code.CONFLICT,
        200,
        "Status changes would lose their only copy, or could not be counted: `export-changes` first, or send it with "
        "`discardStatusChanges: true`.",
        where="userErrors",
    )
    SPEC_CONFLICT = Kind(
        Code.CONFLICT,
        200,
        "The name is taken by one that is otherwise: `differences` says how. Take another name, or change that one.",
        where="userErrors",
    )
    OPERATION_IN_PROGRESS = Kind(
        Code.CONFLICT,
        200,
        "Another operation is at work on the same resource; `operation` names it. Wait for its end.",
        where="userErrors",
    )
    RESOURCE_NOT_FOUND = Kind(
        Code.NOT_FOUND, 200, "There is no instance, catalog, table or database of this name.", where="userErrors"
    )
    RESOURCE_IN_USE = Kind(
        Code.CONFLICT,
        200,
        "Something still stands on it, which the message names: delete that first, or tear all of it down.",
        where="userErrors",
    )
    RESOURCE_NOT_READY = Kind(
        Code.CONFLICT,
        200,
        "It exists, and is not in a state for this, stopped say. The message says what to do first.",
        where="userErrors",
    )
    SOURCE_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "The source table does not exist, may not be read, or lacks a column that is needed.",
        where="userErrors",
    )
    NAMESAKE_FOUND = Kind(
        Code.CONFLICT,
        200,
        "The name belongs to another by now than when the deletion was planned. It was left alone.",
        where="operation",
    )
    SYNC_FAILED = Kind(
        Code.CONFLICT,
        200,
        "The pipeline of the synced table has failed. What it says is in the message, more on its own page; "
        "`refreshSyncedTable` tries again.",
        where="operation",
    )
    STEP_TIMED_OUT = Kind(
        Code.GATEWAY_TIMEOUT,
        200,
        "A step took longer than it is given. It may still come to its end: the same mutation again carries on.",
        retry=True,
        where="operation",
    )
    UNAUTHENTICATED = Kind(
        Code.UNAUTHENTICATED,
        401,
        "It is not known who calls: no token, or one that is not valid; the message says what is wrong with it. A "
        "WebSocket is closed with 4403, also when its token ends: come back with a new one.",
    )
    ROLE_MISSING = Kind(Code.FORBIDDEN, 200, "The caller lacks the role that the field asks for.")
    PERMISSION_MISSING = Kind(
        Code.FORBIDDEN,
        200,
        "The platform does not let the server's own identity do this; the message says which grant mends it.",
    )
    HOST_FORBIDDEN = Kind(
        Code.FORBIDDEN, 403, "With `AUTH_MODE=local` only a `Host` of loopback is served: `localhost`, `127.0.0.1`."
    )
    ORIGIN_FORBIDDEN = Kind(
        Code.FORBIDDEN, 403, "The page that asks is of another origin, and `ALLOWED_ORIGINS` does not name it."
    )
    AUTHENTICATION_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "Who calls cannot be told now: the keys that tokens are checked with, or the caller's groups, cannot be had.",
        retry=True,
    )
    ORDERS_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The orders table is missing, lacks a column (`/readyz` says which), or is empty while a sync fills it.",
        retry=True,
    )
    CHANGES_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The tables of changes are missing or may not be written, and nothing was. The message says which GRANT "
        "mends it; orders are read meanwhile.",
        retry=True,
    )
    ORDER_BUSY = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "Another transaction holds the order, or the key, for too long. Nothing was written.",
        retry=True,
    )
    OVERLOADED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "More is asked at once than can be answered in time. Nothing was begun: try again after `Retry-After`.",
        retry=True,
    )
    SUBSCRIPTION_ENDED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The subscription has lasted for `SUBSCRIPTION_TIMEOUT`. Subscribe again with `after`: the last cursor you "
        "received.",
        retry=True,
    )
    SUBSCRIBER_TOO_SLOW = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "Changes came faster than the subscriber read them. Subscribe again with `after`: the last cursor you "
        "received.",
        retry=True,
    )
    OUTCOME_UNKNOWN = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The change was sent, and the reply was lost: it is made or it is not. Repeat it with the same "
        "`idempotencyKey`, which makes it at most once and tells; without a key, look at the order first.",
        retry=True,
    )
    CONTROL_PLANE_NOT_CONFIGURED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "No platform is set that could be administered: `DATABRICKS_HOST` and its credentials.",
    )
    CONTROL_PLANE_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The platform does not answer, has failed, or answers what cannot be read.",
        retry=True,
    )
    CONTROL_PLANE_BUSY = Kind(
        Code.SERVICE_UNAVAILABLE, 503, "The platform asks for fewer requests: wait a little.", retry=True
    )
    CONTROL_PLANE_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The platform took longer than an admin field may. What was begun goes on: look, or send it again.",
        retry=True,
    )
    CONTROL_PLANE_LOGIN_FAILED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The platform does not know the server's own credentials: look at `DATABRICKS_TOKEN` or the client's secret.",
    )
    CONTROL_PLANE_REFUSED = Kind(
        Code.CONFLICT,
        200,
        "The platform refuses the request, for a reason that is not known here; the message says its error code.",
    )
    DATABASE_UNAVAILABLE = Kind(Code.SERVICE_UNAVAILABLE, 503, "The database cannot be reached.", retry=True)
    POOL_EXHAUSTED = Kind(Code.SERVICE_UNAVAILABLE, 503, "Every database connection is in use.", retry=True)
    STATEMENT_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The database took too long: narrow the filter to one that an index backs.",
    )
    REQUEST_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The query took longer than `REQUEST_TIMEOUT`, and was ended with its statements: ask for less at once.",
        retry=True,
    )
    SERVER_STOPPING = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The server was told to stop, and this would have taken too long: another one answers.",
        retry=True,
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
    ├── LimitError      the document asks for more than is allowed
    ├── RateLimitedError    the caller has had its share, for now
    ├── InputError      an argument is wrong
    ├── UnauthenticatedError    nobody knows who the caller is
    ├── ForbiddenError  the caller may not, or the server itself may not
    ├── PlatformError   the platform says no: it is there, or is not, or not in that state
    └── UnavailableError     what stands behind the API does not answer, for now
        └── OutcomeUnknownError     it had been told to write, and then did not answer

    Anything else that is raised is a fault of ours and is masked.
    """

    reasons: ClassVar[frozenset[Reason]]

    def __init__(self, reason: Reason, message: str) -> None:
        if reason not in self.reasons:
            raise ValueError(f"{type(self).__name__} does not explain {reason.name}")
        super().__init__(message)
        self.reason = reason
        self.message = message
        # What `extensions` says beside code and reason.
        self.details: dict[str, object] = {}

    @property
    def retryable(self) -> bool:
        """Whether the same request may fare better."""
        return self.reason.value.retry


class RequestError(ApiError):
    """The request cannot be executed at all; the answer has no `data`."""

    reasons = frozenset(
        {
            Reason.INTROSPECTION_DISABLED,
            Reason.PATH_UNKNOWN,
            *(
                reason
                for reason in Reason
                if reason.value.code
                in {
                    Code.BAD_REQUEST,
                    Code.PARSE_FAILED,
                    Code.OPERATION_RESOLUTION_FAILURE,
                    Code.PERSISTED_QUERY_NOT_FOUND,
                    Code.PERSISTED_QUERY_NOT_SUPPORTED,
                }
            ),
        }
    )


class LimitError(ApiError):
    """The document asks for more than is allowed; nothing of it is run.

    Args:
        reason: LIMIT_EXCEEDED or COST_EXCEEDED.
        message: says what was asked and what is allowed.
        limit: the name of the limit.
        requested: what was asked, or where counting was given up above what is allowed.
        allowed: what is allowed.
    """

    reasons = frozenset({Reason.LIMIT_EXCEEDED, Reason.COST_EXCEEDED})

    def __init__(self, reason: Reason, message: str, *, limit: str, requested: int, allowed: int) -> None:
        super().__init__(reason, message)
        self.details = {"limit": limit, "requested": requested, "allowed": allowed}


class RateLimitedError(ApiError):
    """The caller has had its share. `retry_after_seconds`: when to come again; None where that is of no use.

    It is also `retryAfter` in the error, for transports whose answers have no headers.
    """

    reasons = frozenset({Reason.RATE_LIMITED, Reason.TOO_MANY_SUBSCRIPTIONS})

    def __init__(self, reason: Reason, message: str, *, retry_after_seconds: int | None) -> None:
        super().__init__(reason, message)
        self.retry_after_seconds = retry_after_seconds
        if retry_after_seconds is not None:
            self.details = {"retryAfter": retry_after_seconds}

    @property
    def retryable(self) -> bool:
        """What costs more than a caller ever has is refused every time."""
        return self.retry_after_seconds is not None


class InputError(ApiError):
    """An argument is wrong; its field is null, the rest of the answer stands."""

    reasons = frozenset(
        reason
        for reason in Reason
        if reason.value.code is Code.BAD_USER_INPUT
        and reason not in {Reason.VARIABLES_INVALID, Reason.COST_NOT_ACKNOWLEDGED}
    )


class UnauthenticatedError(ApiError):
    """Nobody knows who the caller is. `challenge` is what HTTP's `WWW-Authenticate` says then, if anything."""

    reasons = frozenset({Reason.UNAUTHENTICATED})

    def __init__(self, message: str, *, challenge: str | None = None) -> None:
        super().__init__(Reason.UNAUTHENTICATED, message)
        self.challenge = challenge


class ForbiddenError(ApiError):
    """The caller may not do this, or the platform does not let the server."""

    reasons = frozenset(reason for reason in Reason if reason.value.code is Code.FORBIDDEN)


class PlatformError(ApiError):
    """The platform says no, for good: what it is about exists, or does not, or is in no state for it."""

    reasons = frozenset(
        {
            Reason.SPEC_CONFLICT,
            Reason.RESOURCE_NOT_FOUND,
            Reason.RESOURCE_IN_USE,
            Reason.RESOURCE_NOT_READY,
            Reason.NAMESAKE_FOUND,
            Reason.SYNC_FAILED,
            Reason.STATUS_CHANGES_AT_STAKE,
            Reason.COST_NOT_ACKNOWLEDGED,
            Reason.CONTROL_PLANE_REFUSED,
        }
    )


class UnavailableError(ApiError):
    """What stands behind the API does not answer, for now."""

    reasons = frozenset(
        reason for reason in Reason if reason.value.code in {Code.SERVICE_UNAVAILABLE, Code.GATEWAY_TIMEOUT}
    )


class OutcomeUnknownError(UnavailableError):
    """A write was sent and its reply was lost: whether it was made cannot be told from here."""

    reasons = frozenset({Reason.OUTCOME_UNKNOWN})

    def __init__(self, *, with_key: bool) -> None:
        advice = (
            "Repeat it with the same idempotencyKey: it is made at most once, and you are told what became of it."
            if with_key
            else "It had no idempotencyKey, so look at the order before you send it again."
        )
        super().__init__(
            Reason.OUTCOME_UNKNOWN, f"The reply of the database was lost, the change may be made. {advice}"
        )
        self._with_key = with_key

    @property
    def retryable(self) -> bool:
        """Only a key makes a repetition safe."""
        return self._with_key


def error_table() -> str:
    """The table of all errors as Markdown, for the README (a test holds the two together)."""
    rows = ["| `reason` | `code` | where | HTTP | try again | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for reason in Reason:
        kind = reason.value
        again = "with its key" if reason is Reason.OUTCOME_UNKNOWN else "yes" if kind.retry else "no"
        rows.append(
            f"| `{reason.name}` | `{kind.code.value}` | `{kind.where}` | {kind.status} | {again} | {kind.meaning} |"
        )
    return "\n".join(rows)
