"""Settings of the Databricks workspace: the server's identity, and what administration creates."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

_CATALOG_OR_SCHEMA = r"^[A-Za-z0-9_]{1,255}$"


class WorkspaceSettings(BaseSettings):
    """How the server reaches the workspace, and where in Unity Catalog it works."""

    databricks_host: str | None = Field(
        None,
        description=(
            "The workspace's address. If this or one of the next three is not set, the Databricks SDK looks for it in "
            "its own places."
        ),
    )
    databricks_token: SecretStr | None = Field(
        None, description="A token of the server's identity, instead of a service principal."
    )
    databricks_client_id: str | None = Field(None, description="The service principal that the server runs as.")
    databricks_client_secret: SecretStr | None = Field(None, description="The service principal's secret.")
    lakebase_catalog_name: str | None = Field(
        None,
        pattern=_CATALOG_OR_SCHEMA,
        description=(
            "The catalog that registers the database. The synced tables are `ORDERS_TABLE` and those of `TABLES` in it."
        ),
    )
    synced_table_storage_catalog: str | None = Field(
        None,
        pattern=_CATALOG_OR_SCHEMA,
        description=(
            "A standard catalog in which sync pipelines keep their own tables. The server needs the right to create "
            "tables in it."
        ),
    )
    synced_table_storage_schema: str | None = Field(
        None, pattern=_CATALOG_OR_SCHEMA, description="The schema in `SYNCED_TABLE_STORAGE_CATALOG`."
    )
