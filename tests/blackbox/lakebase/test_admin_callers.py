"""Refused administration: callers without the role, and servers without a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from schema.relay.node import encode_global_id
from tests.blackbox.refusals import NOWHERE, audited, progress, reasons, touched
from tests.servers.operator import CATALOG, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import platform_directory, running_platform
from tests.servers.process import NO_TLS, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.platform import LocalPlatform
    from tests.servers.process import Server

ADMIN_QUERIES = [
    "lakebase { instanceName }",
    "databaseInstances { nodes { name } }",
    f'databaseInstance(name: "{INSTANCE}") {{ name }}',
    f'databaseCatalog(name: "{CATALOG}") {{ name }}',
    f'syncedTable(name: "{TABLE}") {{ name }}',
    f'operation(id: "{NOWHERE}") {{ id }}',
    "operations { nodes { id } }",
    "adminAudit { nodes { id } }",
]
ADMIN_MUTATIONS = [
    f'createDatabaseInstance(input: {{name: "{INSTANCE}", acknowledgeCost: true}}) {{ userErrors {{ code }} }}',
    f'updateDatabaseInstance(input: {{name: "{INSTANCE}", stopped: true}}) {{ userErrors {{ code }} }}',
    f'deleteDatabaseInstance(input: {{name: "{INSTANCE}", confirmDeletion: true}}) {{ userErrors {{ code }} }}',
    f'undeleteDatabaseInstance(input: {{name: "{INSTANCE}", acknowledgeCost: true}}) {{ userErrors {{ code }} }}',
    f'createDatabaseCatalog(input: {{name: "{CATALOG}", instanceName: "{INSTANCE}", databaseName: "orders"}}) {{ userErrors {{ code }} }}',
    f'deleteDatabaseCatalog(input: {{name: "{CATALOG}", confirmDeletion: true}}) {{ userErrors {{ code }} }}',
    f'createSyncedTable(input: {{name: "{TABLE}", acknowledgeCost: true}}) {{ userErrors {{ code }} }}',
    f'deleteSyncedTable(input: {{name: "{TABLE}", confirmDeletion: true}}) {{ userErrors {{ code }} }}',
    f'refreshSyncedTable(input: {{name: "{TABLE}"}}) {{ userErrors {{ code }} }}',
    f'ensureIndexes(input: {{tableName: "{TABLE}"}}) {{ userErrors {{ code }} }}',
    'provisionLakebase(input: {instanceName: "a", catalogName: "b", databaseName: "c", tableName: "b.public.t", acknowledgeCost: true}) { userErrors { code } }',
    'teardownLakebase(input: {instanceName: "a", catalogName: "b", tableName: "b.public.t", confirmDeletion: true}) { userErrors { code } }',
    f'cancelOperation(input: {{id: "{NOWHERE}"}}) {{ userErrors {{ code }} }}',
]
ADMIN_FIELDS = [*(("query", field) for field in ADMIN_QUERIES), *(("mutation", field) for field in ADMIN_MUTATIONS)]


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, with nothing on it."""
    with platform_directory() as directory, running_platform(directory) as platform:
        yield platform


@pytest.fixture(scope="module")
def writer(platform: LocalPlatform) -> Iterator[Operator]:
    """A caller without the admin role."""
    with operated(platform, LOCAL_ROLES="writer") as writer:
        yield writer


@pytest.fixture(scope="module")
def alone(orders_url: str) -> Iterator[Server]:
    """A server with a database and without a platform."""
    with running_server(orders_url, APP_SCHEMA="bad_admin") as alone:
        yield alone


@pytest.fixture(autouse=True)
def _nothing_is_made(platform: LocalPlatform) -> Iterator[None]:
    """Whatever a test sends, the platform gets GETs only, and stays empty."""
    yield
    changing, inventory = touched(platform)
    assert changing == {}
    assert not any(inventory.values())


@pytest.mark.parametrize(("kind", "field"), ADMIN_FIELDS)
def test_a_caller_without_the_role_is_refused_and_audited(writer: Operator, kind: str, field: str) -> None:
    """Dry runs too. Nothing is looked up, and the audit names the principal and the action."""
    for sent in (field, field.replace("{name:", "{dryRun: true, name:")) if kind == "mutation" else (field,):
        answer = writer.answer(f"{kind} {{ {sent} }}")
        assert reasons(answer) == ["ROLE_MISSING"]
        assert set(answer["data"].values()) == {None}
    action = field.partition("(")[0].partition(" ")[0]
    wait_for(
        lambda: (action, "ROLE_MISSING") in audited(writer.server),
        what=lambda: f"the audit of {action}: {audited(writer.server)}",
    )


