"""A rig on the local platform: the server reaches the platform's PostgreSQL over a proxy, with short-lived tokens."""

from __future__ import annotations

import contextlib
import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from server.local.cluster import Cluster
from tests.faults.proxy import running_proxy
from tests.faults.rig import DURABLE, REQUEST_TIMEOUT_SECONDS, Rig, connections, known
from tests.servers.operator import DATABASE, HASTE, INSTANCE, operated
from tests.servers.platform import platform_directory, running_platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.faults.proxy import Proxy
    from tests.servers.platform import LocalPlatform

_SCALE: Final = 0.01


@contextlib.contextmanager
def on_platform(
    *, token_seconds: float, recycle_seconds: float, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[Rig, LocalPlatform, Proxy]]:
    """A server that is given the name of an instance, which holds the orders.

    Args:
        token_seconds: the lifetime of a token, in seconds.
        recycle_seconds: the age at which the server replaces a connection.
        settings: the server's settings.
    """
    metrics_token = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(platform_directory())
        options: dict[str, Any] = {"scale": _SCALE, "token_lifetime": token_seconds, "pg_options": DURABLE}
        platform = stack.enter_context(running_platform(directory, start_delay=0, **options))
        platform.create_instance(INSTANCE)
        (instance,) = platform.inventory()["instances"]
        proxy = stack.enter_context(running_proxy(instance["read_write_dns"], platform.pg_port))
        given = {
            "LAKEBASE_HOST": "127.0.0.1",
            "LAKEBASE_PORT": str(proxy.port),
            "METRICS_TOKEN": metrics_token,
            "REQUEST_TIMEOUT": str(REQUEST_TIMEOUT_SECONDS),
            **settings,
        }
        altered = {**HASTE, "server.db.engine._RECYCLE_SECONDS": recycle_seconds}
        operator = stack.enter_context(operated(platform, port=None, altered=altered, **given))
        operator.provisioned()
        cluster = Cluster(next((directory / "instances").glob("*")), database=DATABASE)
        socket = quote(str(cluster.socket_directory), safe="")
        password = quote(cluster.password, safe="")
        database = f"postgresql://postgres:{password}@/{DATABASE}?host={socket}&port={platform.pg_port}"
        canaries = (cluster.password, metrics_token, platform.token)
        rig = Rig(operator.server, database, "orders_app", connections(given), metrics_token, canaries)
        yield stack.enter_context(known(rig)), platform, proxy
