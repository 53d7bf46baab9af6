"""The bodies of the Postgres API: their shapes, as the SDK sends them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from server.local.platform.rest.bodies import AttributesBody, Body, NewPipelineBody


class GroupBody(Body):
    """The number of computes of an endpoint, and whether the secondary ones can be read."""

    min: int
    max: int
    enable_readable_secondaries: bool | None = None


class ComputeBody(Body):
    """What endpoints, and the defaults of a project, have in common."""

    autoscaling_limit_min_cu: float | None = None
    autoscaling_limit_max_cu: float | None = None
    suspend_timeout_duration: str | None = None
    no_suspension: bool | None = None


class DefaultEndpointBody(ComputeBody):
    """A ProjectDefaultEndpointSettings."""

    pg_settings: dict[str, str] | None = None


class InitialEndpointBody(ComputeBody):
    """An InitialEndpointSpec."""

    group: GroupBody | None = None


class InitialBranchBody(Body):
    """An InitialBranchSpec."""

    is_protected: bool | None = None


class ProjectSpecBody(Body):
    """A ProjectSpec."""

    display_name: str | None = None
    pg_version: int | None = None
    history_retention_duration: str | None = None
    default_branch: str | None = None
    default_endpoint_settings: DefaultEndpointBody | None = None
    enable_pg_native_login: bool | None = None
    custom_tags: list[dict[str, str]] | None = None
    budget_policy_id: str | None = None


class ProjectBody(Body):
    """A Project."""

    spec: ProjectSpecBody = Field(default_factory=ProjectSpecBody)
    initial_branch_spec: InitialBranchBody = Field(default_factory=InitialBranchBody)
    initial_endpoint_spec: InitialEndpointBody = Field(default_factory=InitialEndpointBody)


class TermBody(Body):
    """When a branch or a snapshot expires."""

    ttl: str | None = None
    expire_time: str | None = None
    no_expiry: bool | None = None


class BranchSpecBody(TermBody):
    """A BranchSpec."""

    source_branch: str | None = None
    source_branch_time: str | None = None
    source_branch_lsn: str | None = None
    source_snapshot: str | None = None
    is_protected: bool | None = None


class BranchBody(Body):
    """A Branch."""

    spec: BranchSpecBody = Field(default_factory=BranchSpecBody)


class EndpointSettingsBody(Body):
    """An EndpointSettings."""

    pg_settings: dict[str, str] | None = None


class EndpointSpecBody(ComputeBody):
    """An EndpointSpec."""

    endpoint_type: Literal["ENDPOINT_TYPE_READ_WRITE", "ENDPOINT_TYPE_READ_ONLY"] | None = None
    disabled: bool | None = None
    group: GroupBody | None = None
    settings: EndpointSettingsBody | None = None


class EndpointBody(Body):
    """An Endpoint."""

    spec: EndpointSpecBody = Field(default_factory=EndpointSpecBody)


class DatabaseSpecBody(Body):
    """A DatabaseDatabaseSpec."""

    role: str | None = None
    postgres_database: str | None = None


class DatabaseBody(Body):
    """A Database."""

    spec: DatabaseSpecBody = Field(default_factory=DatabaseSpecBody)


class RoleSpecBody(Body):
    """A RoleRoleSpec."""

    postgres_role: str | None = None
    identity_type: Literal["GROUP", "SERVICE_PRINCIPAL", "USER"] | None = None
    auth_method: Literal["LAKEBASE_OAUTH_V1", "NO_LOGIN", "PG_PASSWORD_SCRAM_SHA_256"] | None = None
    membership_roles: list[Literal["DATABRICKS_SUPERUSER"]] | None = None
    attributes: AttributesBody | None = None


class RoleBody(Body):
    """A Role."""

    spec: RoleSpecBody = Field(default_factory=RoleSpecBody)


class SnapshotSpecBody(TermBody):
    """A SnapshotSpec."""

    source_branch: str | None = None
    source_branch_time: str | None = None
    source_branch_lsn: str | None = None


class SnapshotBody(Body):
    """A Snapshot."""

    spec: SnapshotSpecBody = Field(default_factory=SnapshotSpecBody)


class CatalogSpecBody(Body):
    """A CatalogCatalogSpec."""

    branch: str | None = None
    postgres_database: str | None = None
    create_database_if_missing: bool | None = None


class CatalogBody(Body):
    """A Catalog."""

    spec: CatalogSpecBody = Field(default_factory=CatalogSpecBody)


class SyncedTableSpecBody(Body):
    """A SyncedTableSyncedTableSpec."""

    branch: str | None = None
    postgres_database: str | None = None
    source_table_full_name: str | None = None
    primary_key_columns: list[str] | None = None
    scheduling_policy: Literal["CONTINUOUS", "SNAPSHOT", "TRIGGERED"] | None = None
    timeseries_key: str | None = None
    create_database_objects_if_missing: bool = True
    existing_pipeline_id: str | None = None
    new_pipeline_spec: NewPipelineBody | None = None
    accelerated_sync: bool | None = None
    type_overrides: list[dict[str, Any]] | None = None
    extra_columns: list[dict[str, Any]] | None = None


class SyncedTableBody(Body):
    """A SyncedTable."""

    spec: SyncedTableSpecBody = Field(default_factory=SyncedTableSpecBody)
