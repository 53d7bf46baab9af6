"""The plans about instances: what costs, what cannot be changed, and what is counted before a deletion."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from databricks.sdk.service.postgres import Branch, BranchSpec

from schema.errors import Reason
from schema.ports.admin import branches as ports
from schema.ports.admin.instances import NEVER, Flavour, Instance, InstanceChange, InstanceState
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.tables import CatalogSpec
from server.lakebase.plans.drafts import deletions
from server.lakebase.plans.drafts.sizes import costs_more
from server.lakebase.services import Services
from tests.server.lakebase.desk import PATH, URL
from tests.servers.operator import INSTANCE
from tests.support.clock import in_virtual_time

if TYPE_CHECKING:
    from datetime import datetime

    from tests.server.lakebase.desk import Desk


def instance(**fields: Any) -> Instance:
    """An instance of the flavour AUTOSCALING, with these fields."""
    given = dict.fromkeys(("uid", "capacity", "node_count", "readable_secondaries", "stopped", "postgres_version"))
    given |= dict.fromkeys(("retention_days", "creator", "created_at", "host", "read_only_host"))
    given |= {"name": INSTANCE, "state": InstanceState.AVAILABLE, "flavour": Flavour.AUTOSCALING}
    return Instance(**{**given, **fields})


@pytest.mark.parametrize(
    ("found", "change", "costs"),
    [
        ({"suspend_after_seconds": 60}, {"suspend_after_seconds": 604_800}, True),
        ({"suspend_after_seconds": 60}, {"suspend_after_seconds": NEVER}, True),
        ({"suspend_after_seconds": NEVER}, {"suspend_after_seconds": 604_800}, False),
        ({"suspend_after_seconds": 3600}, {"suspend_after_seconds": 60}, False),
        ({"retention_days": 7}, {"retention_days": 35}, True),
        ({"retention_days": 7}, {"retention_days": 2}, False),
    ],
)
def test_to_stay_awake_or_to_keep_history_for_longer_costs(
    found: dict[str, Any],
    change: dict[str, Any],
    costs: bool,  # noqa: FBT001 # a value of the table
) -> None:
    """Compute costs while it is awake, and history by its size."""
    assert costs_more(instance(**found), InstanceChange(INSTANCE, **change)) is costs


class Counting:
    """PostgreSQL whose databases answer once all are asked, except one that never does."""

    def __init__(self, everyone: int) -> None:
        self._missing = everyone
        self._all_asked = asyncio.Event()

    async def count_changes(self, server: str, *, since: datetime) -> int | None:  # noqa: ARG002 # the port's signature
        """The number of status changes on a branch."""
        self._missing -= 1
        if not self._missing:
            self._all_asked.set()
        await (asyncio.Event() if server.endswith("/dead") else self._all_asked).wait()
        return 1


class Branches:
    """A platform with three branches."""

    async def branches(self, _: str) -> list[Any]:
        """The branches."""
        unset: dict[str, Any] = dict.fromkeys(ports.Branch.__slots__)
        return [
            ports.Branch(**{**unset, "name": name, "path": f"{PATH}/branches/{name}"}) for name in ("a", "b", "dead")
        ]


@in_virtual_time
async def test_the_status_changes_of_all_branches_are_counted_at_once_and_one_that_is_dead_is_left_out() -> None:
    """Each sleeping branch takes its time to wake, and the client waits for the plan."""
    unused: Any = None
    platform, postgres = Branches(), Counting(3)
    services = Services(platform, unused, postgres, unused, unused)  # type: ignore[arg-type] # what the count uses of them
    changes = await deletions.changes_in(services, instance(), seconds=5)
    assert changes == {"a": 1, "b": 1, "dead": None}
    assert deletions.total(changes) is None
    assert deletions.in_words(changes) == "status changes that cannot be counted on dead"
    assert (
        deletions.in_words({"a": 1, "b": 2})
        == "status changes recorded on its branches, copies included: 1 on a, 2 on b"
    )


async def test_the_plan_of_a_deletion_says_that_its_count_wakes_what_is_asleep(desk: Desk) -> None:
    """A dry run costs compute then."""
    draft = await desk.plan(OperationKind.DELETE_INSTANCE, instance_name=INSTANCE)
    assert "counting them wakes what is asleep" in draft.steps[0].message


async def test_the_plan_of_a_deletion_is_read_sentence_by_sentence(desk: Desk) -> None:
    """The instance holds the audit of this server; with a purge nothing comes back."""
    draft = await desk.plan(OperationKind.DELETE_INSTANCE, instance_name=INSTANCE, purge=True)
    assert draft.steps[0].message == (
        "is deleted for good, with all its databases and the audit. It holds status changes recorded on its branches, "
        "copies included: 0 on production (counting them wakes what is asleep). export-changes saves the changes and "
        "the audit. Nothing can bring it back"
    )


async def test_the_plan_of_a_stop_says_what_else_is_changed(desk: Desk) -> None:
    """One mutation may do both."""
    change = InstanceChange(INSTANCE, stopped=True, retention_days=30)
    (step,) = (await desk.plan(OperationKind.UPDATE_INSTANCE, change=change)).steps
    assert step.message is not None
    assert step.message.startswith("is stopped, and changes retentionWindowInDays from ")
    assert "cannot be reached until it is started" in step.message


async def test_an_instance_that_another_client_brings_back_meanwhile_is_not_taken_for_purged(desk: Desk) -> None:
    """The first look does not find it, and the second one does not find it deleted."""
    desk.platform.fault("not_found_after_create", method="GET", path=URL)
    draft = await desk.plan(OperationKind.UNDELETE_INSTANCE, instance_name=INSTANCE)
    assert draft.refusals == []
    assert [one.message for one in draft.steps] == ["is not deleted (AVAILABLE)"]


async def test_an_instance_without_an_endpoint_is_not_changed(desk: Desk) -> None:
    """Nothing is known of its size, so nothing would differ; its history can still be changed."""
    desk.platform.fault("answer", method="GET", path=f"{URL}/branches/production/endpoints", times=None, body="{}")
    draft = await desk.plan(OperationKind.UPDATE_INSTANCE, change=InstanceChange(INSTANCE, max_cu=6))
    assert [(one.reason, one.field) for one in draft.refusals] == [(Reason.RESOURCE_NOT_READY, "name")]
    assert 'createDatabaseBranch(name: "production", endpoint: {})' in draft.refusals[0].message
    kept = await desk.services.platform.instance(INSTANCE)
    assert kept
    days = 5 if kept.retention_days == 6 else 6
    await desk.done(OperationKind.UPDATE_INSTANCE, change=InstanceChange(INSTANCE, retention_days=days))


async def test_a_stop_after_a_restore_is_that_of_the_restored_branch(desk: Desk) -> None:
    """The served branch goes on, and so does the operation in its database."""
    await desk.done(OperationKind.CREATE_BRANCH, branch=ports.BranchSpec(INSTANCE, "later", endpoint=True))
    await desk.done(OperationKind.UPDATE_BRANCH, branch_change=ports.BranchChange(INSTANCE, "later", default=True))
    stop = InstanceChange(INSTANCE, stopped=True)
    draft = await desk.plan(OperationKind.UPDATE_INSTANCE, change=stop)
    assert "the databases of its default branch later cannot be reached" in draft.steps[0].message
    await desk.run(draft)
    assert desk.detached == 0
    served = await desk.plan(OperationKind.UPDATE_INSTANCE, serves="later", change=InstanceChange(INSTANCE, max_cu=9))
    assert served.facts["hosts_operations"] is True


async def test_a_catalog_of_a_branch_and_the_deletion_of_that_branch_wait_for_each_other(desk: Desk) -> None:
    """Neither sees the other one's plan."""
    desk.postgres.create_branch(PATH, Branch(spec=BranchSpec(no_expiry=True)), "dev").wait()
    catalog = CatalogSpec("of_dev", INSTANCE, "orders", branch="dev")
    creation = await desk.plan(OperationKind.CREATE_CATALOG, catalog=catalog)
    deletion = await desk.plan(OperationKind.DELETE_BRANCH, instance_name=INSTANCE, branch_name="dev")
    assert set(creation.resources) & set(deletion.resources) == {f"branch {INSTANCE}/dev"}
