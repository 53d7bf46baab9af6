"""The listening sockets, which worker processes share."""

from __future__ import annotations

import socket

import structlog

_log = structlog.get_logger(__name__)


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to all addresses of the host.

    Raises:
        OSError: an address cannot be bound.
    """
    sockets = []
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 gets a socket of its own.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        _log.info("listening", host=bound.getsockname()[0], port=bound.getsockname()[1])
        sockets.append(bound)
    return sockets