def test_a_caller_without_the_role_cannot_subscribe(writer: Operator) -> None:
    """The subscription is refused at once, with an audit entry of its own."""
    assert [reasons(answer) for answer in progress(writer.server, NOWHERE)] == [["ROLE_MISSING"]]
    wait_for(
        lambda: ("operationProgress", "ROLE_MISSING") in audited(writer.server),
        what=lambda: f"the audit: {audited(writer.server)}",
    )


@pytest.mark.parametrize(
    "id_",
    [
        encode_global_id("DatabaseInstance", INSTANCE),
        encode_global_id("DatabaseCatalog", CATALOG),
        encode_global_id("SyncedTable", TABLE),
        NOWHERE,
    ],
)
def test_a_global_id_does_not_bypass_the_role(writer: Operator, id_: str) -> None:
    """A type whose own field needs the role needs it in `node` and `nodes` too."""
    assert reasons(writer.answer(f'{{ node(id: "{id_}") {{ id }} }}')) == ["ROLE_MISSING"]
    assert reasons(writer.answer(f'{{ nodes(ids: ["{id_}"]) {{ id }} }}')) == ["ROLE_MISSING"]


@pytest.mark.parametrize(
    ("kind", "field"), [one for one in ADMIN_FIELDS if not one[1].startswith(("lakebase", "operation", "adminAudit"))]
)
def test_without_a_platform_administration_is_refused(alone: Server, kind: str, field: str) -> None:
    """The error names the missing settings, and says that a retry does not help; the attempt is audited all the same."""
    answer = httpx.post(alone.graphql, json={"query": f"{kind} {{ {field} }}"}, verify=NO_TLS)
    assert answer.status_code == 503
    (error,) = answer.json()["errors"]
    assert (error["extensions"]["code"], error["extensions"]["reason"]) == (
        "SERVICE_UNAVAILABLE",
        "CONTROL_PLANE_NOT_CONFIGURED",
    )
    assert error["extensions"]["retryable"] is False
    assert "`DATABRICKS_HOST`" in error["message"]
    if kind == "mutation":
        audit_entry = field.partition("(")[0], "CONTROL_PLANE_NOT_CONFIGURED"
        wait_for(lambda: audit_entry in audited(alone), what=lambda: f"the audit of {audit_entry}: {audited(alone)}")


def test_without_a_platform_the_audit_can_be_read(alone: Server) -> None:
    """A server that only has a database keeps the audit there."""
    sent = httpx.post(alone.graphql, json={"query": f"mutation {{ {ADMIN_MUTATIONS[0]} }}"}, verify=NO_TLS)
    assert sent.status_code == 503
    answer = httpx.post(
        alone.graphql, json={"query": "{ adminAudit { nodes { action outcome reason } } }"}, verify=NO_TLS
    )
    assert {"action": "createDatabaseInstance", "outcome": "REFUSED", "reason": "CONTROL_PLANE_NOT_CONFIGURED"} in (
        answer.json()["data"]["adminAudit"]["nodes"]
    )


def test_without_a_platform_the_overview_is_empty(alone: Server) -> None:
    """There are no operations either, and none of this is an error."""
    document = f'{{ lakebase {{ instanceName instance {{ name }} }} operations {{ nodes {{ id }} }} operation(id: "{NOWHERE}") {{ id }} }}'
    answer = httpx.post(alone.graphql, json={"query": document}, verify=NO_TLS)
    assert answer.json() == {
        "data": {"lakebase": {"instanceName": None, "instance": None}, "operations": {"nodes": []}, "operation": None}
    }


@pytest.mark.parametrize("field", ADMIN_MUTATIONS)
def test_nothing_is_administered_by_get(alone: Server, field: str) -> None:
    """Following a link never creates anything or costs anything."""
    answer = httpx.get(alone.graphql, params={"query": f"mutation {{ {field} }}"}, verify=NO_TLS)
    assert answer.status_code == 405
    assert reasons(answer.json()) == ["METHOD_NOT_ALLOWED"]
