"""Owns the reading of database URLs: what libpq writes, as asyncpg takes it."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})
_SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
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

    Raises:
        InvalidDsnError: another scheme, a malformed port, an unknown `sslmode`.
    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _check_ports(parts.netloc)
    except ValueError as error:
        raise InvalidDsnError("is not a URL that can be read") from error
    if parts.scheme not in _SCHEMES:
        raise InvalidDsnError("has to start with postgresql://")
    sslmode = dict(query).get("sslmode", "prefer")
    if sslmode not in _SSL_MODES:
        raise InvalidDsnError(f"sslmode has to be one of {', '.join(sorted(_SSL_MODES))}")
    kept = urlencode([(name, value) for name, value in query if name not in _LIBPQ_ONLY])
    # Not urlunsplit, which leaves the slashes of an empty host out.
    return f"postgresql://{parts.netloc}{parts.path}" + (f"?{kept}" if kept else "")


def _check_ports(netloc: str) -> None:
    # A list of hosts is libpq's own; urlsplit would take all of it for one host and misread the port.
    credentials, _, hosts = netloc.rpartition("@")
    for host in hosts.split(","):
        _ = urlsplit(f"//{credentials}@{host}").port
