"""Owns the choice of the database that is served, and of its readable secondaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from server.db.database import UrlDatabase
from server.db.engine import create_read_pools
from server.lakebase.login.instances import InstanceDatabase
from server.orders.replicas import Replicas
from server.settings.dsn import is_local

if TYPE_CHECKING:
    from server.db.database import Database
    from server.db.engine import Engines
    from server.lakebase.login.instances import Instances
    from server.settings import Settings
    from server.settings.database import ConnectionSettings

# How far a replica may be behind before reads leave it out. The feed holds back a change for as long, so that a
# subscriber who then reads finds it.
_REPLICA_LAG_SECONDS: Final = 0.2


def served_database(settings: ConnectionSettings, instances: Instances) -> Database:
    """The database that the settings name: by a URL, at an address with a password that stays, or on the platform."""
    if url := fixed_url(settings):
        # At PGHOST, with a password of its own, is a Lakebase; a URL may lead to any PostgreSQL.
        return UrlDatabase(url, sleeps=settings.database_url is None, wake_timeout=settings.wake_timeout)
    return InstanceDatabase(instances, settings.served_name, settings.lakebase_database_name)


def create_secondaries(settings: Settings, instances: Instances, engines: Engines) -> Replicas:
    """The readable secondaries of that database, if it has or may come to have any."""
    name, url = settings.served_name, fixed_read_url(settings)
    standby: Database | None = None
    if url is not None:
        standby = UrlDatabase(url)
    elif not fixed_url(settings):
        standby = InstanceDatabase(instances, name, settings.lakebase_database_name, read_only=True)

    async def exist() -> bool:
        return url is not None or await instances.read_only_host(name) is not None

    pools = create_read_pools(settings, standby, prefix="secondary ") if standby and settings.read_replicas else ()
    return Replicas(engines, pools, exist, bound=_REPLICA_LAG_SECONDS)


def token_state(settings: Settings, instances: Instances) -> str:
    """How it stands with the token that logins take, for an operator."""
    if fixed_url(settings):
        return "none is needed"
    return instances.token_state(settings.served_name)


def fixed_url(settings: ConnectionSettings) -> str | None:
    """The URL of a database that needs no platform to be found and logged in to."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.pgpassword is None:
        return None
    return _url(settings, settings.lakebase_host or "")


def fixed_read_url(settings: ConnectionSettings) -> str | None:
    """That of its standby, if one is named."""
    if settings.database_url is not None:
        return settings.database_read_url.get_secret_value() if settings.database_read_url else None
    if settings.pgpassword is None or settings.lakebase_read_host is None:
        return None
    return _url(settings, settings.lakebase_read_host)


def _url(settings: ConnectionSettings, host: str) -> str:
    password = settings.pgpassword.get_secret_value() if settings.pgpassword else ""
    user = f"{quote(settings.pguser or '', safe='')}:{quote(password, safe='')}"
    place = f"[{host}]" if ":" in host else quote(host, safe="")
    name = f"{user}@{place}:{settings.lakebase_port}/{settings.lakebase_database_name}"
    # An address of this machine needs no encryption, and may have it.
    return f"postgresql://{name}?sslmode={settings.pgsslmode}" if not is_local(host) else f"postgresql://{name}"
