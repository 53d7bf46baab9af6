"""Settings of the database: where it is, how many connections the server holds, and how long it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AliasChoices, Field, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings

from schema.ports.admin.instances import Flavour
from server.settings.dsn import ENCRYPTED, InvalidDsnError, is_local, parse_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
# PostgreSQL counts in milliseconds, reads 0 as no limit at all, and takes no number above 24 days.
_Seconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
_ID = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_ENDPOINT = rf"^projects/{_ID}/branches/{_ID}/endpoints/{_ID}$"
_LOCAL = "postgresql://127.0.0.1"


class ConnectionSettings(BaseSettings):
    """Where the database is, and how the server connects to it."""

    database_url: SecretStr | None = Field(
        None,
        description=(
            "The PostgreSQL to serve, as a libpq URL: `postgresql://user:password@host/database`. Connections to "
            "another machine are encrypted, with `sslmode=require` at least. It takes precedence over `LAKEBASE_*` "
            "and `PG*`."
        ),
    )
    database_read_url: SecretStr | None = Field(
        None, description="With `DATABASE_URL`: a hot standby of it, for pages, counts and lookups."
    )
    lakebase_endpoint: str | None = Field(
        None,
        pattern=_ENDPOINT,
        description=(
            "The Lakebase Autoscaling endpoint to serve, `projects/.../branches/.../endpoints/...`. Its project is the "
            "instance to administer, and its branch is the one that admin fields mean by default."
        ),
    )
    lakebase_instance_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$",
        description=(
            "The database instance of the Provisioned API, which is legacy, to serve and to administer. The server "
            "asks the platform for its address. `LAKEBASE_ENDPOINT` takes precedence."
        ),
    )
    lakebase_database_name: str = Field(
        "databricks_postgres",
        pattern=rf"^{_IDENTIFIER}$",
        validation_alias=AliasChoices("LAKEBASE_DATABASE_NAME", "PGDATABASE"),
        description="The database's name. `PGDATABASE`, which Databricks Apps sets, counts if this is not set.",
    )
    lakebase_host: str | None = Field(
        None,
        validation_alias=AliasChoices("LAKEBASE_HOST", "PGHOST"),
        description=(
            "The database's address, if the server should not ask the platform for it. `PGHOST` counts if this is not "
            "set."
        ),
    )
    lakebase_read_host: str | None = Field(
        None, description="The address of the replicas, if the server should not ask the platform for it."
    )
    lakebase_port: int = Field(
        5432,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("LAKEBASE_PORT", "PGPORT"),
        description="The port of every instance. `PGPORT` counts if this is not set.",
    )
    pguser: str | None = Field(
        None, description="The user to log in as. Without it the server asks the platform for its own identity."
    )
    pgpassword: SecretStr | None = Field(
        None, description="A lasting password for `PGUSER` at `PGHOST`. The server then mints no tokens."
    )
    pgsslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "require", description="How connections to other machines are encrypted: `require` at least."
    )
    app_schema: str = Field(
        "orders_app",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$",
        description="The schema of the server's own tables, which hold the status changes.",
    )
    read_replicas: bool = Field(default=True, description="Whether to read from the replicas, if there are any.")
    consistency_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description=(
            "Signs consistency tokens, and has to be the same for all processes. Without it the server uses another "
            "secret from the settings, so it is needed only if there is no other."
        ),
    )
    pool_size: PositiveInt = Field(10, description="Database connections of a process for pages and single orders.")
    write_pool_size: PositiveInt = Field(5, description="Database connections of a process for changes.")
    wake_timeout: _Seconds = Field(
        20.0, description="Seconds that requests wait for a database that fell asleep to start again."
    )
    statement_timeout: _Seconds = Field(2.0, description="Seconds that a page or a change may take in the database.")
    aggregate_statement_timeout: _Seconds = Field(
        10.0, description="Seconds that a count or statistics may take in the database."
    )
    lock_timeout: _Seconds = Field(
        0.5, description="Seconds that a change waits for an order that another transaction has locked."
    )
    request_timeout: _Seconds = Field(
        15.0,
        description=(
            "Seconds that a whole query may take. Admin fields may take 25, and waiting for the database to wake "
            "comes on top. When the time is up, or the client is gone, the server cancels the query's statements, "
            "but never a change."
        ),
    )

    @field_validator("database_url", "database_read_url")
    @classmethod
    def _valid_url(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            parse_dsn(value.get_secret_value() if value else _LOCAL)
        except InvalidDsnError as error:
            raise ValueError(str(error)) from None
        return value

    def mistakes(self) -> Iterator[str]:
        """The contradictions between these settings, a sentence each."""
        remote = any(host and not is_local(host) for host in (self.lakebase_host, self.lakebase_read_host))
        if self.pgsslmode not in ENCRYPTED and (remote or not (self.lakebase_host or self.database_url)):
            yield (
                "PGSSLMODE has to be require, verify-ca or verify-full, because tokens and orders travel over the "
                "network"
            )
        if self.pgpassword and not (self.lakebase_host and self.pguser):
            yield "PGPASSWORD needs PGHOST and PGUSER too"
        if not (self.database_url or self.served_name or self.pgpassword):
            yield (
                "DATABASE_URL, LAKEBASE_ENDPOINT or LAKEBASE_INSTANCE_NAME has to say which database to serve, or "
                "PGHOST, PGUSER and PGPASSWORD together"
            )

    @property
    def served_name(self) -> str:
        """The endpoint or instance to serve; empty if the settings name neither."""
        return self.lakebase_endpoint or self.lakebase_instance_name or ""

    @property
    def flavour(self) -> Flavour:
        """The API by which instances are administered: the newer one, unless only an instance's name is given."""
        older = self.lakebase_endpoint is None and self.lakebase_instance_name is not None
        return Flavour.PROVISIONED if older else Flavour.AUTOSCALING

    @property
    def branch(self) -> str | None:
        """The name of the branch that is served; None if the settings name no endpoint."""
        return self.lakebase_endpoint.split("/")[3] if self.lakebase_endpoint else None

    @property
    def instance_name(self) -> str | None:
        """The instance to administer: the one that is served, or None if LAKEBASE_INSTANCE_NAME names another."""
        if self.lakebase_endpoint is None:
            return self.lakebase_instance_name
        named = (self.lakebase_instance_name or self._project).lower() == self._project
        return self._project if named else None

    @property
    def hosting_instance(self) -> str | None:
        """The instance that holds the served database, in its main branch or another one."""
        if self.database_url or self.pgpassword:
            return None
        return self.lakebase_instance_name if self.lakebase_endpoint is None else self._project

    @property
    def _project(self) -> str:
        """The project of the endpoint that is served."""
        return (self.lakebase_endpoint or "/").split("/")[1]
