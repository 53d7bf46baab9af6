"""Settings and database URLs: what is understood, and what is not."""

from __future__ import annotations

import pytest

from server.db.dsn import InvalidDsnError, parse_dsn
from server.settings import SettingsError, load_settings, settings_table
from tests.process import ROOT


def test_the_settings_table_stands_in_the_readme() -> None:
    """The README's table of settings is the one that the server reads."""
    assert settings_table() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("url", "understood"),
    [
        ("postgres://u:p@h/db", "postgresql://u:p@h/db?sslmode=require"),
        ("postgresql+asyncpg://u@h:1/db", "postgresql://u@h:1/db?sslmode=require"),
        ("postgresql://u:p%40%2F@h/db?sslmode=require", "postgresql://u:p%40%2F@h/db?sslmode=require"),
        (
            "postgresql://a:1,b:2/db?target_session_attrs=primary",
            "postgresql://a:1,b:2/db?target_session_attrs=primary&sslmode=require",
        ),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=%2Frun%2Fpg"),
        ("postgresql://%2Frun%2Fpg/db", "postgresql://%2Frun%2Fpg/db"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
        ("postgresql://h/db?sslmode=verify-full", "postgresql://h/db?sslmode=verify-full"),
        ("postgresql://127.0.0.1/db?sslmode=disable", "postgresql://127.0.0.1/db?sslmode=disable"),
        (
            "postgresql://h/db?channel_binding=require&connect_timeout=9&options=-c%20a%3Db",
            "postgresql://h/db?options=-c+a%3Db&sslmode=require",
        ),
    ],
)
def test_what_libpq_writes_is_understood(url: str, understood: str) -> None:
    """Schemes, lists of hosts, sockets; what only libpq knows is left out. To other machines it is encrypted."""
    assert parse_dsn(url) == understood


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h/db",
        "mysql://h/db",
        "postgresql://h:port/db",
        "postgresql://h:99999/db",
        "postgresql://h/db?sslmode=yes",
        "postgresql://h/db?sslmode=disable",
        "postgresql://127.0.0.1,h/db?sslmode=prefer",
        "postgresql://[::1/db",
        "postgresql://h/db?x",
    ],
)
def test_what_is_no_url_of_a_postgresql_is_refused(url: str) -> None:
    """At the start, and not at the first query."""
    with pytest.raises(InvalidDsnError):
        parse_dsn(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("STATEMENT_TIMEOUT", value) for value in ("inf", "nan", "0", "-1", "1e9", "0.0004")),
        ("PAGE_SIZE_DEFAULT", "1001"),
        ("POOL_SIZE", "0"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_setting_that_would_break_later_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A timeout that PostgreSQL would read as none at all, say, or a default above the maximum."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/db")
    load_settings()
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()
