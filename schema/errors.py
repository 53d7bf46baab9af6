"""Every error that a client can receive: its code, reason, HTTP status, and whether to retry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class Code(Enum):
    """The class of an error, in Apollo's terms: `extensions.code`."""

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
    """A row of the error table.

    `status` is the HTTP status of a response in which no root field has data; a response with data is always a 200.
    `where` are the parts of the response that may carry the error, with commas between them: `errors`, a payload's
    `userErrors`, or the `failure` of an operation. `retry` says whether the same request may succeed later, and
    `retry_after` in how many seconds to send it again.
    """

    code: Code
    status: int
    meaning: str
    retry: bool = False
    where: str = "errors"
    retry_after: int = 1


class Reason(Enum):
    """What exactly went wrong: `extensions.reason`. Each member's value is its row of the error table."""

    BODY_INVALID = Kind(Code.BAD_REQUEST, 400, "The body is not a JSON object in UTF-8.")
    PARAMETER_INVALID = Kind(
        Code.BAD_REQUEST,
        400,
        "`query`, `documentId`, `variables`, `operationName` or `extensions` has the wrong type, or both "
        "`query` and `documentId` are missing.",
    )
    PATH_UNKNOWN = Kind(Code.NOT_FOUND, 404, "There is nothing at this path. GraphQL is at `/api/graphql`.")
    METHOD_NOT_ALLOWED = Kind(Code.BAD_REQUEST, 405, "Only GET and POST are allowed, and over GET only queries.")
    NOT_ACCEPTABLE = Kind(
        Code.BAD_REQUEST,
        406,
        "The server offers no media type that `Accept` admits, or no encoding that `Accept-Encoding` admits.",
    )
    CONTENT_TYPE_UNSUPPORTED = Kind(Code.BAD_REQUEST, 415, "A POST has to be `application/json`.")
    CONTENT_ENCODING_UNSUPPORTED = Kind(Code.BAD_REQUEST, 415, "A compressed body is not accepted.")
    BODY_TOO_LARGE = Kind(
        Code.BAD_REQUEST, 413, "The body, or a WebSocket message, is longer than `BODY_BYTES`. Send less at once."
    )
    BODY_TOO_SLOW = Kind(Code.BAD_REQUEST, 408, "The body did not arrive within ten seconds.", retry=True)
    HTTP_INVALID = Kind(
        Code.BAD_REQUEST, 400, "The request is not HTTP, or is ambiguous HTTP. The server closes the connection."
    )
    HEADERS_TOO_LARGE = Kind(Code.BAD_REQUEST, 431, "The URL and headers are too long, or there are too many headers.")
    HEADERS_TOO_SLOW = Kind(Code.BAD_REQUEST, 408, "The headers did not arrive within five seconds.", retry=True)
    CONSISTENCY_TOKEN_INVALID = Kind(
        Code.BAD_REQUEST,
        400,
        "This deployment did not issue the `X-Consistency-Token`. Send the last one that you received, or none.",
    )
    TOO_MANY_OPERATIONS = Kind(
        Code.BAD_REQUEST,
        400,
        "The WebSocket already runs as many operations as it may. Complete some, or open another WebSocket.",
    )
    SYNTAX = Kind(Code.PARSE_FAILED, 400, "The document is not valid GraphQL, or is nested too deeply.")
    DOCUMENT_INVALID = Kind(Code.VALIDATION_FAILED, 400, "The document does not match the schema.")
    LIMIT_EXCEEDED = Kind(
        Code.VALIDATION_FAILED,
        400,
        "The document exceeds a limit: `limit` names it, `requested` and `allowed` are the amounts. Nothing was run.",
    )
    COST_EXCEEDED = Kind(
        Code.VALIDATION_FAILED,
        400,
        "The operation costs `requested` points, and `allowed` is the limit. Ask for smaller pages or fewer "
        "fields. Nothing was run.",
    )
    INTROSPECTION_DISABLED = Kind(
        Code.VALIDATION_FAILED, 400, "Introspection is off, or not for this caller. `EXPLORING` sets who may use it."
    )
    PERSISTED_QUERY_NOT_FOUND = Kind(
        Code.PERSISTED_QUERY_NOT_FOUND,
        200,
        "The server knows no document with this hash. Send the text and the hash once, and the hash alone "
        "from then on.",
        retry=True,
        retry_after=0,
    )
    PERSISTED_QUERY_NOT_SUPPORTED = Kind(
        Code.PERSISTED_QUERY_NOT_SUPPORTED, 200, "The server remembers no documents by hash. Send the text."
    )
    PERSISTED_QUERY_MISMATCH = Kind(Code.BAD_REQUEST, 400, "The hash is not the hash of the text sent with it.")
    DOCUMENT_NOT_TRUSTED = Kind(
        Code.FORBIDDEN, 403, "The server runs only documents of the manifest. Send the hash of one of them."
    )
    OPERATION_UNDETERMINED = Kind(
        Code.OPERATION_RESOLUTION_FAILURE,
        400,
        "The document has several operations and the request no `operationName`, or the document has no "
        "operation of that name.",
    )
    VARIABLES_INVALID = Kind(Code.BAD_USER_INPUT, 400, "A variable does not match its type.")
    PAGE_SIZE_INVALID = Kind(
        Code.BAD_USER_INPUT, 200, "A page size, page number or sample size is too small or too large."
    )
    PAGE_ARGUMENTS_CONFLICT = Kind(
        Code.BAD_USER_INPUT,
        200,
        "`first` goes with `after`, and `last` with `before`. No other combination is allowed.",
    )
    CURSOR_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "This API did not issue the cursor, or the history of changes that it was issued for was replaced. Load the "
        "data again, and continue from its cursors.",
    )
    CURSOR_ORDER_MISMATCH = Kind(Code.BAD_USER_INPUT, 200, "The cursor belongs to another `orderBy`.")
    ID_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "The global id is malformed, or is of a type that the field does not take.",
        where="errors, userErrors",
    )
    TOO_MANY_VALUES = Kind(
        Code.BAD_USER_INPUT,
        200,
        "A list is too long, or a filter has too many conditions or levels.",
        where="errors, userErrors",
    )
    VALUE_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "A value is impossible: a NUL byte, an order key below 1, a note or a text to search for that is too long, or "
        "groups by nothing.",
        where="errors, userErrors",
    )
    ORDER_UNDETERMINED = Kind(
        Code.BAD_USER_INPUT, 200, "The input needs exactly one of `orderKey` and `id`.", where="userErrors"
    )
    ORDER_REPEATED = Kind(
        Code.BAD_USER_INPUT,
        200,
        "An earlier change of the list is of the same order. Send one change for each order.",
        where="userErrors",
    )
    RATE_LIMITED = Kind(
        Code.RATE_LIMITED,
        429,
        "The caller has spent its points. `retryAfter` says in how many seconds it will have enough for this "
        "operation. Without it the caller never will: ask for less.",
        retry=True,
    )
    TOO_MANY_SUBSCRIPTIONS = Kind(
        Code.RATE_LIMITED,
        429,
        "The caller has as many subscriptions, or WebSockets and event streams, as it may. End some.",
        retry=True,
        # Waiting alone does not help: the caller has to end a subscription itself, which frees its place at once.
        retry_after=5,
    )
    TOO_MANY_BAD_TOKENS = Kind(
        Code.RATE_LIMITED,
        429,
        "Many tokens from the caller's address were not valid, so of those that are new to the server only some are "
        "verified, by chance. `retryAfter` says when to send it again. A WebSocket is closed with 1013.",
        retry=True,
    )
    STATUS_CONFLICT = Kind(
        Code.CONFLICT,
        200,
        "The order is not in the expected state, and nothing was written. The error has its current status "
        "and version: decide again, and expect those.",
        where="userErrors",
    )
    ORDER_NOT_FOUND = Kind(Code.NOT_FOUND, 200, "There is no order with this key.", where="userErrors")
    CHANGE_NOT_APPLIED = Kind(
        Code.CONFLICT,
        200,
        "Another change of the same ATOMIC list was refused, so this one was not made. Correct that one, and "
        "send the whole list again.",
        where="userErrors",
    )
    IDEMPOTENCY_KEY_REUSED = Kind(
        Code.CONFLICT,
        200,
        "The key was used before with another input, and nothing was written. Use a new key for each new intent.",
        where="userErrors",
    )
    NAME_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "The platform does not allow the name. The message says which characters and lengths it allows. "
        "Nothing was sent.",
        where="userErrors",
    )
    SETTING_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "A property is out of range, or contradicts another. Nothing was sent.",
        where="userErrors",
    )
    COST_NOT_ACKNOWLEDGED = Kind(
        Code.BAD_USER_INPUT,
        200,
        "This costs money from now on. Look at the plan, and send the mutation with `acknowledgeCost: true`.",
        where="userErrors",
    )
    DELETION_NOT_CONFIRMED = Kind(
        Code.BAD_USER_INPUT,
        200,
        "This deletes something. Look at the plan, and send the mutation with `confirmDeletion: true`.",
        where="userErrors",
    )
    STATUS_CHANGES_AT_STAKE = Kind(
        Code.CONFLICT,
        200,
        "Status changes would lose their only copy, or could not be counted. Run `export-changes` first, or "
        "send the mutation with `discardStatusChanges: true`.",
        where="userErrors",
    )
    SPEC_CONFLICT = Kind(
        Code.CONFLICT,
        200,
        "A resource of this name exists and differs: `differences` says how. Or something of another kind has the "
        "name: the message quotes the platform. Choose another name, or change what exists.",
        where="userErrors",
    )
    OPERATION_IN_PROGRESS = Kind(
        Code.CONFLICT,
        200,
        "Another operation, which `operation` names, is working on the same resource. Wait until it ends.",
        where="userErrors",
    )
    NAME_HELD = Kind(
        Code.CONFLICT,
        200,
        "A deleted instance or branch keeps the name until it is purged, at `purgeAt`. Undelete it, purge it, or "
        "choose another name.",
        where="userErrors, operation",
    )
    PROTECTED = Kind(
        Code.CONFLICT,
        200,
        "A protected branch must not be deleted, and neither must its instance. Take the protection off it first.",
        where="userErrors, operation",
    )
    RESOURCE_NOT_FOUND = Kind(
        Code.NOT_FOUND,
        200,
        "There is no instance, catalog, schema, table, database or pipeline with this name.",
        where="userErrors",
    )
    RESOURCE_IN_USE = Kind(
        Code.CONFLICT,
        200,
        "Something still depends on the resource; the message names it. Delete that first, or tear down everything.",
        where="userErrors, operation",
    )
    RESOURCE_NOT_READY = Kind(
        Code.CONFLICT,
        200,
        "The resource exists, but is not in the right state; it may be stopped. The message says what to do first.",
        where="userErrors",
    )
    SOURCE_INVALID = Kind(
        Code.BAD_USER_INPUT,
        200,
        "The source table does not exist, cannot be read, or lacks a required column.",
        where="userErrors",
    )
    NAMESAKE_FOUND = Kind(
        Code.CONFLICT,
        200,
        "Since the deletion was planned, another resource has taken the name, or the deleted one was undeleted. "
        "The server left it alone.",
        where="operation",
    )
    BEGUN_ELSEWHERE = Kind(
        Code.CONFLICT,
        200,
        "The operation was begun in another database, of which this one is a copy: a branch, a restore or a dump. "
        "Nothing of it was done from here. Look at what exists, and send the mutation again if it should be.",
        where="operation",
    )
    SYNC_FAILED = Kind(
        Code.CONFLICT,
        200,
        "The synced table's pipeline failed. The message has the pipeline's own message, and the pipeline's "
        "page has more. `refreshSyncedTable` tries again.",
        where="operation",
    )
    STEP_TIMED_OUT = Kind(
        Code.GATEWAY_TIMEOUT,
        200,
        "A step took too long. It may still finish: send the same mutation again to continue.",
        retry=True,
        where="operation",
    )
    UNAUTHENTICATED = Kind(
        Code.UNAUTHENTICATED,
        401,
        "The request has no token, or one that is not valid; the message says why. A WebSocket is closed with "
        "4403, also when its token expires: reconnect with a new one.",
    )
    ROLE_MISSING = Kind(
        Code.FORBIDDEN,
        200,
        "The caller lacks the role that the field requires. A subscription ends with it, and a WebSocket with 4403, "
        "when the caller has lost a role.",
    )
    PERMISSION_MISSING = Kind(
        Code.FORBIDDEN,
        200,
        "The platform does not allow the server's own identity to do this. The message says which grant it needs.",
    )
    HOST_FORBIDDEN = Kind(
        Code.FORBIDDEN,
        403,
        "With `AUTH_MODE=local` the server answers only a `Host` of loopback: `localhost`, `127.0.0.1`.",
    )
    ORIGIN_FORBIDDEN = Kind(
        Code.FORBIDDEN, 403, "The calling page has another origin, and `ALLOWED_ORIGINS` does not list it."
    )
    AUTHENTICATION_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The server cannot identify the caller now: it cannot get the keys that verify tokens, or the caller's groups, "
        "or a WebSocket was not authenticated in time.",
        retry=True,
    )
    ORDERS_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The orders table is missing, lacks a column (`/readyz` says which), or is empty while a sync fills it.",
        retry=True,
    )
    TABLE_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "A table beside the orders is missing, lacks a column (`/readyz` says which), or is being replaced by a sync. "
        "Only its own fields fail.",
        retry=True,
    )
    CHANGES_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The server's own tables are missing or not writable, and nothing was written. The message says which "
        "GRANT they need. Orders can still be read.",
        retry=True,
    )
    ORDER_BUSY = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "Another transaction has held the order, or the key, for too long. Nothing was written.",
        retry=True,
    )
    OVERLOADED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The server has more requests than it can answer in time. Nothing was started: try again after `retryAfter`.",
        retry=True,
    )
    SUBSCRIPTION_ENDED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The subscription has lasted for `SUBSCRIPTION_TIMEOUT`. Subscribe again with the last cursor you "
        "received as `after`.",
        retry=True,
    )
    SUBSCRIBER_TOO_SLOW = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "Changes arrived faster than the subscriber read them. Subscribe again with the last cursor you "
        "received as `after`.",
        retry=True,
    )
    OUTCOME_UNKNOWN = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The change was sent and the reply was lost, so it may have been made. Repeat it with the same "
        "`idempotencyKey`: the server makes it at most once, and tells you the outcome. Without a key, look "
        "at the order first.",
        retry=True,
    )
    CONTROL_PLANE_NOT_CONFIGURED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "No platform is configured to administer. Set `DATABRICKS_HOST` and its credentials.",
    )
    CONTROL_PLANE_UNAVAILABLE = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The platform does not respond, has failed, or its response cannot be read.",
        retry=True,
    )
    CONTROL_PLANE_BUSY = Kind(
        Code.SERVICE_UNAVAILABLE, 503, "The platform limits the rate of requests. Wait a little.", retry=True
    )
    CONTROL_PLANE_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The platform took longer than an admin field may take. What it has begun continues: look at it, or "
        "send the request again.",
        retry=True,
    )
    CONTROL_PLANE_LOGIN_FAILED = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The platform rejects the server's own credentials. Check `DATABRICKS_TOKEN`, or the service "
        "principal's secret.",
    )
    CONTROL_PLANE_REFUSED = Kind(
        Code.CONFLICT,
        200,
        "The platform refuses the request for a reason that the server does not know. The message has its error code.",
    )
    DATABASE_UNAVAILABLE = Kind(Code.SERVICE_UNAVAILABLE, 503, "The server cannot reach the database.", retry=True)
    POOL_EXHAUSTED = Kind(Code.SERVICE_UNAVAILABLE, 503, "All database connections are in use.", retry=True)
    STATEMENT_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT, 504, "The database took too long. Narrow the filter to one that an index supports."
    )
    REQUEST_TIMEOUT = Kind(
        Code.GATEWAY_TIMEOUT,
        504,
        "The query took longer than `REQUEST_TIMEOUT`, so the server cancelled it and its statements. Ask for "
        "less at once.",
        retry=True,
    )
    SERVER_STOPPING = Kind(
        Code.SERVICE_UNAVAILABLE,
        503,
        "The server is stopping, and this would take too long. Another server will answer.",
        retry=True,
    )
    DATA_INVALID = Kind(
        Code.INTERNAL_SERVER_ERROR, 200, "A stored value does not match the schema. Only that row or value is null."
    )
    INTERNAL = Kind(Code.INTERNAL_SERVER_ERROR, 500, "A fault of the server. `errorId` finds it in the log.")


