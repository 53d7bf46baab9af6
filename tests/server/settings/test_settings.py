"""Settings and database URLs: what is understood, and what is not."""

from __future__ import annotations

import pytest

from server.lakebase.assembly import configured_names
from server.settings import Settings, SettingsError, load_settings
from server.settings.dsn import InvalidDsnError, parse_dsn
from tests.servers.process import ROOT
from tests.support.tables import settings_table


def test_the_settings_table_stands_in_the_readme() -> None:
    """The README's table of settings is the one that the server reads."""
    assert settings_table() in (ROOT / "server/settings/README.md").read_text()


@pytest.mark.parametrize(
    ("instance", "endpoint", "administered", "hosting"),
    [
        ("orders-pg", None, "orders-pg", "orders-pg"),
        (None, "projects/orders-pg/branches/production/endpoints/primary", "orders-pg", "orders-pg"),
        ("Orders-PG", "projects/orders-pg/branches/production/endpoints/primary", "orders-pg", "orders-pg"),
        (None, "projects/orders-pg/branches/dev/endpoints/primary", "orders-pg", "orders-pg"),
        ("orders-pg", "projects/orders-pg/branches/dev/endpoints/primary", "orders-pg", "orders-pg"),
        ("orders-pg", "projects/orders-pg/branches/production/endpoints/other", "orders-pg", "orders-pg"),
        ("orders-pg", "projects/others/branches/production/endpoints/primary", None, "others"),
    ],
)
def test_the_administered_instance_is_the_one_that_is_served(
    instance: str | None, endpoint: str | None, administered: str | None, hosting: str
) -> None:
    """A project is the instance of its name, whichever of its branches is served."""
    names = {"lakebase_instance_name": instance, "lakebase_endpoint": endpoint, "lakebase_catalog_name": "orders"}
    settings = Settings.model_validate(names)
    assert (settings.instance_name, settings.hosting_instance) == (administered, hosting)
    table = "orders.public.orders_synced" if administered else None
    assert configured_names(settings).table_name == table


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
        *(("COMPRESS_FROM_BYTES", value) for value in ("-1", "never")),
        *(("MEMORY_LIMIT", value) for value in ("0", "255", "none", "256MB")),
        *(("CACHE_SECONDS", value) for value in ("-1", "601", "", "no-store")),
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


def test_what_is_no_setting_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that still sets what used to be a setting goes on starting."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/db")
    monkeypatch.setenv("POOL_TIMEOUT", "for ever")
    assert load_settings().database_url


JWT = {
    "AUTH_MODE": "jwt",
    "JWT_ISSUER": "https://issuer.example",
    "JWT_AUDIENCE": "orders",
    "JWT_JWKS_URL": "https://issuer.example/jwks.json",
}
PLATFORM = {"DATABRICKS_APP_NAME": "orders", "AUTH_MODE": "databricks-app", "HOST": "0.0.0.0"}  # noqa: S104 # refused or not


def loaded(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> Settings:
    """The settings of an environment with just these."""
    for name, value in {"DATABASE_URL": "postgresql://h/db", **settings}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "local"),
        ({"APP_ENV": "development", "DATABRICKS_APP_NAME": "orders"}, "local"),
        ({"APP_ENV": "production", "AUTH_MODE": "local"}, "local"),
        (PLATFORM, "databricks-app"),
        ({**PLATFORM, "APP_ENV": "production", "READER_USERS": "*", "ADMIN_GROUPS": "a b, c"}, "databricks-app"),
        (JWT, "jwt"),
        ({**JWT, "HOST": "0.0.0.0", "APP_ENV": "production", "JWT_ALGORITHMS": "EdDSA"}, "jwt"),  # noqa: S104 # it may
        ({**JWT, "JWT_JWKS_URL": "http://127.0.0.1:8080/keys"}, "jwt"),
        ({**JWT, "JWT_JWKS_URL": "http://[::1]/keys"}, "jwt"),
    ],
)
def test_a_mode_of_authentication_is_taken(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], mode: str
) -> None:
    """Where it is set; and without being set, `local` in development."""
    assert loaded(monkeypatch, settings).auth_mode == mode


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"APP_ENV": "production"}, "AUTH_MODE has to be set in production"),
        ({"DATABRICKS_APP_NAME": "orders"}, "AUTH_MODE has to be set in production"),
        ({"DATABRICKS_APP_NAME": "orders", "AUTH_MODE": "local", "HOST": "0.0.0.0"}, "needs a loopback HOST"),  # noqa: S104 # it may not
        ({"APP_ENV": "staging"}, "APP_ENV: "),
        ({"AUTH_MODE": ""}, "AUTH_MODE: "),
        ({"AUTH_MODE": "none"}, "AUTH_MODE: "),
        ({"AUTH_MODE": "databricks-app"}, "DATABRICKS_APP_NAME, which the platform sets, is not set"),
        ({"AUTH_MODE": "databricks-app", "DATABRICKS_APP_NAME": ""}, "DATABRICKS_APP_NAME, which the platform sets"),
        ({"AUTH_MODE": "jwt"}, "missing: JWT_ISSUER, JWT_AUDIENCE, JWT_JWKS_URL"),
        ({**JWT, "JWT_AUDIENCE": ""}, "JWT_AUDIENCE: "),
        ({**JWT, "JWT_JWKS_URL": "http://issuer.example/jwks.json"}, "JWT_JWKS_URL: "),
        ({**JWT, "JWT_JWKS_URL": "file:///etc/passwd"}, "JWT_JWKS_URL: "),
        ({**JWT, "JWT_JWKS_URL": "https://"}, "JWT_JWKS_URL: "),
        ({**JWT, "JWT_JWKS_URL": "https://[::1"}, "JWT_JWKS_URL: "),
        ({**JWT, "JWT_JWKS_URL": "https://h:port/"}, "JWT_JWKS_URL: "),
        ({**JWT, "JWT_ALGORITHMS": "RS256,HS256"}, "JWT_ALGORITHMS: "),
        ({**JWT, "JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS: "),
        ({**JWT, "JWT_ALGORITHMS": " , "}, "JWT_ALGORITHMS: "),
    ],
)
def test_an_authentication_that_would_let_anybody_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], words: str
) -> None:
    """The server does not start, and says what to set."""
    with pytest.raises(SettingsError) as refused:
        loaded(monkeypatch, settings)
    assert words in str(refused.value)
