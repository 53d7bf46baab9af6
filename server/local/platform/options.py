"""The options of the local platform: environment variables that begin with LOCAL_."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Options(BaseSettings):
    """How the local platform behaves. All times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="LOCAL_")

    directory: Path = Field(Path(".local/platform"), description="Holds its state and the data of every branch.")
    sources: Path | None = Field(
        None, description="Holds the generated source tables. By default `sources` in the directory."
    )
    http_port: int = Field(
        0, description="The REST API's port on 127.0.0.1. 0 chooses a free one at the first start and keeps it."
    )
    pg_port: int = Field(
        0, description="The PostgreSQL port of every endpoint. 0 chooses a free one at the first start and keeps it."
    )
    user_name: str = Field("operator@example.com", description="The user that the operator's token belongs to.")
    groups: dict[str, list[str]] = Field(
        default_factory=dict,
        description="The members of each group, as JSON: users by e-mail, service principals by client id.",
    )
    scale: float = Field(0.1, gt=0, description="TPC-H's scale factor. 1 is 1,500,000 orders.")
    start_delay: float = Field(5, ge=0, description="Minimum time that an endpoint takes to start.")
    resize_delay: float = Field(3, ge=0, description="Time before PostgreSQL is restarted by a change.")
    wake_delay: float = Field(
        0.5, ge=0, description="Time between the first attempt to connect to a suspended endpoint and its start."
    )
    suspend_after: float = Field(
        0, ge=0, description="Idle time after which an endpoint without a time of its own is suspended. 0 is never."
    )
    operation_delay: float = Field(
        0.5, ge=0, description="Minimum time before an operation of the Postgres API is done."
    )
    deletion_delay: float = Field(
        1, ge=0, description="Time for which a synced table that the Postgres API deletes lingers as DELETING."
    )
    purge_after: float = Field(7 * 86_400, gt=0, description="Time after which a deleted project or branch is purged.")
    deleted_are_found: bool = Field(
        default=True, description="A get shows a deleted project or branch, with its delete_time. False is a 404."
    )
    branch_endpoints: bool = Field(
        default=True,
        description="A new branch has a read-write endpoint, `primary`. With false a client has to create one.",
    )
    token_lifetime: float = Field(3600, gt=0, description="Lifetime of credentials and of OAuth access tokens.")
    provisioning_delay: float = Field(0.5, ge=0, description="Time that a synced table stays in PROVISIONING.")
    resources_delay: float = Field(1, ge=0, description="Time that a sync waits for its pipeline's resources.")
    snapshot_delay: float = Field(2, ge=0, description="Time added to the copying of the rows, spread over it.")
    sync_mode: Literal["swap", "in_place"] = Field(
        "swap",
        description="swap fills a new table and swaps it with the old one in one transaction. "
        "in_place drops the old table first: readers find it missing, and then partly filled.",
    )
    index_rights: bool = Field(
        default=True,
        description="Members of databricks_superuser may create indexes and grant privileges on synced tables.",
    )
    keep_pipelines: bool = Field(
        default=False,
        description="A pipeline is kept when its last synced table is deleted. A client has to delete it.",
    )
    pg_options: dict[str, str] = Field(default_factory=dict, description="More settings of PostgreSQL, as JSON.")

    @property
    def sources_directory(self) -> Path:
        """The directory of the generated source tables."""
        return self.sources or self.directory / "sources"
