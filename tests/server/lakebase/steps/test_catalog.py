"""The steps about catalogs: two clients may create one at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from databricks.sdk.service.postgres import Catalog, CatalogCatalogSpec

from schema.errors import PlatformError, Reason
from schema.ports.admin.operations import OperationKind
from schema.ports.admin.tables import CatalogSpec
from tests.server.lakebase.desk import PATH
from tests.servers.operator import INSTANCE

if TYPE_CHECKING:
    from tests.server.lakebase.desk import Desk

NAME = "twice"
CATALOGS = "/api/2.0/postgres/catalogs"


def accept_and_refuse(desk: Desk) -> None:
    """Let the platform accept the creation of the catalog, and refuse it in its operation: the name is taken."""
    operation = {"name": f"catalogs/{NAME}/operations/late", "done": False}
    desk.platform.fault("answer", method="POST", path=CATALOGS, body=json.dumps(operation))
    taken = {"error_code": "ALREADY_EXISTS", "message": f"Catalog '{NAME}' already exists."}
    ended = json.dumps({**operation, "done": True, "error": taken})
    desk.platform.fault("answer", method="GET", path=f"{CATALOGS}/{NAME}/operations/late", times=None, body=ended)


async def test_a_catalog_that_another_client_creates_at_once_is_found(desk: Desk) -> None:
    """Its creation overtakes ours, which the platform has accepted already."""
    draft = await desk.plan(OperationKind.CREATE_CATALOG, catalog=CatalogSpec(NAME, INSTANCE, "twice"))
    spec = CatalogCatalogSpec(branch=f"{PATH}/branches/production", postgres_database="twice")
    spec.create_database_if_missing = True
    desk.postgres.create_catalog(Catalog(spec=spec), NAME).wait()
    accept_and_refuse(desk)
    # Not yet at the look before the creation, nor at the one that finds it refused.
    desk.platform.fault("not_found_after_create", method="GET", path=f"{CATALOGS}/{NAME}", times=2)
    assert await desk.run(draft) == ["the catalog exists"]
    desk.platform.clear_faults()
    await desk.done(OperationKind.DELETE_CATALOG, catalog_name=NAME)


async def test_a_catalog_that_never_appears_is_not_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step ends with the platform's words, and the creation is not sent again."""
    monkeypatch.setattr("server.lakebase.steps.calls._APPEARS_SECONDS", 0.0)
    draft = await desk.plan(OperationKind.CREATE_CATALOG, catalog=CatalogSpec(NAME, INSTANCE, "twice"))
    accept_and_refuse(desk)
    with pytest.raises(PlatformError, match=r"already exists.*finds no catalog twice") as failed:
        await desk.run(draft)
    assert failed.value.reason is Reason.SPEC_CONFLICT
    assert NAME not in {one["name"] for one in desk.platform.inventory()["catalogs"]}
