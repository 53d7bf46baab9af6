"""The local platform's process: after an orderly stop nothing runs, and after a kill nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import asyncpg
import psutil
import pytest
from databricks.sdk.errors import NotFound
from databricks.sdk.service.database import DatabaseInstance, DatabaseInstanceState, SyncedTableState

from tests.local.parts import postmaster, standing_still
from tests.servers.platform import LocalPlatform, platform_directory, running_platform, synced_table
from tests.servers.process import PATIENCE_SECONDS, ROOT, environment, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The directory that the platforms of these tests use one after the other."""
    with platform_directory() as place:
        yield place


@pytest.fixture
def directory(place: Path) -> Path:
    """The same, with an instance `kept` that is available, and a catalog and a synced table on it."""
    with running_platform(place) as platform:
        database = platform.workspace().database
        if not platform.inventory()["instances"]:
            platform.create_instance("kept")
            platform.create_catalog("kept", "kept")
            platform.create_table("kept.public.orders")
        database.update_database_instance("kept", DatabaseInstance("kept", stopped=False), "stopped")
        platform.wait_for_instance("kept", DatabaseInstanceState.AVAILABLE)
    return place


def postgres_processes(platform: LocalPlatform) -> list[int]:
    """The process ids of the running PostgreSQLs."""
    return [process for instance in platform.inventory()["instances"] for process in instance["processes"].values()]


def alive(process: int) -> bool:
    """Whether the process runs. A zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    return False


async def connected(platform: LocalPlatform, host: str | None, token: str | None) -> asyncpg.Connection:
    """Connect to an instance of a platform that has just started, and may still be starting PostgreSQL."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
                connection: asyncpg.Connection = await platform.connect(host, token)
                return connection
            await asyncio.sleep(0.02)  # between two attempts


async def test_a_killed_platform_finds_everything_again(directory: Path) -> None:
    """Sessions live on. Host, token, credentials, uids and ports are the same, and logins work again."""
    with running_platform(directory) as platform:
        instance = platform.wait_for_instance("kept", DatabaseInstanceState.AVAILABLE)
        table = platform.wait_for_table("kept.public.orders")
        token = platform.workspace().database.generate_database_credential(instance_names=["kept"]).token
        connection = await connected(platform, instance.read_write_dns, token)
        before = platform.inventory()
        platform.kill()
        assert await connection.fetchval("SELECT 1") == 1
        with running_platform(directory) as again:
            assert (again.host, again.token, again.pg_port) == (platform.host, platform.token, platform.pg_port)
            assert again.client_secret == platform.client_secret
            assert again.inventory() == before
            assert await connection.fetchval("SELECT 1") == 1
            await (await again.connect(instance.read_write_dns, token)).close()
            pipeline = table.data_synchronization_status.pipeline_id  # type: ignore[union-attr] # it is online
            again.workspace().pipelines.start_update(str(pipeline))
            again.wait_for_table("kept.public.orders")
            processes = postgres_processes(again)
            await connection.close()
        assert again.process.returncode == 0
        assert not any(alive(process) for process in processes)


def test_an_orderly_stop_ends_everything_and_a_start_brings_it_back(directory: Path) -> None:
    """After SIGINT, as after SIGTERM, the exit code is 0 and no PostgreSQL runs. A start finds the same instances."""
    with running_platform(directory) as platform:
        before = platform.inventory()["instances"]
        wait_for(lambda: postgres_processes(platform) != [], what=platform.log)
        processes = postgres_processes(platform)
        platform.process.send_signal(signal.SIGINT)
        assert platform.process.wait(PATIENCE_SECONDS) == 0
        assert not any(alive(process) for process in processes)
    with running_platform(directory) as platform:
        wait_for(lambda: postgres_processes(platform) != [], what=platform.log)
        assert [i["uid"] for i in platform.inventory()["instances"]] == [i["uid"] for i in before]


async def test_a_suspended_instance_is_suspended_after_a_restart(directory: Path) -> None:
    """A login attempt wakes it."""
    with running_platform(directory) as platform:
        host = platform.wait_for_instance("kept", DatabaseInstanceState.AVAILABLE).read_write_dns
        platform.suspend("kept")
        platform.kill()
        with running_platform(directory) as again:
            assert again.inventory()["instances"][0]["suspended"]
            await refused_while_suspended(again, host)
            wait_for(lambda: not again.inventory()["instances"][0]["suspended"], what=again.log)
            await (await again.connect(host)).close()


async def refused_while_suspended(platform: LocalPlatform, host: str | None) -> None:
    """Try to log in at a suspended instance until it refuses. Just after a start nothing listens yet."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                with pytest.raises(asyncpg.CannotConnectNowError):
                    await platform.connect(host)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)  # between two looks
            else:
                return


def test_interrupted_transitions_are_resumed(directory: Path) -> None:
    """The platform is killed while it starts, stops or deletes instances. The next one completes each transition."""
    with running_platform(directory, start_delay=PATIENCE_SECONDS) as platform:
        database = platform.workspace().database
        wait_for(lambda: postgres_processes(platform) != [], what=platform.log)
        with standing_still(postmaster(platform, "kept")):
            database.create_database_instance(DatabaseInstance("starting"))
            database.update_database_instance("kept", DatabaseInstance("kept", stopped=True), "stopped")
            platform.kill()
    with running_platform(directory) as again:
        again.wait_for_instance("starting", DatabaseInstanceState.AVAILABLE)
        again.wait_for_instance("kept", DatabaseInstanceState.STOPPED)
        with standing_still(postmaster(again, "starting")):
            again.workspace().database.delete_database_instance("starting")
            again.kill()
    with running_platform(directory) as last:
        wait_for(lambda: [i["name"] for i in last.inventory()["instances"]] == ["kept"], what=last.log)
        with pytest.raises(NotFound):
            last.workspace().database.get_database_instance("starting")
        assert len(list((directory / "instances").iterdir())) == 1


def test_an_interrupted_sync_is_resumed(directory: Path) -> None:
    """The platform is killed while it copies rows. The next one copies all of them."""
    with running_platform(directory, snapshot_delay=PATIENCE_SECONDS) as platform:
        platform.workspace().database.create_synced_database_table(
            synced_table("kept.public.customer", "customer", "c_custkey")
        )
        platform.wait_for_table("kept.public.customer", SyncedTableState.SYNCED_TABLE_PROVISIONING_INITIAL_SNAPSHOT)
        platform.kill()
        with running_platform(directory) as again:
            again.wait_for_table("kept.public.customer")


def test_a_directory_is_one_platforms_at_a_time(directory: Path) -> None:
    """A second platform on it is refused, and says why."""
    with running_platform(directory), pytest.raises(TimeoutError, match="Another local platform"):  # noqa: SIM117 # the second is what raises
        with running_platform(directory):
            pass


def test_the_state_is_readable_by_its_owner_alone(directory: Path) -> None:
    """It holds the operator's token and the service principal's secret."""
    assert (directory / "state.json").stat().st_mode & 0o077 == 0


def test_wrong_options_are_named(tmp_path: Path) -> None:
    """The exit code is 2, and nothing is created."""
    result = subprocess.run(
        [sys.executable, "-m", "server.local.platform"],
        cwd=ROOT,
        env=environment(LOCAL_DIRECTORY=str(tmp_path / "none"), LOCAL_SCALE="-1", LOCAL_SYNC_MODE="maybe"),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert result.returncode == 2
    assert "LOCAL_SCALE" in result.stderr
    assert "LOCAL_SYNC_MODE" in result.stderr
    assert not (tmp_path / "none").exists()
