"""Owns the settings: from the environment and `.env`, all mistakes reported at once, secrets hidden."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AliasChoices, Field, PositiveInt, SecretStr, ValidationError, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from server.settings.auth import AuthenticationSettings, Separated
from server.settings.database import IDENTIFIER, ConnectionSettings, Seconds
from server.settings.limits import LimitSettings
from server.settings.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENVIRONMENT_FILE = ".env"
_PLATFORM_PORT = "DATABRICKS_APP_PORT"
# Most of a request is not spent in the database, and what waits for a connection waits briefly.
_REQUESTS_PER_CONNECTION = 4
# Where pydantic's own words are for those who write such settings.
_SENTENCES = {
    "string_pattern_mismatch": "it is not of the form that README's table of settings says",
    "too_short": "it has to have {min_length} characters at least",
}


class Settings(ConnectionSettings, AuthenticationSettings, LimitSettings):
    """What the server is told. A field's name in capitals is its name in the environment."""

    model_config = SettingsConfigDict(
        env_file=_ENVIRONMENT_FILE,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    lakebase_catalog_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_]{1,255}$",
        description="The catalog that registers the database; the synced table is `ORDERS_TABLE` in it.",
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
    control_plane_timeout: Seconds = Field(5.0, description="Seconds that the platform may take for one answer.")
    control_plane_retry: PositiveInt = Field(
        10, le=60, description="Seconds in which a call of the platform that fails for now is tried again."
    )
    control_plane_patience: Seconds = Field(
        600.0, description="Seconds that a step of an operation goes on trying while the platform fails."
    )
    step_timeout: Seconds = Field(
        7_200.0, description="Seconds that one step of an operation may take: an instance's start, a table's sync."
    )
    index_timeout: Seconds = Field(14_400.0, description="Seconds that the building of one index may take.")
    orders_table: str = Field(
        "public.orders_synced",
        pattern=rf"^({IDENTIFIER}\.)?{IDENTIFIER}$",
        description="The table of orders: `schema.table`, or a table in `public`.",
    )
    app_schema: str = Field(
        "orders_app",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="The schema of the server's own tables, which hold the status changes.",
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
    hidden_order_fields: Annotated[frozenset[Literal["comment", "clerk"]], NoDecode, Separated] = Field(
        frozenset(),
        description="Fields left out of the schema: `comment`, `clerk` or both, separated by commas.",
    )
    fast_path: bool = Field(
        default=True,
        description=(
            "Whether queries made of orders alone are answered without graphql-core, once it has answered their text. "
            "The answers are the same."
        ),
    )
    compress_from_bytes: Annotated[int, Field(ge=0, le=1 << 30)] | Literal["off"] = Field(
        4096,
        description=(
            "The size in bytes from which on an answer goes out in gzip, to those who accept it; `off`: never, where "
            "something in front compresses, or all callers are near. Smaller ones cost more time than a gigabit line."
        ),
    )
    # No longer than a consistency cookie lives (server/http/caching.py says why).
    cache_seconds: Annotated[int, Field(ge=0, le=600)] | Literal["off"] = Field(
        0,
        description=(
            "Seconds for which a caller's own cache, a browser's say, may answer a query by GET again without asking: "
            "changes of others are heard of so much later. 0: it asks each time, and gets a 304 where nothing has "
            "changed; `off`: it keeps nothing."
        ),
    )
    aggregate_ttl: Seconds = Field(5.0, description="Seconds that counts and statistics over all orders are reused.")
    idempotency_retention: Annotated[float, Field(ge=1, le=31_536_000, allow_inf_nan=False)] = Field(
        604_800.0, description="Seconds that an `idempotencyKey` and its outcome are remembered; a week."
    )
    feed_buffer: PositiveInt = Field(
        10_000, le=1_000_000, description="Changes that may wait for a slow subscriber before `SUBSCRIBER_TOO_SLOW`."
    )
    feed_catch_up: Annotated[float, Field(ge=0.05, le=30, allow_inf_nan=False)] = Field(
        30.0, description="Seconds between two looks for changes of which no NOTIFY was heard."
    )
    subscribers_keep_awake: bool = Field(
        default=True,
        description=(
            "Whether the database is kept awake while anybody subscribes. If not it may fall asleep, and what another "
            "process then changes is told only once this one uses the database again; nothing is lost."
        ),
    )
    slow_statement: Seconds = Field(
        0.5, description="Seconds from which on a statement is logged as slow, with its fingerprint and no values."
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="A bearer token that may scrape `/api/metrics`, and nothing else; the role `admin` may always.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="What to log.")
    log_format: Literal["json", "console"] = Field(
        "json", description="One JSON object a line, or lines for a person to read."
    )

    @model_validator(mode="after")
    def _without_mistakes(self) -> Self:
        # All of them at once: an operator who mends one is not to be told of the next after another start.
        parts = (ConnectionSettings, AuthenticationSettings, LimitSettings)
        if mistakes := [*(mistake for part in parts for mistake in part.mistakes(self)), *self._others()]:
            raise ValueError("\n".join(mistakes))
        return self

    def _others(self) -> Iterator[str]:
        if self.page_size_default > self.page_size_max:
            yield "PAGE_SIZE_DEFAULT is above PAGE_SIZE_MAX"
        if self.auth_mode == "local" and not is_loopback(self.host):
            yield "AUTH_MODE=local, where nobody is asked who they are, needs a HOST of loopback"

    @property
    def shared_secret(self) -> SecretStr | None:
        """What all processes sign consistency tokens with; None where the SDK finds its credentials elsewhere."""
        secrets = (
            self.consistency_secret,
            self.databricks_client_secret,
            self.databricks_token,
            self.pgpassword,
            self.database_url,
        )
        return next((secret for secret in secrets if secret is not None), None)

    @property
    def requests_in_flight(self) -> int:
        """How many operations may be in flight in a process."""
        return self.max_requests or _REQUESTS_PER_CONNECTION * self.pool_size

    @property
    def explored_by(self) -> Literal["on", "admin", "off"]:
        """Who may look around: as it is set, or else by where it runs."""
        return self.exploring or ("admin" if self.in_production else "on")

    @property
    def administers(self) -> bool:
        """Whether there is a platform to administer."""
        return bool(self.databricks_host or self.served_name)


class SettingsError(Exception):
    """The settings are wrong; the message names every mistake, and no value.

    Args:
        mistakes: which setting each is of, and what is wrong with it.
    """

    def __init__(self, mistakes: Iterable[tuple[str, str]]) -> None:
        lines = sorted(f"  {setting}: {sentence}" for setting, sentence in mistakes)
        super().__init__("\n".join(["The settings are wrong:", *lines]))


def load_settings() -> Settings:
    """The settings.

    Raises:
        SettingsError: with a line for each mistake.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(
            (_variable(mistake["loc"]), sentence)
            for mistake in error.errors()
            for sentence in _sentence(mistake).split("\n")
        ) from None


def settings_table() -> str:
    """The table of all settings as Markdown, for the README (a test holds the two together)."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    last = (AuthenticationSettings.model_fields, LimitSettings.model_fields)
    for name, field in sorted(
        Settings.model_fields.items(), key=lambda one: [one[0] in fields for fields in last][::-1]
    ):
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
    if isinstance(mistake, dict) and (own := _SENTENCES.get(mistake["type"])):
        text = own.format(**mistake.get("ctx", {}))
    return re.sub(r"^Value error, ", "", text.replace("Field required", "missing, and there is no default"))
