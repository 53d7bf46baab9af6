"""The look at the platform: one for all who ask, not too often, and never in anybody's way."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from schema.errors import ForbiddenError, Reason, UnavailableError
from schema.graph import TABLES
from schema.orders.types import ORDERS
from schema.ports.admin.administration import Configured
from schema.ports.admin.branches import EndpointState
from schema.ports.admin.instances import Flavour
from schema.ports.admin.tables import ServedTable, SyncPolicy, SyncState
from server.lakebase.database.asked_for import AskedForStore
from server.lakebase.freshness import PlatformFreshness
from server.observability.exposition import exposition
from tests.schema.recording import NOON, branch, endpoint, synced_table
from tests.support.clock import LoopTime, in_virtual_time
from tests.support.exposition import value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schema.ports.admin.branches import Endpoint
    from schema.ports.admin.tables import SyncedTable
    from server.lakebase.database.own_tables import OwnTables
    from tests.server.conftest import LogLines

ORDERS_TABLE, CUSTOMERS_TABLE = "lake.public.orders_synced", "lake.public.customer_synced"
CUSTOMERS = TABLES["customers"]
CONFIGURED = Configured(
    "orders-pg",
    "lake",
    "orders_db",
    ORDERS_TABLE,
    Flavour.AUTOSCALING,
    "production",
    (ServedTable(CUSTOMERS_TABLE, CUSTOMERS),),
)
ENDPOINT = endpoint(branch())
DOWN = UnavailableError(Reason.CONTROL_PLANE_UNAVAILABLE, "The platform does not answer.")
HOUR = 3600.0


def table(name: str, version: int = 7, **other: Any) -> SyncedTable:
    """A table that was synced at noon."""
    return replace(
        synced_table(name),
        **{
            "state": SyncState.ONLINE_NO_PENDING_UPDATE,
            "last_sync_finished_at": NOON,
            "source_version": version,
            "branch": "production",
            **other,
        },
    )


@dataclass
class Platform:
    """A platform, and its loader, that answers after a second. `looks` has the time of each look at the orders."""

    tables: dict[str, SyncedTable] = field(
        default_factory=lambda: {name: table(name) for name in (ORDERS_TABLE, CUSTOMERS_TABLE)}
    )
    failures: dict[str, Exception] = field(default_factory=dict)
    state: EndpointState = EndpointState.IDLE
    looks: list[float] = field(default_factory=list)
    asked: AskedForStore = field(init=False)

    async def get(self) -> Platform:
        """Itself."""
        return self

    def remembering(self, asked: AskedForStore) -> Platform:
        """Itself, which asks what was asked for as the Postgres API does. No statement may be run for that."""
        self.asked = asked
        return self

    async def synced_table(self, name: str) -> SyncedTable | None:
        """A table, or the failure of this name."""
        if name == ORDERS_TABLE:
            self.looks.append(LoopTime.monotonic())
        assert await self.asked.of(name, "uid", NOON) is None
        await asyncio.sleep(1)  # on a virtual clock
        if name in self.failures:
            raise self.failures[name]
        return self.tables.get(name)

    async def endpoints(self, path: str) -> Sequence[Endpoint]:
        """The served endpoint."""
        assert path == branch().path
        return [replace(ENDPOINT, state=self.state)]


@pytest.fixture(autouse=True)
def _virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.lakebase.freshness.time", LoopTime)


@asynccontextmanager
async def watching(platform: Platform, configured: Configured = CONFIGURED) -> AsyncIterator[PlatformFreshness]:
    """The freshness of a server, without a database."""
    made: Any = platform
    freshness = PlatformFreshness(made, configured, AskedForStore(cast("OwnTables", None)), served=ENDPOINT.path)
    # Long after the start of the process.
    await asyncio.sleep(HOUR)
    yield freshness
    await freshness.close()


def version(freshness: PlatformFreshness) -> int | None:
    """The version of the orders' source that is told now."""
    known = freshness.of(ORDERS)
    return None if known is None else known.source_version


