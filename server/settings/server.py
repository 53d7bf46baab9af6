"""`Settings`: all settings of the server, checked together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AliasChoices, Field, PositiveInt, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from server.settings.auth import AuthenticationSettings
from server.settings.database import ConnectionSettings
from server.settings.dsn import is_loopback
from server.settings.graph import GraphSettings
from server.settings.limits import LimitSettings
from server.settings.workspace import WorkspaceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENVIRONMENT_FILE: Final = ".env"
PLATFORM_PORT: Final = "DATABRICKS_APP_PORT"
# An operation spends most of its time outside the database, and waits only briefly for a connection.
_REQUESTS_PER_CONNECTION: Final = 4


class Settings(ConnectionSettings, GraphSettings, WorkspaceSettings, AuthenticationSettings, LimitSettings):
    """The server's settings. The environment variable of a field is its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=_ENVIRONMENT_FILE,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices(PLATFORM_PORT, "PORT"),
        description="The port to listen on; 0: any free port. `DATABRICKS_APP_PORT` takes precedence.",
    )
    workers: int = Field(
        1, ge=1, le=64, description="Processes that serve. Each of them has its own database connections."
    )
    page_size_default: PositiveInt = Field(50, description="Orders in a page if the query does not say.")
    page_size_max: PositiveInt = Field(1000, le=10_000, description="The most orders in a page.")
    fast_path: bool = Field(
        default=True,
        description=(
            "Whether the server answers queries for rows of tables from JSON templates, without graphql-core's "
            "execution, from their second time on. The answers are the same."
        ),
    )
    compress_from_bytes: Annotated[int, Field(ge=0, le=1 << 30)] | Literal["off"] = Field(
        4096,
        description=(
            "Responses of this size in bytes and more are gzipped if the client accepts it; `off`: none. Below the "
            "default, compressing takes longer than sending over a gigabit line. `off` is for a proxy that compresses, "
            "or for clients that are all near."
        ),
    )
    # No longer than a consistency cookie lives (server/http/caching.py says why).
    cache_seconds: Annotated[int, Field(ge=0, le=600)] | Literal["off"] = Field(
        0,
        description=(
            "Seconds for which a private cache, such as the browser's, may reuse the response to a GET without asking. "
            "A client sees the changes of others that much later. 0: the cache asks each time, and gets a 304 if "
            "nothing has changed; `off`: the cache keeps nothing."
        ),
    )
    idempotency_retention: Annotated[float, Field(ge=1, le=31_536_000, allow_inf_nan=False)] = Field(
        604_800.0, description="Seconds that the server remembers an `idempotencyKey` and its outcome; a week."
    )
    admin_retention: Annotated[float, Field(ge=1, le=36_500, allow_inf_nan=False)] = Field(
        365.0, description="Days that the server keeps the audit of administration, and operations that have ended."
    )
    subscribers_keep_awake: bool = Field(
        default=True,
        description=(
            "Whether subscriptions keep the database awake. If not, it may fall asleep, and subscribers hear of other "
            "processes' changes only when this process uses the database again. They miss none."
        ),
    )
    slow_statement: Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)] = Field(
        0.5, description="Seconds from which a statement is logged as slow, with its fingerprint and no values."
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description=(
            "A bearer token for `/api/metrics` and the causes in `/readyz`, and for nothing else. The role `admin` "
            "needs none."
        ),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The lowest level to log.")
    log_format: Literal["json", "console"] = Field(
        "json", description="`json`: one JSON object a line; `console`: lines for a person to read."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # All mistakes at once, so that an operator who fixes one need not restart to learn of the next.
        parts = (ConnectionSettings, GraphSettings, AuthenticationSettings, LimitSettings)
        if mistakes := [*(mistake for part in parts for mistake in part.mistakes(self)), *self._own_mistakes()]:
            raise ValueError("\n".join(mistakes))
        return self

    def _own_mistakes(self) -> Iterator[str]:
        if self.page_size_default > self.page_size_max:
            yield "PAGE_SIZE_DEFAULT is above PAGE_SIZE_MAX"
        if self.auth_mode == "local" and not is_loopback(self.host):
            yield "AUTH_MODE=local, which lets every caller in, needs a loopback HOST"

    @property
    def shared_secret(self) -> SecretStr | None:
        """The secret that all processes sign consistency tokens with.

        None if the settings hold no secret because the SDK finds its credentials elsewhere.
        """
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
        """Who may explore the schema: by `EXPLORING`, or else by whether this is production."""
        return self.exploring or ("admin" if self.in_production else "on")

    @property
    def administers(self) -> bool:
        """Whether there is a platform to administer."""
        return bool(self.databricks_host or self.served_name)
