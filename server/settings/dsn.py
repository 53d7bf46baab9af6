"""Owns the reading of database URLs: what libpq writes, as asyncpg takes it."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from server.settings.loopback import is_loopback

_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
# With these nothing goes out that is not encrypted.
ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
# asyncpg would send what it does not know to the server as a setting, which refuses the connection.
_LIBPQ_ONLY = frozenset(
    {
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "require_auth",
        "requirepeer",
        "sslcompression",
        "sslcertmode",
        "sslsni",
        "tcp_user_timeout",
    }
)


class InvalidDsnError(ValueError):
    """The URL is not one of a PostgreSQL; the message never quotes it."""


def parse_dsn(url: str) -> str:
    """The URL as asyncpg takes it, without the parameters that only libpq knows.

    Hosts may be lists, addresses, or directories of Unix sockets, in the host's place
    (percent-encoded) or as the parameter `host`.

    To a host that is not this machine the connection is encrypted, also where the URL does not say so.

    Raises:
        InvalidDsnError: another scheme, a malformed port, an unknown `sslmode`, or one that sends data unencrypted to
            another machine.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _check_ports(parts.netloc)
    except ValueError as error:
        raise InvalidDsnError("is not a URL that can be read") from error
    if parts.scheme not in _SCHEMES:
        raise InvalidDsnError("has to start with postgresql://")
    given = dict(query)
    remote = not all(is_local(host) for host in _hosts(parts.netloc, given.get("host")))
    if "sslmode" not in given and remote:
        query.append(("sslmode", os.environ.get("PGSSLMODE") or "require"))
    sslmode = dict(query).get("sslmode", "prefer")
    if sslmode not in _SSL_MODES:
        raise InvalidDsnError(f"sslmode has to be one of {', '.join(sorted(_SSL_MODES))}")
    if remote and sslmode not in ENCRYPTED:
        raise InvalidDsnError(f"sslmode={sslmode} is for this machine only; to another host it has to be require")
    kept = urlencode([(name, value) for name, value in query if name not in _LIBPQ_ONLY])
    # Not urlunsplit, which leaves the slashes of an empty host out.
    return f"postgresql://{parts.netloc}{parts.path}" + (f"?{kept}" if kept else "")


def is_local(host: str) -> bool:
    """Whether a host is this machine alone: a name or address of loopback, or a directory of Unix sockets."""
    return not host or host.startswith(("/", "@")) or is_loopback(host.strip("[]"))


def _hosts(netloc: str, parameter: str | None) -> list[str]:
    """The hosts of a URL; without any it is what the environment says, to libpq and asyncpg alike."""
    named = [unquote(part) for part in netloc.rpartition("@")[2].split(",") if part]
    hosts = [urlsplit(f"//{host}").hostname or "" if not host.startswith(("/", "@")) else host for host in named]
    given = parameter if parameter is not None else os.environ.get("PGHOST", "")
    return hosts or given.split(",")


def _check_ports(netloc: str) -> None:
    # A list of hosts is libpq's own; urlsplit would take all of it for one host and misread the port.
    credentials, _, hosts = netloc.rpartition("@")
    for host in hosts.split(","):
        _ = urlsplit(f"//{credentials}@{host}").port
