"""The server's settings in a run: names as in the cloud, and what the local platform says of itself."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, Final

from schema.graph import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST: Final = "127.0.0.1"
# Either names the instance, and so chooses the API that provisions it.
ENDPOINT, _INSTANCE = "LAKEBASE_ENDPOINT", "LAKEBASE_INSTANCE_NAME"
PROJECT_ENDPOINT = "projects/orders-pg/branches/production/endpoints/primary"
_NAMES = {
    "LAKEBASE_DATABASE_NAME": "orders",
    "LAKEBASE_CATALOG_NAME": "orders_catalog",
    "SYNCED_TABLE_STORAGE_CATALOG": "main",
    "SYNCED_TABLE_STORAGE_SCHEMA": "lakebase_meta",
    # All that there are.
    "TABLES": ",".join(f"{name}=public.{table.source}_synced" for name, table in TABLES.items()),
}
# Settings that the user's shell may hold for another database or deployment. The server does not get them.
_DROPPED = (
    "APP_ENV",
    "AUTH_MODE",
    "DATABASE_READ_URL",
    "DATABASE_URL",
    "DATABRICKS_APP_NAME",
    "DATABRICKS_APP_PORT",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "LAKEBASE_HOST",
    "LAKEBASE_READ_HOST",
    "PGDATABASE",
    "PGHOST",
    "PGPASSWORD",
    "PGPORT",
    "PGSSLMODE",
    "PGUSER",
)
_PLATFORM = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "LAKEBASE_PORT")


def server_settings(addresses: Mapping[str, Any], port: int) -> dict[str, str]:
    """The environment of the server, on this port, in front of the platform with these addresses."""
    settings = {
        **_NAMES,
        **os.environ,
        # As in the cloud: the platform's address, our token and the names. The server asks the platform for the rest.
        "DATABRICKS_HOST": str(addresses["host"]),
        "DATABRICKS_TOKEN": str(addresses["token"]),
        "LAKEBASE_PORT": str(addresses["pg_port"]),
        "HOST": HOST,
        "PORT": str(port),
        # `RunLog` reads it.
        "LOG_FORMAT": "json",
    }
    # An endpoint would take precedence over the name, and one of the user's is of another deployment.
    unset = (*_DROPPED, ENDPOINT if settings.get(_INSTANCE) else _INSTANCE)
    settings = {name: value for name, value in settings.items() if name not in unset}
    return settings if _INSTANCE in settings else {**settings, ENDPOINT: PROJECT_ENDPOINT}


def write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """Write the server's settings for its other commands. Only the user can read the file: it holds the token.

    A shell that sources it loses the settings that lead to another database.
    """
    given = [name for name in (ENDPOINT, _INSTANCE, *_NAMES, *_PLATFORM) if name in settings]
    unset = [name for name in (ENDPOINT, _INSTANCE, *_DROPPED) if name not in settings]
    path.touch(mode=0o600)
    lines = [f"unset {' '.join(unset)}", *(f"export {name}={shlex.quote(settings[name])}" for name in given)]
    path.write_text("\n".join(lines) + "\n")
