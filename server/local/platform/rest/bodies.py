"""The bodies and query parameters of requests: their shapes, and how the platform refuses others."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.local.platform.rest.errors import invalid, malformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_INSTANCE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_CATALOG_PART = re.compile(r"[A-Za-z0-9_]{1,255}")
_DATABASE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_RESERVED_DATABASES = {"postgres", "template0", "template1"}
_MAX_PAGE = 100
_TABLE_PARTS = 3


class Body(BaseModel):
    """A body of which unknown fields are ignored."""

    # As the platform reads JSON: "7" is not a number, and unknown fields are ignored.
    model_config = ConfigDict(strict=True, extra="ignore")


class InstanceBody(Body):
    """A DatabaseInstance as a client sends it."""

    name: str | None = None
    capacity: str | None = None
    node_count: int | None = None
    enable_readable_secondaries: bool | None = None
    retention_window_in_days: int | None = None
    stopped: bool | None = None
    enable_pg_native_login: bool | None = None
    custom_tags: list[dict[str, str]] | None = None
    usage_policy_id: str | None = None
    parent_instance_ref: dict[str, Any] | None = None


class CatalogBody(Body):
    """A DatabaseCatalog as a client sends it."""

    name: str | None = None
    database_instance_name: str | None = None
    database_name: str | None = None
    create_database_if_not_exists: bool | None = None


class NewPipelineBody(Body):
    """The catalog and schema in which a new pipeline keeps its files."""

    storage_catalog: str | None = None
    storage_schema: str | None = None
    budget_policy_id: str | None = None


class TableSpecBody(Body):
    """A SyncedTableSpec as a client sends it."""

    source_table_full_name: str | None = None
    primary_key_columns: list[str] | None = None
    scheduling_policy: Literal["CONTINUOUS", "SNAPSHOT", "TRIGGERED"] | None = None
    timeseries_key: str | None = None
    create_database_objects_if_missing: bool | None = None
    existing_pipeline_id: str | None = None
    new_pipeline_spec: NewPipelineBody | None = None
    accelerated_sync: bool | None = None
    type_overrides: list[dict[str, Any]] | None = None


class SyncedTableBody(Body):
    """A SyncedDatabaseTable as a client sends it."""

    name: str | None = None
    database_instance_name: str | None = None
    logical_database_name: str | None = None
    spec: TableSpecBody | None = None


class DatabaseTableBody(Body):
    """A DatabaseTable as a client sends it."""

    name: str | None = None
    database_instance_name: str | None = None
    logical_database_name: str | None = None


class AttributesBody(Body):
    """The attributes of a role."""

    bypassrls: bool = False
    createdb: bool = False
    createrole: bool = False


class RoleBody(Body):
    """A DatabaseInstanceRole as a client sends it."""

    name: str | None = None
    identity_type: Literal["GROUP", "PG_ONLY", "SERVICE_PRINCIPAL", "USER"] | None = None
    membership_role: Literal["DATABRICKS_SUPERUSER"] | None = None
    attributes: AttributesBody = Field(default_factory=AttributesBody)


class CredentialBody(Body):
    """A request for a credential."""

    instance_names: list[str] | None = None
    claims: list[dict[str, Any]] | None = None
    request_id: str | None = None


class EndpointCredentialBody(Body):
    """A request for a credential, in the Autoscaling API."""

    endpoint: str | None = None
    ttl: str | None = None
    expire_time: str | None = None
    claims: list[dict[str, Any]] | None = None


class UpdateBody(Body):
    """A request to start an update of a pipeline."""

    full_refresh: bool = False
    cause: str = "API_CALL"


_B = TypeVar("_B", bound=BaseModel)


def parsed(model: type[_B], raw: bytes) -> _B:
    """Parse a body.

    Raises:
        PlatformError: MALFORMED_REQUEST; its message names the field.
    """
    try:
        value = json.loads(raw or b"{}")
    except ValueError as error:
        raise malformed(f"Could not parse request object: {error}") from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the body"
        raise malformed(f"Could not parse request object: {field}: {first['msg']}") from None


def instance_name(name: str | None) -> str:
    """Check the name of an instance, and return it."""
    if not name or not _INSTANCE_NAME.fullmatch(name):
        raise invalid(
            f"Database instance name {name!r} is invalid: use 1 to 63 letters, digits and hyphens, a letter first."
        )
    return name


def catalog_name(name: str | None) -> str:
    """Check the name of a catalog, and return it in lower case, as Unity Catalog keeps all names."""
    if not name or not _CATALOG_PART.fullmatch(name):
        raise invalid(f"Catalog name {name!r} is invalid: use up to 255 letters, digits and underscores.")
    return name.lower()


def database_name(name: str | None) -> str:
    """Check the name of a logical database, and return it."""
    if not name or not _DATABASE_NAME.fullmatch(name) or name in _RESERVED_DATABASES:
        raise invalid(f"Database name {name!r} is invalid.")
    return name


def table_parts(name: str | None) -> tuple[str, str, str]:
    """Split the full name of a table into catalog, schema and table, in lower case as Unity Catalog keeps all names."""
    parts = (name or "").split(".")
    if len(parts) != _TABLE_PARTS or not all(_CATALOG_PART.fullmatch(part) for part in parts):
        raise invalid(
            f"Table name {name!r} is invalid: use catalog.schema.table, each of letters, digits and underscores."
        )
    catalog, schema, table = (part.lower() for part in parts)
    return catalog, schema, table


def boolean(query: Mapping[str, str], name: str) -> bool | None:
    """A boolean query parameter; None if it is absent."""
    text = query.get(name)
    if text not in ("true", "false", None):
        raise invalid(f"{name}: {text!r} is neither true nor false.")
    return None if text is None else text == "true"


def page(items: Sequence[dict[str, Any]], query: Mapping[str, str], limit: int = _MAX_PAGE) -> dict[str, Any]:
    """The page that the query asks for: its `items`, and a `next_page_token` if more follow."""
    try:
        size = int(query.get("page_size") or query.get("max_results") or 0)
        start = int(base64.urlsafe_b64decode(query.get("page_token") or "MA=="))
    except (ValueError, binascii.Error):
        raise invalid("page_size or page_token is invalid.") from None
    if size < 0 or start < 0:
        raise invalid("page_size or page_token is invalid.")
    end = start + min(size or limit, limit)
    found: dict[str, Any] = {"items": list(items[start:end])}
    if end < len(items):
        found["next_page_token"] = base64.urlsafe_b64encode(str(end).encode()).decode()
    return found