@in_virtual_time
async def test_nobody_waits_and_all_who_ask_share_a_look() -> None:
    """The first get null, and a look begins in the background; another one at most every 30 seconds."""
    platform = Platform()
    async with watching(platform) as freshness:
        assert [version(freshness) for _ in range(1000)] == [None] * 1000
        await asyncio.sleep(5)
        platform.tables[ORDERS_TABLE] = table(ORDERS_TABLE, 8)
        told: list[int | None] = []
        for _ in range(80):
            told += {version(freshness) for _ in range(100)}
            freshness.of(CUSTOMERS)
            await asyncio.sleep(1)
        assert told == [7] * told.count(7) + [8] * told.count(8)
        assert told.count(7) == pytest.approx(26, abs=2)
    assert platform.looks == [HOUR, HOUR + 30, HOUR + 60]


@in_virtual_time
async def test_while_nobody_asks_the_platform_is_left_alone() -> None:
    """It is asked once soon after the start, so that the first caller is told. What is known stays known."""
    platform = Platform()
    async with watching(platform) as freshness:
        freshness.start()
        await asyncio.sleep(10 * HOUR)
        assert platform.looks == [HOUR + 1]
        assert version(freshness) == 7
        await asyncio.sleep(10 * HOUR)
        assert platform.looks == [HOUR + 1, 11 * HOUR]


@in_virtual_time
async def test_what_the_platform_tells_is_what_is_told() -> None:
    """Of each table by itself. The policy is known if this server has created the table."""
    platform = Platform()
    commit = NOON.replace(hour=11)
    platform.tables[CUSTOMERS_TABLE] = table(
        CUSTOMERS_TABLE, 3, source_committed_at=commit, policy=SyncPolicy.CONTINUOUS
    )
    async with watching(platform) as freshness:
        freshness.ask()
        await asyncio.sleep(5)
        known = freshness.of(CUSTOMERS)
    assert known is not None
    assert (known.synced_at, known.source_committed_at, known.source_version) == (NOON, commit, 3)
    assert (known.state, known.policy) == (SyncState.ONLINE_NO_PENDING_UPDATE, SyncPolicy.CONTINUOUS)


@in_virtual_time
async def test_a_table_of_another_database_does_not_date_the_served_rows() -> None:
    """A branch may be served whose synced table is the original's. Nor does a table that is gone."""
    platform = Platform()
    platform.tables[ORDERS_TABLE] = table(ORDERS_TABLE, branch="dev")
    async with watching(platform) as freshness:
        freshness.ask()
        await asyncio.sleep(30)
        assert (version(freshness), freshness.of(CUSTOMERS) is not None) == (None, True)
        del platform.tables[CUSTOMERS_TABLE]
        await asyncio.sleep(5)
        assert freshness.of(CUSTOMERS) is None


@in_virtual_time
async def test_a_full_refresh_does_not_hide_the_last_sync() -> None:
    """The platform does not tell of it meanwhile. A table that is created anew has none."""
    platform = Platform()
    unknown: dict[str, Any] = {"last_sync_finished_at": None, "version": None}
    async with watching(platform) as freshness:
        freshness.ask()
        await asyncio.sleep(30)
        platform.tables[ORDERS_TABLE] = table(ORDERS_TABLE, state=SyncState.ONLINE_TRIGGERED_UPDATE, **unknown)
        freshness.ask()
        await asyncio.sleep(30)
        known = freshness.of(ORDERS)
        assert known is not None
        assert (known.synced_at, known.source_version, known.state) == (NOON, 7, SyncState.ONLINE_TRIGGERED_UPDATE)
        platform.tables[ORDERS_TABLE] = table(ORDERS_TABLE, state=SyncState.PROVISIONING, **unknown)
        await asyncio.sleep(30)
        freshness.ask()
        await asyncio.sleep(5)
        known = freshness.of(ORDERS)
        assert known is not None
        assert (known.synced_at, known.source_version, known.state) == (None, None, SyncState.PROVISIONING)


