"""The home of a database that a URL names: what changes it, and what does not. The platform's: tests/blackbox/lakebase/test_copies.py."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase.database.home import Home
from server.lakebase.database.own_tables import OwnTables
from tests.server.conftest import patient_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from server.local.cluster import Cluster

SCHEMA = "homes"


@contextlib.asynccontextmanager
async def tables_of(url: str) -> AsyncIterator[OwnTables]:
    """The own tables of a new process."""
    settings, database = patient_settings(url), UrlDatabase(url)
    pool = create_operations_pool(settings, database)
    migrations = Migrations(create_migration_engine(settings, database), SCHEMA)
    try:
        yield OwnTables(pool, SCHEMA, migrations, Home(database, SCHEMA))
    finally:
        await pool.dispose()


async def home_of(url: str) -> str:
    """The home of a URL's database, as a new process reads it."""
    async with tables_of(url) as tables:
        return await tables.home()


async def test_another_process_and_another_login_are_at_the_same_home(cluster: Cluster, orders_url: str) -> None:
    """It does not depend on the role, the password or the parameters in the URL."""
    home = await home_of(orders_url)
    cluster.run_sql("CREATE ROLE lodger LOGIN SUPERUSER PASSWORD 'lodger'")
    address = orders_url.rpartition("@")[2]
    assert await home_of(f"postgresql://lodger:lodger@{address}?application_name=lodger") == home
    cluster.run_sql("DROP ROLE lodger")


async def test_a_copy_of_the_files_under_another_address_is_another_home(orders_url: str) -> None:
    """A base backup or a point-in-time copy has the same system catalogs. Only its address differs."""
    elsewhere = orders_url.replace("127.0.0.1", "localhost")
    assert elsewhere != orders_url
    assert await home_of(elsewhere) != await home_of(orders_url)


async def test_a_restored_dump_is_another_home_in_the_same_database(
    orders_url: str, database: asyncpg.Connection
) -> None:
    """Its tables are new ones."""
    home = await home_of(orders_url)
    await database.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    assert await home_of(orders_url) != home


async def test_a_process_whose_database_was_replaced_creates_its_tables_before_it_reads_the_home(
    orders_url: str, database: asyncpg.Connection
) -> None:
    """They are a part of the home: what is written at a home without them would seem to be of another database."""
    async with tables_of(orders_url) as tables:
        before = await tables.home()
        await database.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        home = await tables.home()
        assert home != before
        assert home == await home_of(orders_url)


async def test_a_home_is_never_of_two_databases() -> None:
    """A statement may wait until its database is gone and another one has the name. Then the home is that one's."""
    origin, system = "deleted", 1

    class Named(UrlDatabase):
        async def origin(self) -> str:
            return origin

    async def rows(statement: str, _parameters: Any) -> list[tuple[Any, ...]]:
        nonlocal origin, system
        if "pg_database" in statement:
            return [(5, 6, True)]
        found, origin, system = system, "new", 2
        return [(found,)]

    assert await Home(Named("postgresql://h/db"), SCHEMA).read(rows) == "new/2/5/6"


async def test_the_home_is_read_without_the_right_to_the_system_identifier(cluster: Cluster, orders_url: str) -> None:
    """By default every role may call the function. Where the server's role may not, the home has its other parts."""
    cluster.run_sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    cluster.run_sql("CREATE ROLE lodger LOGIN PASSWORD 'lodger'")
    cluster.run_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    await home_of(orders_url)
    for objects in ("SCHEMA", "ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA"):
        cluster.run_sql(f"GRANT ALL ON {objects} {SCHEMA} TO lodger")
    try:
        mine, theirs = (
            await home_of(orders_url),
            await home_of(f"postgresql://lodger:lodger@{orders_url.rpartition('@')[2]}"),
        )
    finally:
        cluster.run_sql("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
        cluster.run_sql("DROP OWNED BY lodger; DROP ROLE lodger")
    origin, _, *oids = mine.split("/")
    assert theirs.split("/") == [origin, "-", *oids]
