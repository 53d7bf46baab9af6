"""Tests of what counts as one address, and of the addresses that are not limited."""

from __future__ import annotations

from typing import Any

import pytest

from server.settings import Settings, SettingsError, load_settings
from server.traffic.addresses import Addresses


def addresses(**settings: Any) -> Addresses:
    """The addresses as a server with these settings counts them."""
    return Addresses(Settings(database_url="postgresql://127.0.0.1/x", **settings))


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:0db8:0:0:aaaa:bbbb:cccc:dddd", True),
        ("2001:db8::1", "2001:db8:0:ff::1", True),
        ("2001:db8::1", "2001:db8:0:100::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_host_of_ipv4_and_a_network_of_ipv6_are_one_address(one: str, another: str, *, same: bool) -> None:
    """A customer of a provider has one address of IPv4, but 2^72 of IPv6."""
    found = addresses(proxy_networks="10.0.0.0/8")
    assert found.of(one) is not None
    assert (found.of(one) == found.of(another)) is same
    assert found.of("192.0.2.1") == addresses().of("192.0.2.1")


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8:1::7"])
def test_proxies_are_not_limited(host: str) -> None:
    """All clients behind a proxy have its address."""
    proxied = addresses(proxy_networks="10.0.0.0/8, 192.0.2.7,2001:db8:1::/48")
    assert proxied.of(host) is None
    assert proxied.of("192.0.2.8") is not None
    assert addresses().of(host) is not None


def test_behind_the_platforms_proxy_nobody_is_limited() -> None:
    """Every connection comes from there."""
    assert addresses(auth_mode="databricks-app", databricks_app_name="orders").of("192.0.2.1") is None


@pytest.mark.parametrize("host", [None, "/run/orders.sock:1"])
def test_a_unix_socket_has_no_address(host: str | None) -> None:
    """Its clients are on this machine."""
    assert addresses().of(host) is None


@pytest.mark.parametrize("networks", ["10.0.0.0/33", "proxy.example.com", "10.0.0.1/8"])
def test_what_is_no_network_is_a_mistake(networks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not start, and names the setting."""
    monkeypatch.setenv("PROXY_NETWORKS", networks)
    with pytest.raises(SettingsError, match="PROXY_NETWORKS"):
        load_settings()
