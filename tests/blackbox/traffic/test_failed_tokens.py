"""Tests of the limit of failed tokens for each address: whoever sends bad ones shuts nobody out."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.blackbox.raw_sockets import raw_socket, text
from tests.servers.issuer import Issuer, running_issuer
from tests.servers.process import NO_TLS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.process import Server

MODULE = "server.traffic.failed_tokens"
BURST = 5
# A quarter of the new tokens is verified. Of this many some are, and some are not.
MANY = 60
QUERY = {"query": "{ order(orderKey: 1) { orderKey } }"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """The issuer whose tokens the servers accept."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def guarded(orders_url: str, issuer: Issuer) -> Iterator[Server]:
    """A server that limits an address after a few failures, and forgives nothing."""
    altered = {f"{MODULE}._BURST": BURST, f"{MODULE}._FORGIVEN_PER_SECOND": 0, f"{MODULE}._BAD_SECONDS": 600}
    with running_server(orders_url, altered=altered, **issuer.settings(APP_SCHEMA="failed_tokens")) as server:
        yield server


@pytest.fixture(scope="module")
def mine() -> Iterator[httpx.Client]:
    """A client."""
    with httpx.Client(verify=NO_TLS) as client:
        yield client


@pytest.fixture(scope="module")
def strangers() -> Iterator[httpx.Client]:
    """A client with another address."""
    with httpx.Client(transport=httpx.HTTPTransport(verify=NO_TLS, local_address="127.0.0.2")) as client:
        yield client


def ask(client: httpx.Client, server: Server, token: str) -> httpx.Response:
    """Send a query with this token."""
    return client.post(server.graphql, json=QUERY, headers={"authorization": f"Bearer {token}"})


def forged(issuer: Issuer) -> str:
    """A token whose signature is wrong."""
    head, _, _ = issuer.token().rpartition(".")
    return f"{head}.{secrets.token_urlsafe(256)}"


def limit(client: httpx.Client, server: Server, issuer: Issuer) -> None:
    """Send bad tokens until the client's address is limited."""
    wait_for(lambda: ask(client, server, forged(issuer)).status_code == 429, what=lambda: "the limit")


def test_a_program_that_repeats_a_bad_token_limits_nobody(
    guarded: Server, issuer: Issuer, strangers: httpx.Client
) -> None:
    """It is told each time that its token has expired. Tokens that are new to the server are accepted beside it."""
    expired = issuer.token(exp=1, iat=0)
    told = [ask(strangers, guarded, expired) for _ in range(MANY)]
    assert {response.status_code for response in told} == {401}
    assert {response.json()["errors"][0]["message"] for response in told} == {"The token has expired."}
    assert {response.headers["www-authenticate"] for response in told} == {'Bearer error="invalid_token"'}
    assert {ask(strangers, guarded, issuer.token(jti=str(user))).status_code for user in range(MANY)} == {200}


def test_an_address_that_fails_often_is_limited(
    guarded: Server, issuer: Issuer, mine: httpx.Client, strangers: httpx.Client
) -> None:
    """Most of its bad tokens are not verified. Those of another address are, and no bad token is accepted."""
    good = issuer.token(jti="known")
    assert ask(mine, guarded, good).status_code == 200
    limit(mine, guarded, issuer)
    refused = [ask(mine, guarded, forged(issuer)) for _ in range(MANY)]
    assert {response.status_code for response in refused} == {401, 429}
    for response in refused:
        if response.status_code == 429:
            (error,) = response.json()["errors"]
            assert error["extensions"]["reason"] == "TOO_MANY_BAD_TOKENS"
            assert response.headers["retry-after"] == str(error["extensions"]["retryAfter"])
    assert ask(strangers, guarded, forged(issuer)).status_code == 401
    # A token that has been good is not limited, nor is one from another address.
    assert [ask(mine, guarded, good).status_code for _ in range(MANY)] == [200] * MANY
    assert ask(strangers, guarded, issuer.token(jti="another address")).status_code == 200


def test_a_token_that_ends_like_a_good_one_is_another(guarded: Server, issuer: Issuer, mine: httpx.Client) -> None:
    """A sender that keeps a token's end has no more of its tokens verified than one that keeps none."""
    good = issuer.token(jti="its end is kept")
    wait_for(lambda: ask(mine, guarded, good).status_code == 200, what=lambda: "the good token")
    limit(mine, guarded, issuer)
    kept = [ask(mine, guarded, f"{forged(issuer)}{good[-200:]}").status_code for _ in range(MANY)]
    assert set(kept) == {401, 429}


def test_a_new_good_token_gets_in_while_others_fail(guarded: Server, issuer: Issuer, mine: httpx.Client) -> None:
    """Within a few attempts. From then on it is known."""
    limit(mine, guarded, issuer)
    for number in range(5):
        token = issuer.token(jti=str(number))

        def let_in(token: str = token) -> bool:
            ask(mine, guarded, forged(issuer))
            return ask(mine, guarded, token).status_code == 200

        wait_for(let_in, what=lambda: "the token that is let in")
        assert [ask(mine, guarded, token).status_code for _ in range(10)] == [200] * 10


def test_a_socket_is_told_to_try_again(guarded: Server, issuer: Issuer, mine: httpx.Client) -> None:
    """Clients reconnect by themselves after 1013, and not after 4403."""
    limit(mine, guarded, issuer)
    codes = set()
    for _ in range(MANY):
        with raw_socket(guarded.url, init=False) as socket:
            payload = {"authorization": f"Bearer {forged(issuer)}"}
            socket.send(text({"type": "connection_init", "payload": payload}))
            codes.add(socket.closed_with())
    assert codes == {1013, 4403}


def test_an_address_of_proxies_is_never_limited(orders_url: str, issuer: Issuer, mine: httpx.Client) -> None:
    """All clients behind a proxy have its address."""
    settings = issuer.settings(APP_SCHEMA="failed_tokens", PROXY_NETWORKS="127.0.0.0/8")
    with running_server(orders_url, altered={f"{MODULE}._BURST": BURST}, **settings) as server:
        assert {ask(mine, server, forged(issuer)).status_code for _ in range(MANY)} == {401}
        assert ask(mine, server, issuer.token()).json() == {"data": {"order": {"orderKey": "1"}}}
        assert json.dumps("TOO_MANY_BAD_TOKENS") not in server.log()
