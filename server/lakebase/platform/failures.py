"""Translates the SDK's exceptions, by their class, into errors that a caller can act on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from databricks.sdk.errors import (
    Aborted,
    BadRequest,
    DeadlineExceeded,
    InvalidState,
    NotFound,
    PermissionDenied,
    ResourceConflict,
    TooManyRequests,
    Unauthenticated,
)
from databricks.sdk.errors import NotImplemented as NotOffered
from databricks.sdk.errors.base import DatabricksError

from schema.errors import ApiError, ForbiddenError, PlatformError, Reason, UnavailableError

# The most characters of the platform's own message that are repeated.
_MESSAGE_CHARACTERS: Final = 300
# A token in any place: personal, OAuth, or in a header. The login in a URL. A secret after its name: in JSON, a URL or
# a setting.
_SECRET: Final = re.compile(
    r"dapi[0-9a-zA-Z-]+|eyJ[\w.-]+|dose[0-9a-f]+|(?i:(bearer|basic)\s+\S+)|://[^\s/@]+@"
    r"|(?i:(token|secret|password|authorization|signature)[\"']?\s*[:=]\s*(basic\s+)?[\"']?[^\s\"'&,}]+)"
)
# From one of these on, a message has the SDK's own words: its configuration, or advice to report a bug of the SDK.
_SDK_WORDS: Final = re.compile(r"\.?\s*(Config: |Env: |Request log:|unable to parse response|This is likely a bug)")
# OAuth's codes for credentials that are refused (RFC 6749, section 5.2). The SDK raises a ValueError with the code.
_CREDENTIALS_REFUSED: Final = re.compile(r"(invalid|unauthorized|unsupported)_|access_denied")
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
# The first match counts: the SDK's class of aborted requests is a kind of conflict.
_REFUSALS: Final = (
    ((NotFound,), Reason.RESOURCE_NOT_FOUND, "finds no such resource"),
    ((Aborted,), Reason.CONTROL_PLANE_BUSY, "is busy with this resource"),
    ((ResourceConflict,), Reason.SPEC_CONFLICT, "reports a conflict"),
    ((InvalidState,), Reason.RESOURCE_NOT_READY, "says that the resource is in the wrong state"),
    ((BadRequest, NotOffered), Reason.CONTROL_PLANE_REFUSED, "refuses this"),
    ((DeadlineExceeded,), Reason.CONTROL_PLANE_TIMEOUT, "took too long"),
)


@dataclass(frozen=True, slots=True)
class Call:
    """What a call does, and the grant that it needs, by Databricks' documentation. README.md has the whole table."""

    doing: str
    grant: str


class Action(Enum):
    """Every call that the server makes to the platform."""

    LIST_INSTANCES = Call("listing the database instances", "CAN USE on the database instances")
    GET_INSTANCE = Call("reading the database instance", "CAN USE on the database instance")
    CREATE_INSTANCE = Call("creating the database instance", "CAN CREATE on database instances of the workspace")
    UPDATE_INSTANCE = Call("changing the database instance", "CAN MANAGE on the database instance")
    DELETE_INSTANCE = Call("deleting the database instance", "CAN MANAGE on the database instance")
    LIST_PROJECTS = Call("listing the projects", "CAN USE on the projects")
    GET_PROJECT = Call("reading the project of the instance", "CAN USE on the project")
    CREATE_PROJECT = Call("creating the project of the instance", "CAN CREATE on projects, which workspace users have")
    UPDATE_PROJECT = Call("changing the project of the instance", "CAN MANAGE on the project")
    UPDATE_ENDPOINT = Call("changing the endpoint of the instance", "CAN MANAGE on the project")
    DELETE_PROJECT = Call("deleting the project of the instance", "CAN MANAGE on the project")
    UNDELETE_PROJECT = Call("undeleting the project of the instance", "CAN MANAGE on the project")
    LIST_BRANCHES = Call("listing the branches of the instance", "CAN USE on the project")
    LIST_ENDPOINTS = Call("listing the endpoints of the branch", "CAN USE on the project")
    CREATE_BRANCH = Call("creating the branch", "CAN MANAGE on the project")
    UPDATE_BRANCH = Call("changing the branch", "CAN MANAGE on the project")
    DELETE_BRANCH = Call("deleting the branch", "CAN MANAGE on the project")
    UNDELETE_BRANCH = Call("undeleting the branch", "CAN MANAGE on the project")
    CREATE_ENDPOINT = Call("creating the endpoint of the branch", "CAN MANAGE on the project")
    LIST_SNAPSHOTS = Call("listing the snapshots of the instance", "CAN USE on the project")
    CREATE_SNAPSHOT = Call("taking the snapshot", "CAN MANAGE on the project")
    DELETE_SNAPSHOT = Call("deleting the snapshot", "CAN MANAGE on the project")
    GET_OPERATION = Call("carrying out what was asked", "CAN MANAGE on the project")
    GET_CATALOG = Call("reading the catalog", "USE CATALOG on the catalog")
    CREATE_CATALOG = Call(
        "creating the catalog", "CREATE CATALOG on the metastore, and CAN USE on the database instance or project"
    )
    FIND_PROJECT = Call("looking for a project with the instance's name", "CAN USE on the project, if there is one")
    FIND_CATALOG = Call("looking for another catalog of this name", "USE CATALOG on it, if there is one")
    FIND_TABLE = Call(
        "looking for another table of this name", "USE CATALOG, USE SCHEMA and SELECT on it, if there is one"
    )
    DELETE_CATALOG = Call("deleting the catalog", "ownership of the catalog, or MANAGE on it")
    LIST_CATALOGS = Call("listing the catalogs", "USE CATALOG on the catalogs")
    GET_SCHEMA = Call("reading the schema", "USE CATALOG and USE SCHEMA on the schema")
    LIST_TABLES = Call("listing the tables of the catalog", "USE CATALOG and USE SCHEMA on the catalog")
    GET_TABLE = Call("reading the synced table", "USE CATALOG, USE SCHEMA and SELECT on the synced table")
    GET_SOURCE = Call("reading the source table", "USE CATALOG, USE SCHEMA and SELECT on the source table")
    CREATE_TABLE = Call(
        "creating the synced table",
        "CAN USE on the database instance or project; USE CATALOG, USE SCHEMA and SELECT on the source; USE SCHEMA and "
        "CREATE TABLE in its own schema, and in the storage catalog and schema of its pipeline",
    )
    DELETE_TABLE = Call("deleting the synced table", "ownership of the synced table, or MANAGE on it")
    GET_PIPELINE = Call("reading the pipeline", "CAN VIEW on the pipeline")
    START_PIPELINE = Call("starting the pipeline", "CAN RUN on the pipeline, which its owner has")
    GET_ENDPOINT = Call("reading the database's endpoint", "CAN USE on the database's project")
    GET_BRANCH = Call("reading the database's branch", "CAN USE on the database's project")
    GET_IDENTITY = Call("reading the server's own identity", "a user or service principal of the workspace")
    GET_GROUPS = Call(
        "reading the caller's groups", "read access to the workspace's users by SCIM, which its admins have"
    )
    MINT_CREDENTIAL = Call("getting a credential for the database", "CAN USE on the database instance")
    MINT_ENDPOINT_CREDENTIAL = Call("getting a credential for the database", "CAN USE on the database's project")


