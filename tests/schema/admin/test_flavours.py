"""The two flavours of instances: what each may be asked for, and what is told of an instance that scales."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from schema.errors import Reason
from schema.ports.admin import administration as ports
from schema.ports.admin import instances as instance_ports
from schema.ports.admin import plans as plan_ports
from schema.ports.admin import tables as table_ports
from schema.ports.admin.instances import NEVER, Flavour, InstanceChange, InstanceSpec, InstanceState
from tests.schema.admin.test_inputs import INSTANCE, TABLE, document, refusals
from tests.schema.recording import CONFIGURED, NOON, RecordingAdministration, answer, instance, synced_table

SCALES = replace(CONFIGURED, flavour=Flavour.AUTOSCALING, branch="production")
ENDED = ports.AdminOutcome(plan_ports.Plan(()))
NAMED: list[tuple[str, dict[str, Any]]] = [
    ("createDatabaseInstance", {"name": INSTANCE}),
    ("updateDatabaseInstance", {"name": INSTANCE}),
    ("provisionLakebase", {}),
]
BAD_IDS = ["Orders", "orders-PG", "orders/pg", "projects/orders", "a" * 64, "1a", "-a", "a-", "a_b", "a.b", "", "ä"]


def administration(flavour: Flavour = Flavour.AUTOSCALING, **fields: Any) -> RecordingAdministration:
    """An administration of this flavour."""
    configured = SCALES if flavour is Flavour.AUTOSCALING else CONFIGURED
    return RecordingAdministration(configured=configured, **fields)


def submitted(recording: RecordingAdministration) -> Any:
    """The one request that was submitted."""
    (arguments,) = [arguments for call, arguments in recording.calls if call == "submit"]
    return cast("Any", arguments)[1]


@pytest.mark.parametrize(
    ("scaling", "field"),
    [
        ({"minCu": 4, "maxCu": 2}, "maxCu"),
        ({"minCu": 1, "maxCu": 17.5}, "maxCu"),
        ({"minCu": 0.25}, "minCu"),
        ({"maxCu": 64.5}, "maxCu"),
        ({"minCu": -1, "maxCu": 4}, "minCu"),
        ({"suspendAfterSeconds": 59}, "suspendAfterSeconds"),
        ({"suspendAfterSeconds": 604_801}, "suspendAfterSeconds"),
        ({"suspendAfterSeconds": 60, "neverSuspend": True}, "neverSuspend"),
    ],
)
@pytest.mark.parametrize(("mutation", "given"), NAMED)
async def test_bad_limits_are_never_sent(
    mutation: str, given: dict[str, Any], scaling: dict[str, Any], field: str
) -> None:
    """Each mistake names its field in `autoscaling`."""
    told = await refusals(administration(), mutation, {**given, "autoscaling": scaling})
    assert told == [("SETTING_INVALID", f"input.autoscaling.{field}")]


@pytest.mark.parametrize(("mutation", "given"), NAMED)
@pytest.mark.parametrize(
    ("flavour", "sizes", "field"),
    [
        (Flavour.AUTOSCALING, {"capacity": "CU_1"}, "capacity"),
        (Flavour.PROVISIONED, {"autoscaling": {"minCu": 1}}, "autoscaling"),
        (Flavour.AUTOSCALING, {"capacity": "CU_1", "autoscaling": {"minCu": 1}}, "capacity"),
        (Flavour.PROVISIONED, {"capacity": "CU_1", "autoscaling": {"minCu": 1}}, "autoscaling"),
    ],
)
async def test_the_size_of_the_other_flavour_is_never_sent(
    mutation: str, given: dict[str, Any], flavour: Flavour, sizes: dict[str, Any], field: str
) -> None:
    """Alone, and together with its own."""
    told = await refusals(administration(flavour), mutation, {**given, **sizes})
    assert told == [("SETTING_INVALID", f"input.{field}")]


async def test_readable_secondaries_are_asked_for_once_and_need_two_nodes() -> None:
    """Either in `autoscaling` or beside it."""
    scaling = {"readableSecondaries": True}
    both = {"name": INSTANCE, "autoscaling": scaling, "enableReadableSecondaries": True}
    field = ("SETTING_INVALID", "input.autoscaling.readableSecondaries")
    assert await refusals(administration(), "createDatabaseInstance", both) == [field]
    one = {"name": INSTANCE, "autoscaling": scaling, "nodeCount": 1}
    assert await refusals(administration(), "createDatabaseInstance", one) == [field]


@pytest.mark.parametrize("name", BAD_IDS)
@pytest.mark.parametrize(
    ("mutation", "given", "field"),
    [
        ("createDatabaseInstance", {}, "name"),
        ("updateDatabaseInstance", {"stopped": True}, "name"),
        ("deleteDatabaseInstance", {}, "name"),
        ("undeleteDatabaseInstance", {}, "name"),
        ("createDatabaseCatalog", {"name": "c", "databaseName": "d"}, "instanceName"),
        ("createDatabaseCatalog", {"name": "c", "databaseName": "d", "instanceName": INSTANCE}, "branch"),
        (
            "createSyncedTable",
            {"name": TABLE, "databaseName": "d", "instanceName": INSTANCE},
            "branch",
        ),
        ("provisionLakebase", {}, "instanceName"),
        ("provisionLakebase", {}, "branch"),
        ("teardownLakebase", {"catalogName": "orders", "tableName": TABLE}, "instanceName"),
    ],
)
async def test_a_bad_id_is_never_sent(mutation: str, given: dict[str, Any], field: str, name: str) -> None:
    """Projects and branches have ids of their own rules: in lower case, without a slash, of 63 characters at most."""
    told = await refusals(administration(), mutation, {**given, field: name})
    assert told == [("NAME_INVALID", f"input.{field}")]


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        ("createDatabaseCatalog", {"name": "c", "databaseName": "d", "instanceName": INSTANCE}),
        ("createSyncedTable", {"name": TABLE, "databaseName": "d", "instanceName": INSTANCE}),
        ("provisionLakebase", {}),
    ],
)
async def test_an_instance_of_the_other_flavour_has_no_branch(mutation: str, given: dict[str, Any]) -> None:
    """The name of a branch is not sent."""
    told = await refusals(administration(Flavour.PROVISIONED), mutation, {**given, "branch": "dev"})
    assert told == [("SETTING_INVALID", "input.branch")]


@pytest.mark.parametrize(
    ("flavour", "mutation", "given"),
    [
        (Flavour.PROVISIONED, "refreshSyncedTable", {}),
        (Flavour.PROVISIONED, "teardownLakebase", {}),
        (Flavour.PROVISIONED, "teardownLakebase", {"purge": True}),
        (Flavour.AUTOSCALING, "teardownLakebase", {"purge": True}),
    ],
)
async def test_a_safety_net_that_could_keep_nothing_is_never_sent(
    flavour: Flavour, mutation: str, given: dict[str, Any]
) -> None:
    """The Provisioned API has no branches, and a purge deletes them all."""
    told = await refusals(administration(flavour), mutation, {**given, "safetyNet": True})
    assert told == [("SETTING_INVALID", "input.safetyNet")]


async def test_the_branch_of_a_table_follows_from_its_catalog() -> None:
    """It is given only with the instance."""
    told = await refusals(administration(), "createSyncedTable", {"name": TABLE, "branch": "dev"})
    assert told == [("SETTING_INVALID", "input.branch")]


@pytest.mark.parametrize(
    ("mutation", "given", "wanted"),
    [
        (
            "createDatabaseInstance",
            {"name": "a", "autoscaling": {"minCu": 0.5, "maxCu": 16, "suspendAfterSeconds": 60}},
            {"instance": InstanceSpec("a", min_cu=0.5, max_cu=16, suspend_after_seconds=60)},
        ),
        (
            "updateDatabaseInstance",
            {"name": "a", "autoscaling": {"neverSuspend": True}, "retentionWindowInDays": 9},
            {"change": InstanceChange("a", suspend_after_seconds=NEVER, retention_days=9)},
        ),
        ("deleteDatabaseInstance", {"name": "a", "purge": True}, {"instance_name": "a", "purge": True}),
        ("undeleteDatabaseInstance", {"name": "a"}, {"instance_name": "a"}),
        (
            "refreshSyncedTable",
            {"safetyNet": True, "acknowledgeCost": True},
            {"safety_net": True, "acknowledge_cost": True},
        ),
        ("refreshSyncedTable", {}, {"safety_net": False, "acknowledge_cost": False}),
        ("teardownLakebase", {"safetyNet": True}, {"safety_net": True, "purge": False}),
        ("teardownLakebase", {"purge": True}, {"safety_net": False, "purge": True}),
        (
            "createDatabaseCatalog",
            {"name": "c", "instanceName": "a", "databaseName": "d", "branch": "dev"},
            {"catalog": table_ports.CatalogSpec("c", "a", "d", branch="dev")},
        ),
    ],
)
async def test_a_good_input_is_handed_on(mutation: str, given: dict[str, Any], wanted: dict[str, Any]) -> None:
    """With the words of the port."""
    recording = administration(outcome=ENDED)
    await answer(recording, document(mutation), input=given)
    assert {name: getattr(submitted(recording), name) for name in wanted} == wanted


async def test_provisioning_is_of_the_served_branch_unless_another_instance_is_named() -> None:
    """The configured branch is that of the configured instance."""
    for given, branch in (({}, "production"), ({"branch": "dev"}, "dev"), ({"instanceName": "other"}, None)):
        recording = administration(outcome=ENDED)
        await answer(recording, document("provisionLakebase"), input=given)
        assert submitted(recording).catalog.branch == branch


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        (InstanceSpec("a"), (0.5, 8, 3_600, 1)),
        (InstanceSpec("a", max_cu=32), (16, 32, 3_600, 1)),
        (InstanceSpec("a", min_cu=20, suspend_after_seconds=NEVER), (20, 20, NEVER, 1)),
        (InstanceSpec("a", readable_secondaries=True), (0.5, 8, 3_600, 2)),
    ],
)
def test_a_new_instance_always_has_limits_and_a_suspension(
    spec: InstanceSpec, made: tuple[float, float, int, int]
) -> None:
    """The platform's own defaults are documented in two ways."""
    full = spec.with_defaults(Flavour.AUTOSCALING)
    assert (full.min_cu, full.max_cu, full.suspend_after_seconds, full.node_count) == made
    assert full.capacity is None


