"""Consistency tokens: only those issued with the same secret are read, and none for ever."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from server.http import consistency
from server.http.consistency import ConsistencyTokens, InvalidTokenError
from server.settings import Settings

PLACE = 0x1_2345_6789


def test_a_token_is_read_by_every_process_with_the_same_secret() -> None:
    """Also where it is the URL of the database that they have in common, or the platform's own secret."""
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
    """Its places are of another log."""
    token = ConsistencyTokens(b"one").issue(PLACE)
    with pytest.raises(InvalidTokenError):
        ConsistencyTokens(b"another").read(token)


@pytest.mark.parametrize("place", [0, 1, len("x" * 10), -1])
def test_a_token_that_was_changed_is_refused(place: int) -> None:
    """In any of its characters."""
    tokens = ConsistencyTokens(b"one")
    token = tokens.issue(PLACE)
    changed = list(token)
    changed[place] = "A" if changed[place] != "A" else "Q"
    with pytest.raises(InvalidTokenError):
        tokens.read("".join(changed))


def test_an_old_token_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then everybody has come past it; of a database that was replaced its place would never be reached."""
    tokens = ConsistencyTokens(b"one")
    token = tokens.issue(PLACE)
    monkeypatch.setattr(consistency, "LIFETIME_SECONDS", 0)
    assert tokens.read(token) == 0


def test_no_token_asks_for_nothing() -> None:
    """As most requests have none."""
    assert ConsistencyTokens(b"one").read("") == 0