def to_api_error(error: BaseException, action: Action) -> ApiError:
    """The error for a failed call. It repeats nothing that may hold a secret or the SDK's configuration."""
    if isinstance(error, ApiError):
        return error
    doing = action.value.doing
    if isinstance(error, TooManyRequests):
        return UnavailableError(
            Reason.CONTROL_PLANE_BUSY, f"The platform limits the rate of requests ({doing}). Try again in a minute."
        )
    if isinstance(error, PermissionDenied):
        return ForbiddenError(
            Reason.PERMISSION_MISSING,
            f"The platform does not let the server's identity do this ({doing}). It needs: {action.value.grant}.",
        )
    if isinstance(error, Unauthenticated) or _refuses_credentials(error):
        return UnavailableError(
            Reason.CONTROL_PLANE_LOGIN_FAILED,
            f"The platform does not accept the server's credentials ({doing}). Check DATABRICKS_TOKEN, or "
            "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET.",
        )
    if isinstance(error, DatabricksError):
        return _refusal(error, doing)
    if isinstance(error, (OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError)):
        # The connection was refused, reset or silent; or the answer is not JSON, or JSON of another shape.
        return UnavailableError(
            Reason.CONTROL_PLANE_UNAVAILABLE,
            f"The platform cannot be reached, or its answers cannot be read ({doing}). Try again shortly.",
        )
    raise error


class Summary(Exception):  # noqa: N818 # it is never raised, only logged in place of the SDK's exception
    """What may be logged of an exception of the SDK: its class, the platform's code, and the request's id."""


def summary_of(error: BaseException) -> Summary:
    """The summary of an exception and of its causes, which may form a ring."""
    parts: list[str] = []
    seen = set[int]()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        parts.append(type(cause).__name__)
        if isinstance(cause, DatabricksError):
            details = cause.get_error_details().request_info
            parts += [cause.error_code or "", details.request_id if details else ""]
            break
        cause = cause.__cause__
    return Summary(*(part[:_MESSAGE_CHARACTERS] for part in parts if part))


def _refusal(error: DatabricksError, doing: str) -> ApiError:
    for kinds, reason, predicate in _REFUSALS:
        # Unity Catalog has its own codes for a name that is taken. The SDK has classes for none of them.
        taken = reason is Reason.SPEC_CONFLICT and (error.error_code or "").endswith("ALREADY_EXISTS")
        if isinstance(error, kinds) or taken:
            kind = PlatformError if reason in PlatformError.reasons else UnavailableError
            return kind(reason, f"The platform {predicate} ({doing}){_details(error)}")
    return UnavailableError(Reason.CONTROL_PLANE_UNAVAILABLE, f"The platform failed ({doing}). Try again shortly.")


def _details(error: DatabricksError) -> str:
    """The platform's code and message, if it gave any: cut short, on one line, without secrets or the SDK's words."""
    code = error.error_code if error.error_code and _CODE.fullmatch(error.error_code) else ""
    message = _SDK_WORDS.split(str(error.args[0]) if error.args and error.args[0] else "")[0]
    message = _SECRET.sub("***", "".join(letter if letter.isprintable() else " " for letter in message))
    shown = message.rstrip(". ") if len(message) <= _MESSAGE_CHARACTERS else f"{message[:_MESSAGE_CHARACTERS]}..."
    details = ", ".join(part for part in (code, shown) if part)
    return f": {details}." if details else "."


def _refuses_credentials(error: BaseException) -> bool:
    """Whether the platform refused to exchange the client's id and secret for a token."""
    return isinstance(error, ValueError) and _CREDENTIALS_REFUSED.match(str(error)) is not None