class ScalingAdministration(RecordingAdministration):
    """An administration with an instance that is asleep, and one that is deleted."""

    async def instance(self, name: str) -> instance_ports.Instance | None:
        """An instance of the flavour AUTOSCALING; `gone` is deleted."""
        asleep = replace(
            instance(name),
            flavour=Flavour.AUTOSCALING,
            capacity=None,
            min_cu=0.5,
            max_cu=4.0,
            suspend_after_seconds=NEVER if name == "awake" else 300,
            suspended=True,
            last_active_at=NOON,
            storage_bytes=3_000_000_000,
            owner="ann@example.com",
            retention_seconds=604_800,
        )
        if name != "gone":
            return asleep
        return replace(
            asleep, state=InstanceState.DELETED, deleted_at=NOON, purge_at=NOON + timedelta(days=7), suspended=None
        )

    async def synced_table(self, name: str) -> table_ports.SyncedTable | None:
        """A synced table that another client has created."""
        return replace(synced_table(name), source=None, primary_key=None, policy=None, database_name=None)


async def test_everything_is_told_of_an_instance_that_scales() -> None:
    """It is asleep and available; never to fall asleep is null, and so is the capacity."""
    fields = (
        "flavour state capacity minCu maxCu suspendAfterSeconds suspended lastActiveAt storageBytes owner "
        "historyRetentionSeconds deletedAt purgeAt"
    )
    data = await answer(
        ScalingAdministration(configured=SCALES),
        f'{{ a: databaseInstance(name: "a") {{ {fields} }} awake: databaseInstance(name: "awake") {{ suspendAfterSeconds }} '
        'gone: databaseInstance(name: "gone") { state deletedAt purgeAt suspended } }',
    )
    assert data["a"] == {
        "flavour": "AUTOSCALING",
        "state": "AVAILABLE",
        "capacity": None,
        "minCu": 0.5,
        "maxCu": 4.0,
        "suspendAfterSeconds": 300,
        "suspended": True,
        "lastActiveAt": "2026-11-23T12:00:00.000Z",
        "storageBytes": "3000000000",
        "owner": "ann@example.com",
        "historyRetentionSeconds": 604_800,
        "deletedAt": None,
        "purgeAt": None,
    }
    assert data["awake"] == {"suspendAfterSeconds": None}
    assert data["gone"] == {
        "state": "DELETED",
        "deletedAt": "2026-11-23T12:00:00.000Z",
        "purgeAt": "2026-11-30T12:00:00.000Z",
        "suspended": None,
    }


async def test_what_is_not_known_of_a_synced_table_is_null() -> None:
    """The Autoscaling API does not tell it, and another client has created the table."""
    data = await answer(
        ScalingAdministration(configured=SCALES),
        '{ syncedTable(name: "a.b.c") { sourceTable primaryKey policy databaseName branch state } }',
    )
    assert data["syncedTable"] == {
        "sourceTable": None,
        "primaryKey": None,
        "policy": None,
        "databaseName": None,
        "branch": None,
        "state": "PROVISIONING_INITIAL_SNAPSHOT",
    }


async def test_a_name_that_is_held_says_until_when() -> None:
    """A program need not read the message."""
    held = ports.AdminRefusal(Reason.NAME_HELD, "It keeps its name.", "name", purge_at=NOON)
    data = await answer(
        administration(outcome=ports.AdminOutcome(refusals=(held,))),
        'mutation { createDatabaseInstance(input: {name: "a"}) { userErrors { code field purgeAt } } }',
    )
    assert data["createDatabaseInstance"]["userErrors"] == [
        {"code": "NAME_HELD", "field": ["input", "name"], "purgeAt": "2026-11-23T12:00:00.000Z"}
    ]
