"""Runs the local platform for tests, with fast options, and calls its API and its controls."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.database import (
    DatabaseCatalog,
    DatabaseInstance,
    DatabaseInstanceState,
    NewPipelineSpec,
    SyncedDatabaseTable,
    SyncedTableSchedulingPolicy,
    SyncedTableSpec,
    SyncedTableState,
)
from databricks.sdk.service.postgres import Project

from tests.servers.process import NO_TLS, PATIENCE_SECONDS, environment, started, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from subprocess import Popen

    from tests.servers.forkserver import Forked

_MEMORY = Path("/dev/shm")  # noqa: S108 # the directories made in it are mkdtemp's
_MEMORY_BYTES = 4 << 30
# Fast, and yet every state lasts long enough to be seen. A test's data need not survive a crash.
_FAST: dict[str, str] = {
    "SCALE": "0.001",
    # The generator takes a second to start, so all tests share its output.
    "SOURCES": str(Path(tempfile.gettempdir()) / f"lakebase-orders-sources-{os.getuid()}"),
    "START_DELAY": "0.05",
    "RESIZE_DELAY": "0.05",
    "WAKE_DELAY": "0.1",
    "PROVISIONING_DELAY": "0.05",
    "RESOURCES_DELAY": "0.05",
    "SNAPSHOT_DELAY": "0.2",
    "OPERATION_DELAY": "0.05",
    "DELETION_DELAY": "0.05",
    "PG_OPTIONS": json.dumps({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
}
# For tests that do not look at the states.
AT_ONCE: Final[Mapping[str, object]] = MappingProxyType(
    dict.fromkeys(
        (
            "start_delay",
            "resize_delay",
            "provisioning_delay",
            "resources_delay",
            "snapshot_delay",
            "wake_delay",
            "operation_delay",
            "deletion_delay",
        ),
        0,
    )
)


@dataclass(frozen=True, slots=True)
class LocalPlatform:
    """A running local platform. `token` is the operator's, whose name is `user`; `log()` returns its log so far."""

    host: str
    token: str
    user: str
    client_id: str
    client_secret: str
    pg_port: int
    process: Forked | Popen[bytes]
    log: Callable[[], str]

    def workspace(self, **settings: Any) -> WorkspaceClient:
        """The real SDK's client, as the operator. The settings go to its Config."""
        return WorkspaceClient(config=Config(host=self.host, token=self.token, **settings))

    def fault(self, fault: str, *, path: str, method: str = ".*", **options: Any) -> None:
        """Switch a fault on. `method` and `path` are regular expressions; the options are FaultBody's other fields."""
        self.ask("POST", "/local/faults", {"fault": fault, "path": path, "method": method, **options})

    def clear_faults(self) -> None:
        """Switch every fault off."""
        self.ask("DELETE", "/local/faults")

    def held(self) -> list[dict[str, Any]]:
        """The number, method, path and fault of each held request."""
        return list(self.ask("GET", "/local/held")["held"])

    def wait_until_held(self) -> None:
        """Wait until it holds a request."""
        wait_for(lambda: bool(self.held()), what=lambda: "a request to be held")

    def release(self) -> int:
        """Release every held request, and return how many there were."""
        return int(self.ask("POST", "/local/release")["released"])

    def inventory(self) -> dict[str, list[dict[str, Any]]]:
        """All resources: `instances`, `projects`, `catalogs`, `synced_tables` and `pipelines`, with their uids."""
        return dict(self.ask("GET", "/local/inventory"))

    def counters(self) -> dict[str, Any]:
        """The counters since its start.

        `requests` by method and path template; `mints`, `logins_accepted`, `logins_refused`; `mint_times` and
        `login_times`, the newest 10,000 Unix times of mints and accepted logins, oldest first; `mints_at_once`, the
        most requests for credentials in flight at once; `faults_applied`, to how many requests a fault was applied;
        `wakes`, the number of wake-ups by instance.
        """
        return dict(self.ask("GET", "/local/counters"))

    def commit(self, source: str) -> dict[str, Any]:
        """Commit a new version of a source table, and return its `version` and `time`. A sync copies the newest."""
        return dict(self.ask("POST", f"/local/sources/{source}/commit"))

    def suspend(self, name: str) -> None:
        """Suspend an instance, or an endpoint by its resource name."""
        self.ask("POST", f"/local/{name}/suspend" if "/" in name else f"/local/instances/{name}/suspend")

    def revoke(self, instance: str | None = None) -> int:
        """Revoke every credential minted so far, of one instance or of all, and return how many there were."""
        return int(self.ask("POST", "/local/credentials/revoke", {"instance": instance})["revoked"])

    def pause_replay(self, instance: str, *, paused: bool = True) -> None:
        """Pause or resume the replay of an instance's standby."""
        self.ask("POST", f"/local/instances/{instance}/replay", {"paused": paused})

    @staticmethod
    def endpoint_name(instance: str) -> str:
        """The name of an instance's endpoint in the Autoscaling API."""
        return f"projects/{instance}/branches/production/endpoints/primary"

    def hold_name(self, name: str) -> None:
        """Create a project and delete it. It is no instance any more, and holds the name until it is purged."""
        postgres = self.workspace().postgres
        postgres.create_project(Project(), name).wait()
        postgres.delete_project(f"projects/{name}").wait()

    def create_instance(self, name: str, **fields: Any) -> DatabaseInstance:
        """Create an instance with these fields, and wait until it is available."""
        self.workspace().database.create_database_instance(DatabaseInstance(name=name, **fields))
        return self.wait_for_instance(name, DatabaseInstanceState.AVAILABLE)

    def wait_for_instance(self, name: str, state: DatabaseInstanceState) -> DatabaseInstance:
        """Wait until the instance is in this state."""
        database = self.workspace().database
        seen: list[DatabaseInstance] = []

        def reached() -> bool:
            seen.append(database.get_database_instance(name))
            return seen[-1].state is state

        wait_for(reached, what=lambda: f"{name} to be {state}: {seen[-1:]}\n{self.log()}")
        return seen[-1]

    def create_catalog(self, name: str, instance: str, database: str = "demo") -> DatabaseCatalog:
        """Create a catalog that registers a database of the instance. The database is created if it is missing."""
        return self.workspace().database.create_database_catalog(
            DatabaseCatalog(name, instance, database, create_database_if_not_exists=True)
        )

    def create_table(self, name: str, source: str = "orders", key: str = "o_orderkey") -> SyncedDatabaseTable:
        """Create a synced table of a source in samples.tpch, and wait until it is online."""
        self.workspace().database.create_synced_database_table(synced_table(name, source, key))
        return self.wait_for_table(name)

    def wait_for_table(
        self, name: str, state: SyncedTableState = SyncedTableState.SYNCED_TABLE_ONLINE_NO_PENDING_UPDATE
    ) -> SyncedDatabaseTable:
        """Wait until the synced table is in this state."""
        database = self.workspace().database
        seen: list[SyncedDatabaseTable] = []

        def reached() -> bool:
            seen.append(database.get_synced_database_table(name))
            status = seen[-1].data_synchronization_status
            return status is not None and status.detailed_state is state

        wait_for(reached, what=lambda: f"{name} to be {state}: {seen[-1:]}\n{self.log()}")
        return seen[-1]

    async def connect(self, host: str | None, token: str | None = None, user: str | None = None, **options: Any) -> Any:
        """Connect with asyncpg, as the operator by default. Without a token it mints one for the host's endpoint."""
        if token is None:
            name = self.ask("GET", "/local/endpoints").get(host)
            mint = self.workspace().postgres.generate_database_credential
            token = mint(name).token if name else "none"
        options = {"database": "databricks_postgres", "timeout": PATIENCE_SECONDS, **options}
        return await asyncpg.connect(host=host, port=self.pg_port, user=user or self.user, password=token, **options)

    def kill(self) -> None:
        """Kill it as `kill -9` does, and wait until it is gone. Its PostgreSQLs run on."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request with the operator's token, assert that it succeeds, and return the reply."""
        headers = {"authorization": f"Bearer {self.token}"}
        response = httpx.request(method, f"{self.host}{path}", json=body, headers=headers, verify=NO_TLS)
        assert response.status_code == 200, response.text
        return response.json()


