"""Consistency tokens are read only with the secret they were issued with, and only for a while."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from server.http import consistency
from server.http.consistency import ConsistencyTokens, InvalidTokenError
from server.settings import Settings

PLACE = 0x1_2345_6789


def test_a_token_is_read_by_every_process_with_the_same_secret() -> None:
    """The secret may be the database's URL or the platform's secret, if the processes share no other."""
    for settings in (
        Settings(database_url=SecretStr("postgresql://u:p@127.0.0.1/d")),
        Settings(lakebase_instance_name="orders-pg", databricks_client_secret=SecretStr("dose1234")),
        Settings(lakebase_instance_name="orders-pg", consistency_secret=SecretStr("x" * 16)),
    ):
        token = ConsistencyTokens.of(settings).issue(PLACE)
        assert ConsistencyTokens.of(settings).read(token) == PLACE
        assert token.isascii()
        assert len(token) <= 64


def test_a_token_of_another_deployment_is_refused() -> None:
    """Its position belongs to another database's log."""
    token = ConsistencyTokens(b"one").issue(PLACE)
    with pytest.raises(InvalidTokenError):
        ConsistencyTokens(b"another").read(token)


@pytest.mark.parametrize("place", [0, 1, len("x" * 10), -1])
def test_an_altered_token_is_refused(place: int) -> None:
    """This holds for every character of the token."""
    tokens = ConsistencyTokens(b"one")
    token = tokens.issue(PLACE)
    changed = list(token)
    changed[place] = "A" if changed[place] != "A" else "Q"
    with pytest.raises(InvalidTokenError):
        tokens.read("".join(changed))


def test_an_old_token_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then every replica is past it. If the database was replaced, no replica would ever reach its position."""
    tokens = ConsistencyTokens(b"one")
    token = tokens.issue(PLACE)
    monkeypatch.setattr(consistency, "LIFETIME_SECONDS", 0)
    assert tokens.read(token) == 0


def test_no_token_asks_for_nothing() -> None:
    """Most requests have none."""
    assert ConsistencyTokens(b"one").read("") == 0