class ApiError(Exception):
    """An error that the client is meant to read. Admins are sent its message unchanged, others `public`.

    ApiError
    ├── RequestError    the request cannot be executed at all
    ├── LimitError      the document exceeds a limit
    ├── RateLimitedError    the caller has used up its share for now
    ├── InputError      an argument is wrong
    ├── UnauthenticatedError    the caller is not identified
    ├── ForbiddenError  the caller lacks a role, or the server itself lacks a permission
    ├── PlatformError   the platform refuses for good
    ├── InternalError   a mistake of the server itself, which the client is not told
    └── UnavailableError     the database or the platform does not respond for now
        └── OutcomeUnknownError     the reply to a write was lost

    Every other exception is a fault of the server, and its message is masked.
    """

    reasons: ClassVar[frozenset[Reason]]

    def __init__(self, reason: Reason, message: str) -> None:
        if reason not in self.reasons:
            raise ValueError(f"{type(self).__name__} does not explain {reason.name}")
        super().__init__(message)
        self.reason = reason
        self.message = message
        # What callers are told who are no admins.
        self.public = message
        # Further keys of `extensions`, besides code and reason.
        self.details: dict[str, object] = {}

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.reason.value.retry

    @property
    def retry_after_seconds(self) -> int | None:
        """In how many seconds to send the same request again; None if that is of no use."""
        return self.reason.value.retry_after if self.retryable else None