def synced_table(name: str, source: str = "orders", key: str = "o_orderkey", **spec: Any) -> SyncedDatabaseTable:
    """The body that creates a synced table of a source in samples.tpch; `spec` are more fields of its spec."""
    return SyncedDatabaseTable(
        name=name,
        spec=SyncedTableSpec(
            **{
                "source_table_full_name": f"samples.tpch.{source}",
                "primary_key_columns": [key],
                "scheduling_policy": SyncedTableSchedulingPolicy.SNAPSHOT,
                "create_database_objects_if_missing": True,
                "new_pipeline_spec": NewPipelineSpec(storage_catalog="main", storage_schema="lakebase_meta"),
                **spec,
            }
        ),
    )


@contextlib.contextmanager
def platform_directory() -> Iterator[Path]:
    """A directory for `running_platform`, which PostgreSQL's user can enter. It is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="platform-", dir=_fast_directory(), ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        try:
            yield directory
        finally:
            end_left_behind(directory)
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running_platform(directory: Path, **options: object) -> Iterator[LocalPlatform]:
    """Run the local platform with its test tooling on the directory. Afterwards it and its PostgreSQLs are stopped.

    Args:
        directory: best a `platform_directory`. A second platform on it finds everything that the first one left.
        options: options of the platform by name, `suspend_after=2` say. Dictionaries are sent as JSON.
    """
    given = {name.upper(): _text(value) for name, value in options.items()}
    settings = {f"LOCAL_{name}": value for name, value in {**_FAST, "DIRECTORY": str(directory), **given}.items()}
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log, tempfile.NamedTemporaryFile("wb") as output:
        process = started("tests.platform_tools", environment(**settings), stdout=output, stderr=log)
        try:
            wait_for(
                lambda: Path(output.name).read_text().endswith("\n"),
                what=lambda: f"the local platform to listen:\n{Path(log.name).read_text()}",
                given_up=lambda: process.poll() is not None,
            )
            line = json.loads(Path(output.name).read_text())
            yield LocalPlatform(**line, process=process, log=lambda: Path(log.name).read_text())
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)
            # A platform that never listened has started nothing. PostgreSQLs on its directory belong to another platform.
            if Path(output.name).stat().st_size:
                end_left_behind(directory)


def end_left_behind(directory: Path) -> None:
    """Stop the PostgreSQLs that a killed platform has left running on the directory."""
    for pid_file in directory.glob("instances/**/postmaster.pid"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            postmaster = int(pid_file.read_text().split()[0])
            os.kill(postmaster, signal.SIGQUIT)
            wait_for(lambda: not pid_file.exists(), what=lambda: f"{pid_file} to go", seconds=PATIENCE_SECONDS)  # noqa: B023 # the lambda is called before the next iteration


def _fast_directory() -> Path | None:
    """A directory in memory if there is enough: a new PostgreSQL is a thousand files. None stands for the default."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES:
            return _MEMORY
    return None


def _text(value: object) -> str:
    return json.dumps(value) if isinstance(value, (dict, bool)) else str(value)
