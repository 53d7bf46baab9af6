"""Owns the choice of the database that is served: the one that a URL names, or one of a Lakebase instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.db.database import UrlDatabase
from server.lakebase.instances import InstanceDatabase

if TYPE_CHECKING:
    from server.db.database import Database
    from server.lakebase.instances import Instances
    from server.settings import Settings


def served_database(settings: Settings, instances: Instances) -> Database:
    """The database that the settings name; a URL comes first."""
    if settings.database_url is not None:
        return UrlDatabase(settings.database_url.get_secret_value())
    # The settings are refused where neither is set.
    return InstanceDatabase(instances, settings.lakebase_instance_name or "", settings.lakebase_database_name)