class RequestError(ApiError):
    """The request cannot be executed at all. The response has no `data`."""

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
    """The document exceeds a limit. Nothing of it is run.

    Args:
        reason: LIMIT_EXCEEDED or COST_EXCEEDED.
        message: says what was requested and what is allowed.
        limit: the name of the limit.
        requested: the requested amount; a lower bound if counting stopped above the limit.
        allowed: the allowed amount.
    """

    reasons = frozenset({Reason.LIMIT_EXCEEDED, Reason.COST_EXCEEDED})

    def __init__(self, reason: Reason, message: str, *, limit: str, requested: int, allowed: int) -> None:
        super().__init__(reason, message)
        self.details = {"limit": limit, "requested": requested, "allowed": allowed}


class RateLimitedError(ApiError):
    """The caller has used up its share for now.

    Args:
        reason: RATE_LIMITED, TOO_MANY_SUBSCRIPTIONS or TOO_MANY_BAD_TOKENS.
        message: says what the share is.
        retry_after_seconds: in how many seconds to retry; None if the operation costs more than the caller can ever
            have.
    """

    reasons = frozenset({Reason.RATE_LIMITED, Reason.TOO_MANY_SUBSCRIPTIONS, Reason.TOO_MANY_BAD_TOKENS})

    def __init__(self, reason: Reason, message: str, *, retry_after_seconds: int | None) -> None:
        super().__init__(reason, message)
        self._seconds = retry_after_seconds

    def advised(self, advice: Iterable[str]) -> RateLimitedError:
        """The same, with sentences on how to ask for less."""
        message = " ".join([self.message, *dict.fromkeys(advice)])
        return RateLimitedError(self.reason, message, retry_after_seconds=self._seconds)

    @property
    def retryable(self) -> bool:
        """Whether to retry."""
        return self._seconds is not None

    @property
    def retry_after_seconds(self) -> int | None:
        """In how many seconds the caller has its share again; None if never."""
        return self._seconds


