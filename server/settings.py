"""Owns the settings: from the environment and `.env`, all mistakes reported at once, secrets hidden."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, PositiveInt, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.auth import is_loopback
from server.db.dsn import InvalidDsnError, parse_dsn

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
# PostgreSQL counts in milliseconds, takes 0 for no limit at all, and no number above 24 days.
_Seconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_ENVIRONMENT_FILE = ".env"
_PLATFORM_PORT = "DATABRICKS_APP_PORT"


class Settings(BaseSettings):
    """What the server is told. A field's name in capitals is its name in the environment."""

    model_config = SettingsConfigDict(
        env_file=_ENVIRONMENT_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = Field(
        None,
        description=(
            "The PostgreSQL to serve, as libpq writes it: `postgresql://user:password@host/database`. Where it is not "
            "set, `LAKEBASE_INSTANCE_NAME` is."
        ),
    )
    lakebase_instance_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$",
        description="The database instance to serve and to administer. Its address is asked of the platform.",
    )
    lakebase_database_name: str = Field(
        "databricks_postgres", pattern=rf"^{_IDENTIFIER}$", description="The database in it."
    )
    lakebase_catalog_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{1,255}$",
        description="The catalog that registers the database; the synced table is `ORDERS_TABLE` in it.",
    )
    lakebase_host: str | None = Field(None, description="The instance's address, where it is not to be asked for.")
    lakebase_port: int = Field(5432, ge=1, le=65535, description="The port of every instance.")
    pguser: str | None = Field(
        None, description="The user to log in as. Where it is not set, the platform says who the server is."
    )
    databricks_host: str | None = Field(
        None,
        description=(
            "The workspace's address. What is not set of this and the next three, the SDK looks for in its own places."
        ),
    )
    databricks_token: SecretStr | None = Field(None, description="A token of the server's identity; or else:")
    databricks_client_id: str | None = Field(None, description="The service principal that the server is, and")
    databricks_client_secret: SecretStr | None = Field(None, description="its secret.")
    synced_table_storage_catalog: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{1,255}$",
        description="Where pipelines keep tables of their own: a standard catalog in which the server may create them,",
    )
    synced_table_storage_schema: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_]{1,255}$", description="and the schema in it."
    )
    control_plane_timeout: _Seconds = Field(5.0, description="Seconds that the platform may take for one answer.")
    control_plane_retry: PositiveInt = Field(
        10, le=60, description="Seconds in which a call of the platform that fails for now is tried again."
    )
    control_plane_patience: _Seconds = Field(
        600.0, description="Seconds that a step of an operation goes on trying while the platform fails."
    )
    step_timeout: _Seconds = Field(
        7_200.0, description="Seconds that one step of an operation may take: an instance's start, a table's sync."
    )
    index_timeout: _Seconds = Field(14_400.0, description="Seconds that the building of one index may take.")
    orders_table: str = Field(
        "public.orders_synced",
        pattern=rf"^({_IDENTIFIER}\.)?{_IDENTIFIER}$",
        description="The table of orders: `schema.table`, or a table in `public`.",
    )
    app_schema: str = Field(
        "orders_app",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="The schema of the server's own tables, which hold the status changes.",
    )
    auth_mode: Literal["local"] = Field(
        "local",
        description=(
            "How callers are known. `local`: everybody is `local`, on loopback only, and only for a `Host` of loopback."
        ),
    )
    local_roles: Annotated[frozenset[Literal["reader", "writer", "admin"]], NoDecode] = Field(
        frozenset({"admin"}),
        description=(
            "With `AUTH_MODE=local`, what everybody may: `reader`, `writer`, `admin`; each includes the one before."
        ),
    )
    allowed_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        description="Web pages, beside our own, that may ask: `https://shop.example.com`, separated by commas.",
    )
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices(_PLATFORM_PORT, "PORT"),
        description="The port to listen on; 0 takes a free one. `DATABRICKS_APP_PORT` comes before `PORT`.",
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that serve; each has its own pools of connections.")
    page_size_default: PositiveInt = Field(50, description="How many orders a page holds by default.")
    page_size_max: PositiveInt = Field(1000, le=10_000, description="How many orders a page may hold.")
    hidden_order_fields: Annotated[frozenset[Literal["comment", "clerk"]], NoDecode] = Field(
        frozenset(),
        description="Fields left out of the schema: `comment`, `clerk` or both, separated by commas.",
    )
    pool_size: PositiveInt = Field(10, description="Database connections for pages and single orders.")
    aggregate_pool_size: PositiveInt = Field(3, description="Database connections for counts and statistics.")
    pool_timeout: _Seconds = Field(0.25, description="Seconds to wait for a free connection before `POOL_EXHAUSTED`.")
    aggregate_pool_timeout: _Seconds = Field(
        5.0, description="The same for counts and statistics, several of which may be asked for at once."
    )
    connect_timeout: _Seconds = Field(3.0, description="Seconds to wait for a new connection.")
    statement_timeout: _Seconds = Field(2.0, description="Seconds that a page or a change may take in the database.")
    lock_timeout: _Seconds = Field(0.5, description="Seconds to wait for an order that another transaction holds.")
    aggregate_statement_timeout: _Seconds = Field(
        10.0, description="Seconds that a count or statistics may take in the database."
    )
    write_pool_size: PositiveInt = Field(5, description="Database connections for changes.")
    write_pool_timeout: _Seconds = Field(1.0, description="Seconds that a change waits for one of them.")
    aggregate_ttl: _Seconds = Field(5.0, description="Seconds that counts and statistics over all orders are reused.")
    idempotency_retention: Annotated[float, Field(ge=1, le=31_536_000, allow_inf_nan=False)] = Field(
        604_800.0, description="Seconds that an `idempotencyKey` and its outcome are remembered; a week."
    )
    feed_buffer: PositiveInt = Field(
        10_000, le=1_000_000, description="Changes that may wait for a slow subscriber before `SUBSCRIBER_TOO_SLOW`."
    )
    feed_catch_up: Annotated[float, Field(ge=0.05, le=30, allow_inf_nan=False)] = Field(
        30.0, description="Seconds between two looks for changes of which no NOTIFY was heard."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="What to log.")
    log_format: Literal["json", "console"] = Field(
        "json", description="One JSON object a line, or lines for a person to read."
    )

    @field_validator("hidden_order_fields", "local_roles", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return {part.strip() for part in value.split(",") if part.strip()} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _default_within_maximum(self) -> Self:
        if self.page_size_default > self.page_size_max:
            raise ValueError("PAGE_SIZE_DEFAULT is above PAGE_SIZE_MAX")
        return self

    @field_validator("allowed_origins")
    @classmethod
    def _known_origins(cls, value: frozenset[str]) -> frozenset[str]:
        if wrong := sorted(origin for origin in value if not _ORIGIN.fullmatch(origin)):
            raise ValueError(f"{wrong[0]} is no origin: a scheme, a host, and a port where it is not the scheme's own")
        return value

    @model_validator(mode="after")
    def _local_only_on_loopback(self) -> Self:
        if self.auth_mode == "local" and not is_loopback(self.host):
            raise ValueError("AUTH_MODE=local, where nobody is asked who they are, needs a HOST of loopback")
        return self

    @field_validator("database_url")
    @classmethod
    def _known_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            parse_dsn(value.get_secret_value() if value else "postgresql:")
        except InvalidDsnError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _some_database(self) -> Self:
        if self.database_url is None and self.lakebase_instance_name is None:
            raise ValueError("DATABASE_URL or LAKEBASE_INSTANCE_NAME has to say which database to serve")
        return self

    @property
    def administers(self) -> bool:
        """Whether there is a platform to administer."""
        return bool(self.databricks_host or self.lakebase_instance_name)


class SettingsError(Exception):
    """The settings are wrong; the message names every mistake, and no value."""


def load_settings() -> Settings:
    """The settings.

    Raises:
        SettingsError: with a line for each mistake.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"  {_variable(mistake['loc'])}: {_sentence(mistake)}" for mistake in error.errors()]
        raise SettingsError("The settings are wrong:\n" + "\n".join(sorted(lines))) from None


def settings_table() -> str:
    """The table of all settings as Markdown, for the README (a test holds the two together)."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.default)}`"
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def _plain(default: object) -> str:
    return ",".join(sorted(default)) or " " if isinstance(default, frozenset) else str(default)


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]).upper() if location else "settings"
    # pydantic names the first of several names, whichever was set.
    return "PORT" if name == _PLATFORM_PORT and name not in os.environ else name


def _sentence(mistake: object) -> str:
    text = str(mistake["msg"]) if isinstance(mistake, dict) else str(mistake)
    return re.sub(r"^Value error, ", "", text.replace("Field required", "missing, and there is no default"))
