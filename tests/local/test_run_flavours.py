"""`make run` provisions by the Postgres API, or by the older one if the shell names an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from schema.graph import TABLES
from tests.local.runs import PlatformCall, exported, platform_calls, running
from tests.servers.platform import end_left_behind, platform_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTGRES, DATABASE = "/api/2.0/postgres", "/api/2.0/database"
OTHER = {
    "DATABASE_URL": "postgresql://elsewhere.invalid/orders",
    "LAKEBASE_ENDPOINT": "projects/elsewhere/branches/production/endpoints/primary",
}
CHANGE = 'mutation { setOrderStatus(input: {orderKey: "1", status: FULFILLED}) { change { version } } }'


@dataclass(frozen=True)
class Started:
    """What a run printed and exported, how many orders it served, and which calls of the platform it made."""

    output: str
    export: list[dict[str, Any]]
    count: int
    calls: list[PlatformCall]

    def changing(self) -> set[PlatformCall]:
        """The calls that changed something, other than logins."""
        return {one for one in self.calls if one.method != "GET" and not one.path.endswith("/credentials")}

    def to(self, api: str) -> set[PlatformCall]:
        """The calls of this API."""
        return {one for one in self.calls if one.path.startswith(f"{api}/")}


def started(directory: Path, change: str = "", scale: str = "0.001", **settings: str) -> Started:
    """A run that is stopped as soon as it is ready, and has made the change."""
    with running(directory, scale=scale, **settings) as run:
        if change:
            assert "errors" not in httpx.post(f"{run.url}/api/graphql", json={"query": change}).json()
        output, export, count = run.output(), exported(directory, **OTHER), run.count()
    return Started(output, export, count, platform_calls(directory))


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A LOCAL_DIR for all runs."""
    with platform_directory() as place:
        yield place / ".local"
        end_left_behind(place / ".local" / "platform")


@pytest.fixture(scope="module")
def named(directory: Path) -> Started:
    """A first run, with the name of an instance and an endpoint of another deployment in the shell."""
    return started(directory, CHANGE, **OTHER, LAKEBASE_INSTANCE_NAME="orders-pg")


@pytest.fixture(scope="module")
def by_default(directory: Path, named: Started) -> Started:
    """A run in the same directory, with only an endpoint of another deployment in the shell, at another scale."""
    assert named.count == 1500
    return started(directory, scale="0.002", **OTHER)


def test_the_name_of_an_instance_chooses_the_older_api(named: Started) -> None:
    """The Postgres API is only asked whether a deleted project still has the name, and by the run for a password."""
    created = {PlatformCall("POST", f"{DATABASE}/{kind}") for kind in ("instances", "catalogs", "synced_tables")}
    assert named.changing() == created
    counting = PlatformCall("POST", f"{POSTGRES}/credentials")
    assert named.to(POSTGRES) == {PlatformCall("GET", f"{POSTGRES}/projects/orders-pg"), counting}


def test_an_instance_of_the_older_api_is_found_as_a_project(by_default: Started) -> None:
    """So a directory of an earlier version of `make run` serves on. Only the other scale is synced, of each table."""
    assert [one.path.rsplit("/", 1)[1] for one in by_default.changing()] == ["updates"] * (1 + len(TABLES))
    assert by_default.to(DATABASE) == set()
    assert by_default.count == 3000


@pytest.mark.parametrize("run", ["named", "by_default"])
def test_an_endpoint_in_the_shell_is_ignored_and_the_run_says_so(run: str, request: pytest.FixtureRequest) -> None:
    """It belongs to another deployment, and a run serves a local instance only."""
    first, *_ = request.getfixturevalue(run).output.splitlines()
    assert first == "Ignored     LAKEBASE_ENDPOINT of your shell: a local instance is served instead"


@pytest.mark.parametrize("run", ["named", "by_default"])
def test_other_commands_use_the_database_of_the_run(run: str, request: pytest.FixtureRequest) -> None:
    """A shell that sources `.local/environment` exports the changes of that database, whatever else it has set."""
    changes = [one for one in request.getfixturevalue(run).export if "audit" not in one]
    assert [(one["o_orderkey"], one["status"]) for one in changes] == [(1, "F")]