class InputError(ApiError):
    """An argument is wrong. Its field is null; the rest of the response is not affected."""

    reasons = frozenset(
        reason
        for reason in Reason
        if reason.value.code is Code.BAD_USER_INPUT
        and reason not in {Reason.VARIABLES_INVALID, Reason.COST_NOT_ACKNOWLEDGED}
    )


class UnauthenticatedError(ApiError):
    """The caller is not identified. `challenge` is the value of the `WWW-Authenticate` header, if it is sent."""

    reasons = frozenset({Reason.UNAUTHENTICATED})

    def __init__(self, message: str, *, challenge: str | None = None) -> None:
        super().__init__(Reason.UNAUTHENTICATED, message)
        self.challenge = challenge


class ForbiddenError(ApiError):
    """The caller may not do this, or the platform does not allow it to the server."""

    reasons = frozenset(reason for reason in Reason if reason.value.code is Code.FORBIDDEN)


class PlatformError(ApiError):
    """The platform refuses for good: the resource exists, does not exist, or is in the wrong state."""

    reasons = frozenset(
        {
            Reason.SPEC_CONFLICT,
            Reason.NAME_HELD,
            Reason.PROTECTED,
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


class InternalError(ApiError):
    """A mistake of the server itself. Its message says no more; the log gets the exception that it is raised from."""

    reasons = frozenset({Reason.INTERNAL})


class UnavailableError(ApiError):
    """The database or the platform does not respond for now.

    Args:
        reason: what does not respond.
        message: the cause, and what an operator or the client can do.
        public: what callers are told who are no admins, if the message names roles, schemas, tables or instances.
        retry_after_seconds: in how many seconds to retry, if that is known better than the reason says.
    """

    reasons = frozenset(
        reason for reason in Reason if reason.value.code in {Code.SERVICE_UNAVAILABLE, Code.GATEWAY_TIMEOUT}
    )

    def __init__(
        self, reason: Reason, message: str, *, public: str | None = None, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(reason, message)
        self.public = public or message
        self._seconds = retry_after_seconds

    @property
    def retry_after_seconds(self) -> int | None:
        """In how many seconds to send the same request again; None if that is of no use."""
        return super().retry_after_seconds if self._seconds is None else self._seconds


class OutcomeUnknownError(UnavailableError):
    """A write was sent and its reply was lost, so the server does not know whether it was made."""

    reasons = frozenset({Reason.OUTCOME_UNKNOWN})

    def __init__(self, *, with_key: bool) -> None:
        advice = (
            "Repeat it with the same idempotencyKey: it is made at most once, and you are told its outcome."
            if with_key
            else "It had no idempotencyKey, so look at the order before you send the change again."
        )
        super().__init__(
            Reason.OUTCOME_UNKNOWN, f"The database's reply was lost, so the change may have been made. {advice}"
        )
        self._with_key = with_key

    @property
    def retryable(self) -> bool:
        """Whether to retry: only a key makes a repetition safe."""
        return self._with_key
