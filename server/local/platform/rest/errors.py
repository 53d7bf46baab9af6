"""The platform's errors: their codes, their HTTP statuses and their JSON bodies."""

from __future__ import annotations

import uuid
from typing import Any


class PlatformError(Exception):
    """An error that the REST API returns.

    Args:
        status: the HTTP status.
        code: the platform's `error_code`, for example NOT_FOUND.
        message: for people.
        details: more messages of google.rpc.
    """

    def __init__(self, status: int, code: str, message: str, *details: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self._details = details

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        body = error_body(self.code, self.message)
        body["details"][:0] = self._details
        return body


class OAuthError(PlatformError):
    """An error of the token endpoint, with the body of RFC 6749."""

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": self.code, "error_description": self.message}


def error_body(code: str, message: str) -> dict[str, Any]:
    """The JSON body of an error: its code, its message and a request id."""
    request = {
        "@type": "type.googleapis.com/google.rpc.RequestInfo",
        "request_id": str(uuid.uuid4()),
        "serving_data": "",
    }
    return {"error_code": code, "message": message, "details": [request]}


def not_found(message: str) -> PlatformError:
    """The resource does not exist."""
    return PlatformError(404, "NOT_FOUND", message)


def exists(message: str) -> PlatformError:
    """The name is taken."""
    return PlatformError(409, "ALREADY_EXISTS", message)


def conflict(message: str) -> PlatformError:
    """Another resource prevents the call."""
    return PlatformError(409, "RESOURCE_CONFLICT", message)


def invalid(message: str) -> PlatformError:
    """A value is not allowed."""
    return PlatformError(400, "INVALID_PARAMETER_VALUE", message)


def malformed(message: str) -> PlatformError:
    """The body cannot be read."""
    return PlatformError(400, "MALFORMED_REQUEST", message)


def wrong_state(message: str) -> PlatformError:
    """The resource's state does not allow the call."""
    return PlatformError(400, "INVALID_STATE", message)


def not_implemented(message: str) -> PlatformError:
    """The platform knows the path, but does not implement it."""
    return PlatformError(501, "NOT_IMPLEMENTED", message)


def bad_request(message: str) -> PlatformError:
    """What the Postgres API does not do."""
    return PlatformError(400, "BAD_REQUEST", message)


def absent(kind: str) -> PlatformError:
    """The Postgres API knows no project, branch, ... of this name."""
    return not_found(f"{kind} id not found [TraceId: {uuid.uuid4().hex}]")


def managed_by_parent(message: str) -> PlatformError:
    """The resource is deleted with its parent alone."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "domain": "databricks.com",
        "reason": "RESOURCE_CONFLICT",
        "metadata": {"declarative_context": "MANAGED_BY_PARENT"},
    }
    return PlatformError(400, "BAD_REQUEST", message, info)


def busy(message: str) -> PlatformError:
    """Another operation on the resource is in progress."""
    return PlatformError(409, "ABORTED", message)
