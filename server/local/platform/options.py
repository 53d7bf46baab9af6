"""Owns the options of the local platform, read from variables of the environment with the prefix LOCAL_."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Options(BaseSettings):
    """How the local platform behaves. All times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="LOCAL_")

    directory: Path = Field(Path(".local/platform"), description="Its state, and the data of every instance.")
    sources: Path | None = Field(None, description="Where generated source tables are kept; below directory if absent.")
    http_port: int = Field(0, description="On 127.0.0.1; 0 takes a free one at the first start and keeps it.")
    pg_port: int = Field(0, description="Of every instance; 0 takes a free one at the first start and keeps it.")
    user_name: str = Field("operator@example.com", description="Who the operator's token belongs to.")
    groups: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Who is in which group, as JSON: e-mails of users and client ids of service principals by group.",
    )
    scale: float = Field(0.1, gt=0, description="TPC-H's scale factor; 1 is 1,500,000 orders.")
    start_delay: float = Field(5, ge=0, description="From STARTING to AVAILABLE, at least.")
    resize_delay: float = Field(3, ge=0, description="In UPDATING, at least, before PostgreSQL is restarted.")
    wake_delay: float = Field(0.5, ge=0, description="From the first knock at a suspended instance to its start.")
    suspend_after: float = Field(0, ge=0, description="Idle for so long, an instance is suspended; 0 is never.")
    token_lifetime: float = Field(3600, gt=0, description="Of credentials, and of access tokens of the OIDC endpoint.")
    provisioning_delay: float = Field(0.5, ge=0, description="Of a synced table in PROVISIONING.")
    resources_delay: float = Field(1, ge=0, description="Of a sync while its pipeline gets resources.")
    snapshot_delay: float = Field(2, ge=0, description="Added to the copying of the rows, spread over it.")
    sync_mode: Literal["swap", "in_place"] = Field(
        "swap",
        description="swap fills a new table beside the old one and puts it in place in one transaction; "
        "in_place drops the old one first: readers see it missing, and then partly filled.",
    )
    index_rights: bool = Field(
        default=True,
        description="Members of databricks_superuser may create indexes on synced tables, and grant rights on them.",
    )
    keep_pipelines: bool = Field(
        default=False,
        description="A pipeline outlives the synced table that it was made for, and has to be deleted by itself.",
    )
    pg_options: dict[str, str] = Field(default_factory=dict, description="More settings of PostgreSQL, as JSON.")

    @property
    def kept_sources(self) -> Path:
        """Where generated source tables are kept."""
        return self.sources or self.directory / "sources"
