"""Tests of two releases on the same tables: revisions only add, so each release works with the other's tables."""

from __future__ import annotations

import io
import subprocess
import tarfile
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.blackbox.feed_clients import Change, Subscriber, following, head, over_sse, over_websocket
from tests.servers.operator import DATABASE, operated
from tests.servers.platform import AT_ONCE, platform_directory, running_platform
from tests.servers.process import PATIENT, ROOT, answers, running_server, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.local.cluster import Cluster
    from tests.servers.operator import Operator
    from tests.servers.platform import LocalPlatform

# The release before, and the last revision that it knows.
BEFORE: Final = "1e5f581"
BEFORE_REVISION: Final = "0005"
SET_ONE: Final = """
mutation($input: SetOrderStatusInput!) {
  answer: setOrderStatus(input: $input) { change { id orderKey version } replayed userErrors { code } }
}
"""
SET_MANY: Final = """
mutation($input: SetOrderStatusesInput!) {
  answer: setOrderStatuses(input: $input) {
    results { change { id orderKey version } userErrors { code } } replayed userErrors { code }
  }
}
"""
OPERATIONS: Final = """
{ operations(first: 10) { nodes { id kind state requestedBy finishedAt failure { reason } steps { name state } } } }
"""
ORDERS: Final = (
    "{ orders(first: 5) { nodes { orderKey status statusVersion statusChanges(first: 9) { nodes { id } } } } }"
)
HISTORY: Final = "{ orderStatusChanges(first: 100) { headCursor nodes { id orderKey version changedBy } } }"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The directory of the release before, out of this repository."""
    command = ["git", "archive", BEFORE, "server", "schema"]
    git = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if git.returncode:
        # A checkout without history, or no checkout at all: there is no other place to get that release from.
        pytest.skip(f"the repository does not have {BEFORE}: {git.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(git.stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@asynccontextmanager
async def of_revision(platform: LocalPlatform, revision: str) -> AsyncIterator[None]:
    """Inside the block the tables pretend to be of this revision."""
    (instance,) = platform.inventory()["instances"]
    database = await platform.connect(instance["read_write_dns"], database=DATABASE)
    found = await database.fetchval("SELECT version_num FROM orders_app.alembic_version")
    try:
        await database.execute("UPDATE orders_app.alembic_version SET version_num = $1", revision)
        yield
        await database.execute("UPDATE orders_app.alembic_version SET version_num = $1", found)
    finally:
        await database.close()


def made(operator: Operator, document: str, **values: object) -> Any:
    """Make a change, or repeat it, and return the answer."""
    answer = operator.insist(document, input=values)["answer"]
    assert answer["userErrors"] == []
    return answer


async def test_the_release_before_works_with_these_tables(before: Path) -> None:
    """Both run at once, as while a release is rolled out or taken back.

    Either repeats the other's changes by their idempotency keys, and hears of them. The release before refuses all
    changes if it finds a revision that it does not know. So an operator has to set `alembic_version` to its own last
    revision first, as this test does. Later releases do not need that.
    """
    with (
        platform_directory() as directory,
        running_platform(directory, **AT_ONCE) as platform,
        operated(platform) as ours,
    ):
        ours.provisioned()
        one = {"orderKey": 1, "status": "PARTIAL", "idempotencyKey": str(uuid.uuid4())}
        many = {
            "changes": [{"orderKey": key, "status": "PARTIAL"} for key in (2, 3)],
            "idempotencyKey": str(uuid.uuid4()),
        }
        first = {SET_ONE: made(ours, SET_ONE, **one), SET_MANY: made(ours, SET_MANY, **many)}
        async with of_revision(platform, BEFORE_REVISION):
            settings: dict[str, Any] = {**PATIENT}
            with operated(platform, root=before, patient=False, altered={}, **settings) as theirs:
                await until(lambda: answers(f"{theirs.server.url}/readyz"))
                start = await head(theirs.server.url)
                assert start == await head(ours.server.url)
                subscribers = [
                    Subscriber(follow, one.server.url, start)
                    for follow in (over_sse, over_websocket)
                    for one in (ours, theirs)
                ]
                async with following(*subscribers):
                    for document, values in ((SET_ONE, one), (SET_MANY, many)):
                        assert made(theirs, document, **values) == {**first[document], "replayed": True}
                    one |= {"status": "FULFILLED", "idempotencyKey": str(uuid.uuid4())}
                    many["changes"] = [{"orderKey": key, "status": "FULFILLED"} for key in (1, 2, 3, 4)]
                    many["idempotencyKey"] = str(uuid.uuid4())
                    for document, values in ((SET_ONE, one), (SET_MANY, many)):
                        answer = made(theirs, document, **values)
                        assert made(ours, document, **values) == {**answer, "replayed": True}
                    made(ours, SET_ONE, orderKey=5, status="PARTIAL")
                    for subscriber in subscribers:
                        await subscriber.hear(5)
                    assert {tuple(subscriber.heard) for subscriber in subscribers} == {
                        tuple(Change(*each) for each in ((1, 2), (2, 2), (3, 2), (4, 1), (5, 1)))
                    }
                for document in (OPERATIONS, ORDERS, HISTORY):
                    assert theirs.ask(document) == ours.ask(document)
                assert theirs.ask(OPERATIONS)["operations"]["nodes"]
            # The next rollout of this release upgrades the tables once more.
            with operated(platform) as again:
                made(again, SET_ONE, orderKey=6, status="PARTIAL")


def test_tables_of_a_later_release_are_used(cluster: Cluster, orders_url: str) -> None:
    """A release may be taken back, although its successor has upgraded the tables. The log says so once."""
    with running_server(orders_url, APP_SCHEMA="later"):
        cluster.run_sql("ALTER TABLE later.idempotency ADD COLUMN added text DEFAULT 'later'")
        cluster.run_sql("UPDATE later.alembic_version SET version_num = '9999'")
    with running_server(orders_url, APP_SCHEMA="later") as server:
        for status in ("PARTIAL", "OPEN"):
            answer = httpx.post(
                server.graphql, json={"query": SET_ONE, "variables": {"input": {"orderKey": 1, "status": status}}}
            ).json()
            assert answer["data"]["answer"]["userErrors"] == []
        assert httpx.get(f"{server.url}/readyz").json()["changes"] == "ok"
        assert server.log().count("a later release has upgraded the tables") == 1
