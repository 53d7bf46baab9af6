"""The addresses of clients, as limits before authentication count them."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.settings import Settings

# A provider gives each of its customers a network of this size, whose addresses cost the customer nothing.
_NETWORK_BITS: Final = 64


class Addresses:
    """Says which clients count as one address.

    The addresses of proxies are not limited, because all clients behind a proxy have them: those in `PROXY_NETWORKS`,
    and every address with AUTH_MODE=databricks-app, which is only reached through the platform's proxy.
    """

    def __init__(self, settings: Settings) -> None:
        self._proxies = settings.proxy_networks
        self._only_proxied = settings.auth_mode == "databricks-app"

    def of(self, host: str | None) -> str | None:
        """The address that a client's host counts as: itself, or its /64 of IPv6; None if it is not limited."""
        if host is None or self._only_proxied:
            return None
        if not self._proxies and ":" not in host:
            return host
        try:
            address = ip_address(host)
        except ValueError:
            # A Unix socket's name: this machine's own.
            return None
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if any(address in network for network in self._proxies):
            return None
        if isinstance(address, IPv6Address):
            return f"{int(address) >> _NETWORK_BITS:x}/{_NETWORK_BITS}"
        return str(address)
