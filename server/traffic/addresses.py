"""The addresses of clients, as limits before authentication count them."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from server.settings import Settings

# Providers give a household this network or a smaller one (RIPE-690), and it may use all of the addresses. A /48 is a
# company's, but also a mobile operator's for the phones of a city.
_NETWORK_BITS: Final = 56


class Addresses:
    """Says which clients count as one address.

    The addresses of proxies are not limited, because all clients behind a proxy have them: those in `PROXY_NETWORKS`,
    and every address with AUTH_MODE=databricks-app, which is only reached through the platform's proxy.
    """

    def __init__(self, settings: Settings) -> None:
        self._proxies = settings.proxy_networks
        self._only_proxied = settings.auth_mode == "databricks-app"

    def of(self, host: str | None) -> str | None:
        """The address that a client's host counts as: itself, or its /56 of IPv6; None if it is not limited."""
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
            return f"{int(address) >> 128 - _NETWORK_BITS:x}/{_NETWORK_BITS}"
        return str(address)
