"""The served database and its replicas, as the settings name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from server.db.database import UrlDatabase
from server.db.engine import create_read_pools
from server.lakebase.login.instance_database import InstanceDatabase
from server.settings.dsn import is_local
from server.tables.reading.replicas import Replicas

if TYPE_CHECKING:
    from server.db.database import Database
    from server.db.engine import Engines
    from server.lakebase.login.instances import Instances
    from server.settings import Settings
    from server.settings.database import ConnectionSettings

# How far a replica may be behind before reads leave it out. The feed holds back a change for as long, so that a
# subscriber who then reads finds it.
_REPLICA_LAG_SECONDS: Final = 0.2
NONE_NEEDED: Final = "none is needed"


def served_database(settings: ConnectionSettings, instances: Instances) -> Database:
    """The database that the settings name: by a URL, by PGHOST and a password, or by its name on the platform."""
    if url := fixed_url(settings):
        # PGHOST with a password names a Lakebase, which may sleep. A URL may name any PostgreSQL, which does not.
        return UrlDatabase(url, sleeps=settings.database_url is None, wake_timeout=settings.wake_timeout)
    return InstanceDatabase(instances, settings.served_name, settings.lakebase_database_name)


def create_replicas(settings: Settings, instances: Instances, engines: Engines) -> Replicas:
    """The replicas of the served database. It may have none, or get some later."""
    name, url = settings.served_name, fixed_read_url(settings)
    replica: Database | None = None
    if url is not None:
        replica = UrlDatabase(url)
    elif not fixed_url(settings):
        replica = InstanceDatabase(instances, name, settings.lakebase_database_name, read_only=True)

    async def exist() -> bool:
        return url is not None or await instances.read_only_host(name) is not None

    # The prefix is part of the metrics' `pool` label.
    pools = create_read_pools(settings, replica, prefix="secondary ") if replica and settings.read_replicas else ()
    return Replicas(engines, pools, exist, bound=_REPLICA_LAG_SECONDS)


def token_state(settings: Settings, instances: Instances) -> str:
    """The state of the token that the server logs in with, in words for an operator."""
    if fixed_url(settings):
        return NONE_NEEDED
    return instances.token_state(settings.served_name)


def fixed_url(settings: ConnectionSettings) -> str | None:
    """The URL of the database, if the server can find it and log in without the platform."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    if settings.pgpassword is None:
        return None
    return _url(settings, settings.lakebase_host or "")


def fixed_read_url(settings: ConnectionSettings) -> str | None:
    """The URL of that database's replica, if the settings name one."""
    if settings.database_url is not None:
        return settings.database_read_url.get_secret_value() if settings.database_read_url else None
    if settings.pgpassword is None or settings.lakebase_read_host is None:
        return None
    return _url(settings, settings.lakebase_read_host)


def _url(settings: ConnectionSettings, host: str) -> str:
    password = settings.pgpassword.get_secret_value() if settings.pgpassword else ""
    user = f"{quote(settings.pguser or '', safe='')}:{quote(password, safe='')}"
    address = f"[{host}]" if ":" in host else quote(host, safe="")
    name = f"{user}@{address}:{settings.lakebase_port}/{settings.lakebase_database_name}"
    # A connection within this machine needs no encryption.
    return f"postgresql://{name}?sslmode={settings.pgsslmode}" if not is_local(host) else f"postgresql://{name}"
