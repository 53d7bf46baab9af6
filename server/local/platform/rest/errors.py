"""Owns the platform's errors: their codes, their HTTP statuses and how they look on the wire."""

from __future__ import annotations

import uuid
from typing import Any


class PlatformError(Exception):
    """What is answered in place of a result.

    Args:
        status: the HTTP status.
        code: the platform's error_code, NOT_FOUND say.
        message: for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, Any]:
        """How it looks on the wire."""
        return error_body(self.code, self.message)


class OAuthError(PlatformError):
    """What the token endpoint refuses with, in the words of RFC 6749."""

    def body(self) -> dict[str, Any]:
        """How it looks on the wire."""
        return {"error": self.code, "error_description": self.message}


def error_body(code: str, message: str) -> dict[str, Any]:
    """The body of an error: its code, its message and the id of the request that met it."""
    request = {
        "@type": "type.googleapis.com/google.rpc.RequestInfo",
        "request_id": str(uuid.uuid4()),
        "serving_data": "",
    }
    return {"error_code": code, "message": message, "details": [request]}


def not_found(message: str) -> PlatformError:
    """There is no such thing."""
    return PlatformError(404, "NOT_FOUND", message)


def exists(message: str) -> PlatformError:
    """The name is taken."""
    return PlatformError(409, "ALREADY_EXISTS", message)


def conflict(message: str) -> PlatformError:
    """Something else stands in the way."""
    return PlatformError(409, "RESOURCE_CONFLICT", message)


def invalid(message: str) -> PlatformError:
    """A value that cannot be."""
    return PlatformError(400, "INVALID_PARAMETER_VALUE", message)


def malformed(message: str) -> PlatformError:
    """A body that cannot be read."""
    return PlatformError(400, "MALFORMED_REQUEST", message)


def wrong_state(message: str) -> PlatformError:
    """Not now."""
    return PlatformError(400, "INVALID_STATE", message)


def not_implemented(message: str) -> PlatformError:
    """The platform has the path, and nothing behind it."""
    return PlatformError(501, "NOT_IMPLEMENTED", message)
