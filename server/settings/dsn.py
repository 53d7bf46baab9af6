"""Database URLs: reads what libpq accepts, and writes what asyncpg accepts."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
# Only these modes never send anything unencrypted.
ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})
# asyncpg sends a parameter that it does not know to PostgreSQL as a setting, which PostgreSQL refuses.
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
    """The URL is not a PostgreSQL URL. The message never quotes it."""


def parse_dsn(url: str) -> str:
    """Return the URL in asyncpg's form, without the parameters that only libpq knows.

    The host may be a list, an address, or a directory of Unix sockets. It is in the host's place (percent-encoded)
    or in the parameter `host`. A connection to another machine is encrypted even if the URL does not say so.

    Raises:
        InvalidDsnError: another scheme, a malformed port, an unknown `sslmode`, or one that would send data unencrypted
            to another machine.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _check_ports(parts.netloc)
    except ValueError as error:
        raise InvalidDsnError("is not a valid URL") from error
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
        raise InvalidDsnError(
            f"sslmode={sslmode} is for this machine only; another host needs require, verify-ca or verify-full"
        )
    kept = urlencode([(name, value) for name, value in query if name not in _LIBPQ_ONLY])
    # Not urlunsplit: it drops the slashes before an empty host.
    return f"postgresql://{parts.netloc}{parts.path}" + (f"?{kept}" if kept else "")


def address_of(dsn: str) -> str:
    """The address in a URL from `parse_dsn`: its hosts and ports, as they are written there or in PGHOST."""
    parts = urlsplit(dsn)
    hosts = parts.netloc.rpartition("@")[2]
    return hosts or dict(parse_qsl(parts.query)).get("host", os.environ.get("PGHOST", ""))


def is_local(host: str) -> bool:
    """Whether a host is this machine: a loopback name or address, or a directory of Unix sockets."""
    return not host or host.startswith(("/", "@")) or is_loopback(host.strip("[]"))


def is_loopback(host: str) -> bool:
    """Whether a name or address is a loopback one, which only this machine can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(netloc: str, parameter: str | None) -> list[str]:
    """The hosts of a URL, or else of PGHOST, as libpq and asyncpg do it."""
    named = [unquote(part) for part in netloc.rpartition("@")[2].split(",") if part]
    hosts = [urlsplit(f"//{host}").hostname or "" if not host.startswith(("/", "@")) else host for host in named]
    given = parameter if parameter is not None else os.environ.get("PGHOST", "")
    return hosts or given.split(",")


def _check_ports(netloc: str) -> None:
    # urlsplit knows no lists of hosts: it would take the list for one host, and misread the port.
    credentials, _, hosts = netloc.rpartition("@")
    for host in hosts.split(","):
        _ = urlsplit(f"//{credentials}@{host}").port
