"""AUTH_MODE=local, in the process: every caller is the same user, and only this machine's names are its own."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from schema.errors import ForbiddenError, Reason
from schema.permissions import Principal, Role
from server.auth.local import LocalAuthentication
from tests.support.lookalikes import LOOKALIKES, USER

LOCAL = Principal("local", frozenset({Role.READER}))


def request(*headers: tuple[str, str]) -> HTTPConnection:
    """A request with these headers."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return HTTPConnection({"type": "http", "headers": raw})


@pytest.mark.parametrize("name", [USER, "LOCAL", "loca\u2113", *LOOKALIKES.values()])
async def test_no_header_names_the_caller(name: str) -> None:
    """Nor does a payload of `connection_init`."""
    authentication = LocalAuthentication({"reader"})
    given = request(("host", "localhost:8000"), ("x-forwarded-email", name), ("authorization", name))
    found = await authentication.principal(given, {"x-forwarded-email": name})
    assert found == await authentication.renewed(found) == LOCAL


@pytest.mark.parametrize(
    "host", ["localho\u017ft", "\uff4cocalhost", "localhost\u3002", "127.0.0.\u0661", "127\u30020.0.1"]
)
async def test_a_host_that_resembles_loopback_is_another(host: str) -> None:
    """A resolver may take it for the same."""
    with pytest.raises(ForbiddenError) as refused:
        await LocalAuthentication({"reader"}).principal(request(("host", host)))
    assert refused.value.reason is Reason.HOST_FORBIDDEN
