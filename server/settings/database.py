"""Owns the settings of connections: where the database is, how long it is waited for, and how many are held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AliasChoices, Field, NonNegativeInt, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings

from server.settings.dsn import ENCRYPTED, InvalidDsnError, is_local, parse_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
# PostgreSQL counts in milliseconds, takes 0 for no limit at all, and no number above 24 days.
Seconds = Annotated[float, Field(ge=0.001, le=86_400, allow_inf_nan=False)]
_ID = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_ENDPOINT = rf"^projects/{_ID}/branches/{_ID}/endpoints/{_ID}$"
_LOCAL = "postgresql://127.0.0.1"
_MAIN_ENDPOINT = "/branches/production/endpoints/primary"


class ConnectionSettings(BaseSettings):
    """Where the database is and how it is connected to."""

    database_url: SecretStr | None = Field(
        None,
        description=(
            "The PostgreSQL to serve, as libpq writes it: `postgresql://user:password@host/database`. To another "
            "machine it is encrypted, `sslmode=require` at least. It comes before everything below."
        ),
    )
    database_read_url: SecretStr | None = Field(
        None, description="With `DATABASE_URL`, a hot standby of it, which pages, counts and lookups are read from."
    )
    lakebase_endpoint: str | None = Field(
        None,
        pattern=_ENDPOINT,
        description=(
            "The endpoint to serve, in the words of Lakebase Autoscaling: `projects/.../branches/.../endpoints/...`."
        ),
    )
    lakebase_token_ttl: int = Field(
        3600, ge=300, le=3600, description="Seconds that a token for `LAKEBASE_ENDPOINT` is asked to live."
    )
    lakebase_instance_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$",
        description=(
            "The database instance to serve, where no endpoint is set, and to administer. Its address is asked of the "
            "platform."
        ),
    )
    lakebase_database_name: str = Field(
        "databricks_postgres",
        pattern=rf"^{IDENTIFIER}$",
        validation_alias=AliasChoices("LAKEBASE_DATABASE_NAME", "PGDATABASE"),
        description="The database in it; or else `PGDATABASE`, which Databricks Apps sets.",
    )
    lakebase_host: str | None = Field(
        None,
        validation_alias=AliasChoices("LAKEBASE_HOST", "PGHOST"),
        description="The database's address, where it is not to be asked for; or else `PGHOST`.",
    )
    lakebase_read_host: str | None = Field(
        None, description="The address of its readable secondaries, where it is not to be asked for."
    )
    lakebase_port: int = Field(
        5432,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("LAKEBASE_PORT", "PGPORT"),
        description="The port of every instance; or else `PGPORT`.",
    )
    pguser: str | None = Field(
        None, description="The user to log in as. Where it is not set, the platform says who the server is."
    )
    pgpassword: SecretStr | None = Field(
        None, description="A password that stays, for `PGUSER` at `PGHOST`: no token is minted then."
    )
    pgsslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "require", description="How connections to other machines are encrypted: `require` at least."
    )
    read_replicas: bool = Field(
        default=True, description="Whether to read from the readable secondaries, where there are any."
    )
    replica_max_lag: Annotated[float, Field(ge=0.02, le=60, allow_inf_nan=False)] = Field(
        0.2,
        description=(
            "Seconds that what is read from a secondary may be behind; one that is further behind is left out. The "
            "feed tells a change so much later where there are secondaries, so that whoever then reads finds it."
        ),
    )
    consistency_secret: SecretStr | None = Field(
        None,
        min_length=16,
        description=(
            "Signs consistency tokens; the same for all processes. Without it another secret of the settings is "
            "used, so that it is needed only where there is none."
        ),
    )
    pool_size: PositiveInt = Field(10, description="Database connections for pages and single orders.")
    aggregate_pool_size: PositiveInt = Field(3, description="Database connections for counts and statistics.")
    write_pool_size: PositiveInt = Field(5, description="Database connections for changes.")
    pool_overflow: NonNegativeInt = Field(
        0, description="Connections for pages, and for changes, beyond those: opened when all are in use, closed after."
    )
    pool_recycle: Annotated[float, Field(ge=0.1, le=3_000, allow_inf_nan=False)] = Field(
        1_800.0,
        description="Seconds after which a connection is replaced at the latest, each a little sooner or later.",
    )
    pool_timeout: Seconds = Field(0.25, description="Seconds to wait for a free connection before `POOL_EXHAUSTED`.")
    aggregate_pool_timeout: Seconds = Field(
        5.0, description="The same for counts and statistics, several of which may be asked for at once."
    )
    write_pool_timeout: Seconds = Field(1.0, description="Seconds that a change waits for one of them.")
    connect_timeout: Seconds = Field(
        3.0, description="Seconds that one attempt to connect may take, its login included."
    )
    wake_timeout: Seconds = Field(
        20.0, description="Seconds to wait for a database that is asleep to wake, for all who ask meanwhile."
    )
    statement_timeout: Seconds = Field(2.0, description="Seconds that a page or a change may take in the database.")
    lock_timeout: Seconds = Field(0.5, description="Seconds to wait for an order that another transaction holds.")
    aggregate_statement_timeout: Seconds = Field(
        10.0, description="Seconds that a count or statistics may take in the database."
    )
    request_timeout: Seconds = Field(
        15.0,
        description=(
            "Seconds that a query may take as a whole; admin fields take 25, and more is given while the database "
            "wakes. Then, and when its caller goes away, its statements are cancelled. Changes are not."
        ),
    )

    @field_validator("database_url", "database_read_url")
    @classmethod
    def _known_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            parse_dsn(value.get_secret_value() if value else _LOCAL)
        except InvalidDsnError as error:
            raise ValueError(str(error)) from None
        return value

    def mistakes(self) -> Iterator[str]:
        """What does not go together, a sentence each."""
        remote = any(host and not is_local(host) for host in (self.lakebase_host, self.lakebase_read_host))
        if self.pgsslmode not in ENCRYPTED and (remote or not (self.lakebase_host or self.database_url)):
            yield "PGSSLMODE has to be require, verify-ca or verify-full: tokens and orders go over the net"
        if self.pgpassword and not (self.lakebase_host and self.pguser):
            yield "PGPASSWORD needs PGHOST and PGUSER beside it"
        if not (self.database_url or self.served_name or self.pgpassword):
            yield (
                "DATABASE_URL, LAKEBASE_ENDPOINT or LAKEBASE_INSTANCE_NAME has to say which database to serve, or "
                "PGHOST, PGUSER and PGPASSWORD"
            )

    @property
    def served_name(self) -> str:
        """The endpoint or the instance that is served; empty where it is neither."""
        return self.lakebase_endpoint or self.lakebase_instance_name or ""

    @property
    def instance_name(self) -> str | None:
        """The instance to administer: the one that is named, or that whose main endpoint is served.

        An instance is a project of the same name; its main endpoint is what both APIs show.
        """
        endpoint = self.lakebase_endpoint or ""
        project = endpoint.removeprefix("projects/").removesuffix(_MAIN_ENDPOINT)
        return self.lakebase_instance_name or (project if endpoint.endswith(_MAIN_ENDPOINT) else None)

    @property
    def hosting_instance(self) -> str | None:
        """The instance that holds the database which is served."""
        return None if self.database_url or self.pgpassword else self.instance_name
