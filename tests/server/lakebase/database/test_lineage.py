"""The lineage of a database: what it is a copy of, and the epoch of its history. Branches of a platform: tests/blackbox/lakebase/test_lineage.py."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from schema.errors import Reason, UnavailableError
from server.db.database import Provenance, UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase.database.home import Home
from server.lakebase.database.lineage import Lineage
from server.lakebase.database.own_tables import OwnTables
from tests.server.conftest import patient_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from server.db.pool import Pool

SCHEMA = "lineages"
ROOT = Provenance(instance="orders-pg", branch="production", is_root=True, is_main=True)
MADE = datetime(2026, 11, 1, tzinfo=UTC)
BRANCH = Provenance(instance="orders-pg", branch="dev", source="production", moment=MADE)


class Branched(UrlDatabase):
    """A database that a platform tells of, or refuses to."""

    def __init__(self, url: str, uid: str, told: Provenance | None) -> None:
        super().__init__(url)
        self.uid, self.told = uid, told

    async def origin(self) -> str:
        """The uid of its branch, unless the platform refuses."""
        await self.provenance()
        return self.uid

    async def provenance(self) -> Provenance:
        """What the platform tells."""
        if self.told is None:
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, "The uid cannot be looked up.")
        return self.told


@pytest.fixture
async def open_(orders_url: str, database: asyncpg.Connection) -> AsyncIterator[Callable[..., Lineage]]:
    """Makes what a process knows, of the database itself or with the uid of a branch. The table has no rows."""
    pools: list[Pool] = []

    def make(uid: str | None = None, told: Provenance | None = None, *, url: str = orders_url) -> Lineage:
        served = UrlDatabase(url) if uid is None else Branched(url, uid, told)
        settings = patient_settings(url)
        pools.append(create_operations_pool(settings, served))
        migrations, home = Migrations(create_migration_engine(settings, served), SCHEMA), Home(served, SCHEMA)
        return Lineage(served, OwnTables(pools[-1], SCHEMA, migrations, home), home)

    await database.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    await make().record()
    await database.execute(f"DELETE FROM {SCHEMA}.lineage")
    yield make
    for pool in pools:
        await pool.dispose()


async def recorded(database: asyncpg.Connection) -> list[tuple[str, int]]:
    """The origins of the homes in the table, and their epochs."""
    rows = await database.fetch(f"SELECT home, epoch FROM {SCHEMA}.lineage ORDER BY number")
    return [(row["home"].rsplit("/", 3)[0], row["epoch"]) for row in rows]


@pytest.mark.parametrize("uid", [None, "u-1"], ids=["url", "platform"])
async def test_the_original_has_the_first_epoch(open_: Callable[..., Lineage], uid: str | None) -> None:
    """Cursors of earlier releases, which have no epoch, stay valid."""
    lineage = open_(uid, ROOT)
    for _ in range(2):
        await lineage.record()
        assert (await lineage.epoch(), await lineage.copy_of(), lineage.state) == (0, None, "no")


async def test_all_processes_of_a_copy_begin_one_epoch(
    open_: Callable[..., Lineage], database: asyncpg.Connection
) -> None:
    """Also if they come at once, before any of them has written the home down."""
    await open_("u-1", ROOT).record()
    copies = [open_("u-2", BRANCH) for _ in range(4)]
    before = await asyncio.gather(*(one.epoch() for one in copies))
    await asyncio.gather(*(one.record() for one in copies))
    after = await asyncio.gather(*(open_("u-2", BRANCH).epoch() for _ in range(2)))
    (epoch,) = {*before, *after}
    assert epoch > 0
    assert await recorded(database) == [("u-1", 0), ("u-2", epoch)]
    copy = await copies[0].copy_of()
    assert copy is not None
    assert (copy.instance_name, copy.branch, copy.since) == ("orders-pg", "production", MADE)
    # A second branch has another history.
    assert await open_("u-3", replace(BRANCH, branch="other")).epoch() not in {0, epoch}
    # The original is what it was.
    assert (await open_("u-1", ROOT).epoch(), await open_("u-1", ROOT).copy_of()) == (0, None)


@pytest.mark.parametrize("rows", [True, False], ids=["recorded", "unrecorded"])
async def test_a_branch_that_becomes_the_default_one_is_no_copy_and_keeps_its_epoch(
    open_: Callable[..., Lineage], *, rows: bool
) -> None:
    """Also a branch that was made before any server had written its home: the platform tells its source."""
    if rows:
        await open_("u-1", ROOT).record()
    branch = open_("u-2", BRANCH)
    await branch.record()
    epoch, copy = await branch.epoch(), await branch.copy_of()
    assert epoch > 0
    assert copy is not None
    assert copy.branch == "production"
    assert "updateDatabaseBranch(default: true)" in copy.message
    main = open_("u-2", replace(BRANCH, is_main=True))
    assert (await main.epoch(), await main.copy_of(), main.state) == (epoch, None, "no")


async def test_the_audit_tells_of_an_original_from_before_the_table(
    open_: Callable[..., Lineage], database: asyncpg.Connection
) -> None:
    """Its newest entry was written in another home. After an entry of its own, a database is an original."""
    entry = (
        f"INSERT INTO {SCHEMA}.admin_audit (principal, action, outcome, resources, home) "
        "VALUES ('ann', 'a', 'BEGUN', '{}', $1)"
    )
    await database.execute(entry, "elsewhere/1/2/3")
    lineage = open_()
    copy = await lineage.copy_of()
    assert copy is not None
    assert "at elsewhere" in copy.message
    assert await lineage.epoch() > 0
    await lineage.record()
    own = await database.fetchval(f"DELETE FROM {SCHEMA}.lineage WHERE epoch > 0 RETURNING home")
    await database.execute(f"DELETE FROM {SCHEMA}.lineage")
    await database.execute(entry, own)
    assert (await open_().copy_of(), await open_().epoch()) == (None, 0)


async def test_the_original_keeps_its_epoch_under_another_name(
    open_: Callable[..., Lineage], database: asyncpg.Connection
) -> None:
    """As when LAKEBASE_ENDPOINT replaces LAKEBASE_INSTANCE_NAME: the platform says that the branch has no source."""
    await open_("u-1", ROOT).record()
    renamed = open_("br-u-1", ROOT)
    await renamed.record()
    assert (await renamed.epoch(), await renamed.copy_of()) == (0, None)
    assert await recorded(database) == [("u-1", 0), ("br-u-1", 0)]


async def test_a_dump_is_a_copy_until_an_operator_deletes_the_older_rows(
    open_: Callable[..., Lineage], database: asyncpg.Connection, orders_url: str
) -> None:
    """Without a platform nothing else can tell that it has taken the original's place. Its cursors stay valid."""
    await open_().record()
    # The tables of a restored dump are new ones, with the rows of the original.
    await database.execute(f"ALTER TABLE {SCHEMA}.operation RENAME TO former")
    await database.execute(f"CREATE TABLE {SCHEMA}.operation (LIKE {SCHEMA}.former INCLUDING ALL)")
    dump = open_()
    await dump.record()
    copy, epoch = await dump.copy_of(), await dump.epoch()
    assert copy is not None
    assert orders_url.rpartition("@")[2].split("/")[0] in copy.message
    assert f'delete the older rows of "{SCHEMA}".lineage' in copy.message
    assert epoch > 0
    await database.execute(f"DELETE FROM {SCHEMA}.lineage WHERE number = 1")
    again = open_()
    assert (await again.copy_of(), await again.epoch()) == (None, epoch)


async def test_while_the_platform_refuses_the_last_known_epoch_counts(open_: Callable[..., Lineage]) -> None:
    """Changes can be read without the platform. `/readyz` says why nothing more is known."""
    branch = open_("u-2", BRANCH)
    await branch.record()
    refused = open_("u-2", None)
    await refused.record()
    assert await refused.epoch() == await branch.epoch()
    assert await refused.copy_of() is None
    assert refused.state == "not known: The uid cannot be looked up."


async def test_a_database_that_may_not_be_written_has_the_same_epoch(
    open_: Callable[..., Lineage], database: asyncpg.Connection
) -> None:
    """It is computed from the home, so nothing has to be written."""
    await open_("u-1", ROOT).record()
    await database.execute(f"CREATE RULE unwritable AS ON INSERT TO {SCHEMA}.lineage DO INSTEAD NOTHING")
    first, second = open_("u-2", BRANCH), open_("u-2", BRANCH)
    await first.record()
    assert len(await recorded(database)) == 1
    assert await first.epoch() == await second.epoch() > 0
