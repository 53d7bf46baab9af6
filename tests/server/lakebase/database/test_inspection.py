"""What plans ask PostgreSQL: they go on if it does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.lakebase.database.inspection import TableLocation
from tests.server.lakebase.desk import PATH

if TYPE_CHECKING:
    from tests.server.lakebase.desk import Desk

SERVER = f"{PATH}/branches/production"
TABLE = TableLocation(SERVER, "databricks_postgres", "public", "orders_synced")


@pytest.mark.parametrize("fault", ["not_found_as_code", "forbidden", "internal_error"])
async def test_without_a_credential_it_is_not_known_what_is_in_a_database(desk: Desk, fault: str) -> None:
    """Not even if the platform finds no instance where it has just shown one."""
    desk.platform.fault(fault, method="POST", path="/api/2.0/postgres/credentials", times=None)
    postgres = desk.services.postgres
    assert await postgres.owner(TABLE) is None
    assert await postgres.has_database(SERVER, TABLE.database) is None
    assert await postgres.dependents(TABLE) == []
    assert await postgres.count_changes(SERVER) is None