@pytest.mark.parametrize("failure", [DOWN, RuntimeError("a bug")])
def test_while_the_platform_fails_the_last_known_stays(failure: Exception, log_lines: LogLines) -> None:
    """It is asked less and less often, up to every five minutes. The log has one line for the cause, and one at the end."""

    @in_virtual_time
    async def fail() -> None:
        platform = Platform()
        async with watching(platform) as freshness:
            freshness.ask()
            await asyncio.sleep(30)
            platform.failures[ORDERS_TABLE] = failure
            for _ in range(1200):
                assert version(freshness) == 7
                await asyncio.sleep(1)
            pauses = [round(later - look) for look, later in zip(platform.looks[1:], platform.looks[2:], strict=False)]
            assert pauses == pytest.approx([31, 61, 121, 241, 301, 301], abs=1.1)
            platform.failures.clear()
            platform.tables[ORDERS_TABLE] = table(ORDERS_TABLE, 8)
            for _ in range(400):
                freshness.ask()
                await asyncio.sleep(1)
            assert version(freshness) == 8
            assert platform.looks[-1] - platform.looks[-2] == pytest.approx(30, abs=1.1)

    fail()
    lines = [line["event"] for line in log_lines() if "fresh" in line["event"]]
    assert lines == ["freshness not known", "freshness known again"]


@in_virtual_time
async def test_a_table_that_is_refused_does_not_hide_the_others() -> None:
    """The platform tells of those that the server's identity may see, as often as ever."""
    platform = Platform()
    platform.failures[ORDERS_TABLE] = ForbiddenError(Reason.PERMISSION_MISSING, "Not for you.")
    async with watching(platform) as freshness:
        for _ in range(65):
            freshness.ask()
            await asyncio.sleep(1)
        assert (version(freshness), freshness.of(CUSTOMERS) is not None) == (None, True)
    assert platform.looks == [HOUR, HOUR + 30, HOUR + 60]


@in_virtual_time
async def test_without_a_catalog_no_table_is_looked_up() -> None:
    """The state of the endpoint is still told to operators."""
    platform = Platform()
    async with watching(platform, Configured("orders-pg", None, "orders_db", None)) as freshness:
        assert version(freshness) is None
        await asyncio.sleep(5)
        assert version(freshness) is None
    assert platform.looks == []
    assert instance_states() == {"IDLE"}


@in_virtual_time
async def test_the_metrics_have_what_the_platform_told() -> None:
    """The age, and one state of each table and of the instance. What is gone has no age and no state."""
    platform = Platform(state=EndpointState.ACTIVE)
    platform.tables[CUSTOMERS_TABLE] = table(CUSTOMERS_TABLE, state=SyncState.ONLINE_PIPELINE_FAILED)
    async with watching(platform) as freshness:
        freshness.ask()
        await asyncio.sleep(30)
        assert sync_states("orders") == {"ONLINE_NO_PENDING_UPDATE"}
        assert sync_states("customers") == {"ONLINE_PIPELINE_FAILED"}
        assert instance_states() == {"ACTIVE"}
        text = exposition("")[0].decode()
        assert value(text, "orders_api_sync_timestamp_seconds", table="orders") == NOON.timestamp()
        assert value(text, "orders_api_sync_age_seconds", table="orders") > 0
        platform.tables[CUSTOMERS_TABLE] = table(CUSTOMERS_TABLE)
        platform.state = EndpointState.IDLE
        del platform.tables[ORDERS_TABLE]
        freshness.ask()
        await asyncio.sleep(30)
    assert (sync_states("orders"), sync_states("customers")) == (set(), {"ONLINE_NO_PENDING_UPDATE"})
    assert instance_states() == {"IDLE"}
    assert 'orders_api_sync_age_seconds{table="orders"}' not in exposition("")[0].decode()


def sync_states(table: str) -> set[str]:
    """The states that the metrics show of a table."""
    text = exposition("")[0].decode()
    return {one.value for one in SyncState if value(text, "orders_api_sync_state", table=table, state=one.value)}


def instance_states() -> set[str]:
    """The states that the metrics show of the endpoint."""
    text = exposition("")[0].decode()
    return {one.value for one in EndpointState if value(text, "orders_api_instance_state", state=one.value)}
