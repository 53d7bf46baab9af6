"""Why an instance or endpoint accepts no connections, in words."""

from __future__ import annotations

import pytest

from server.lakebase.login.absence import absence_of
from server.lakebase.platform.conversions import DatabaseAddress

ENDPOINT = "projects/orders-pg/branches/production/endpoints/primary"


@pytest.mark.parametrize(
    ("name", "named"),
    [(ENDPOINT, f"The database endpoint {ENDPOINT} "), ("orders-pg", "The database instance orders-pg ")],
)
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (DatabaseAddress("h", None, "AVAILABLE", stopped=True), "is stopped: an admin starts it"),
        (DatabaseAddress("h", None, "DELETING", stopped=False), "is being deleted"),
        (DatabaseAddress(None, None, "STARTING", stopped=False, endpoint=ENDPOINT), "has no address yet"),
    ],
)
def test_an_endpoint_is_not_called_an_instance(name: str, named: str, address: DatabaseAddress, reason: str) -> None:
    """An operator looks for it by what it is."""
    absence = absence_of(name, address)
    assert absence is not None
    assert absence.message.startswith(named + reason)
