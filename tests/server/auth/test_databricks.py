"""AUTH_MODE=databricks-app, in the process: the principal that the proxy names, and its roles."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import HTTPConnection

from schema.errors import Reason, UnauthenticatedError, UnavailableError
from schema.permissions import Role
from server.auth import refreshed_value as kept
from server.auth.databricks import DatabricksAuthentication
from server.lakebase.platform.loader import PlatformLoader
from server.settings import Settings
from tests.servers.issuer import serving
from tests.servers.process import PATIENCE_SECONDS, PATIENT
from tests.support.clock import Still

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from schema.permissions import Principal

ANN, ROBOT = "ann@example.com", "0b5d4c3e-0000-4000-8000-1234567890ab"
Header = tuple[str, str]


class Directory:
    """A workspace's users and service principals, served by SCIM over HTTP."""

    def __init__(self) -> None:
        self.groups: dict[str, list[str]] = {ANN: ["order-desk", "everybody"], ROBOT: ["robots"]}
        self.asked: list[str] = []
        self.status = 200
        self.url = ""
        # Answers wait until it is set.
        self.answering = threading.Event()
        self.answering.set()

    def answer(self, path: str) -> tuple[int, Any]:
        """The status and the body of a SCIM response."""
        address = urlsplit(path)
        if not address.path.startswith("/api/2.0/preview/scim/v2/"):
            return 404, {"error_code": "NOT_FOUND", "message": "no such page"}
        asked = parse_qs(address.query)
        self.asked.append(f"{address.path.rpartition('/')[2]} {asked['filter'][0]}")
        self.answering.wait(PATIENCE_SECONDS)
        if self.status != 200:
            return self.status, {"error_code": "SAID_NO", "message": "no"}
        assert asked["attributes"] == ["groups"]
        attribute, user = {"Users": ("userName", ANN), "ServicePrincipals": ("applicationId", ROBOT)}[
            address.path.rpartition("/")[2]
        ]
        if asked["filter"][0] != f'{attribute} eq "{user}"':
            return 200, {"totalResults": 0}
        groups = [{"display": name, "value": "1", "type": "direct"} for name in self.groups[user]]
        return 200, {"totalResults": 1, "Resources": [{"id": "1", "groups": groups}]}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Still:
    """The clock of the cached groups, which the test moves. The platform may take as long as it likes."""
    clock = Still()
    monkeypatch.setattr(kept, "time", clock)
    monkeypatch.setattr(kept, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    return clock


@pytest.fixture
def directory() -> Iterator[Directory]:
    """A workspace with a user and a service principal."""
    directory = Directory()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, answer = directory.answer(self.path)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            # The client may have given up.
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        directory.url = url
        yield directory
        directory.answering.set()


@contextlib.asynccontextmanager
async def believing(directory: Directory | None = None, **settings: Any) -> AsyncIterator[DatabricksAuthentication]:
    """The mode with these settings, and with a workspace if one is given."""
    mode: dict[str, Any] = {
        "database_url": "postgresql://h/db",
        "auth_mode": "databricks-app",
        "databricks_app_name": "orders",
        "databricks_host": directory and directory.url,
        "databricks_token": "dapi-of-the-server",
        **{name.lower(): float(seconds) for name, seconds in PATIENT.items()},
    }
    given = Settings(**mode, **settings)
    loader = PlatformLoader(given)
    try:
        yield DatabricksAuthentication(given, loader.groups_of)
    finally:
        await loader.close()


async def principal(authentication: DatabricksAuthentication, *headers: Header) -> Principal:
    """The principal of a request with these headers."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return await authentication.principal(HTTPConnection({"type": "http", "headers": raw}))


EMAIL, NAME, USER = "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-user"


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ([(EMAIL, ANN), (NAME, "Ann"), (USER, "1@2")], ANN),
        ([(USER, "1@2"), (NAME, ANN)], "1@2"),
        ([(USER, "1@2")], "1@2"),
        ([(EMAIL, ""), (USER, ROBOT)], ROBOT),
        ([(USER, "Łukasz Żółć")], "łukasz żółć"),
        ([(EMAIL, "Ann@Example.COM ")], ANN),
        ([(EMAIL, f"{'a' * 308}@example.com")], f"{'a' * 308}@example.com"),
    ],
)
async def test_the_proxy_names_the_principal(headers: list[Header], user: str) -> None:
    """By e-mail address, or else by id; never by a display name. The platform's names are the same in any case."""
    async with believing() as authentication:
        assert (await principal(authentication, *headers)).user == user


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-forwarded-for", "10.0.0.1"), ("authorization", "Bearer x")],
        [(EMAIL, "")],
        [(EMAIL, " ")],
        [(NAME, ANN)],
        [(EMAIL, ANN), (EMAIL, "bob@example.com")],
        [(EMAIL, ANN), (EMAIL, ANN)],
        [(EMAIL, ANN), (USER, "1"), (USER, "2")],
        [(EMAIL, ""), (EMAIL, ANN)],
        [(EMAIL, f"{'a' * 309}@example.com")],
        [(EMAIL, "ann\u2028admin@example.com")],
        [(EMAIL, "ann\x7f@example.com")],
    ],
)
async def test_only_the_proxy_names_the_principal(headers: list[Header]) -> None:
    """A name that is missing, repeated or not valid is refused, whatever the other headers hold."""
    async with believing(admin_users="*") as authentication:
        with pytest.raises(UnauthenticatedError) as refused:
            await principal(authentication, *headers)
        assert refused.value.reason is Reason.UNAUTHENTICATED
        assert "ann" not in refused.value.message


@pytest.mark.parametrize(
    ("settings", "user", "roles"),
    [
        ({}, ANN, set()),
        ({"admin_users": "Ann@Example.com"}, "ANN@example.com", {Role.ADMIN}),
        ({"reader_users": "*", "writer_users": ANN}, ANN, {Role.READER, Role.WRITER}),
        ({"reader_users": "*", "writer_users": ANN}, "bob@example.com", {Role.READER}),
        ({"writer_users": ROBOT}, ROBOT.upper(), {Role.WRITER}),
        ({"admin_users": "ann"}, ANN, set()),
    ],
)
async def test_roles_are_given_by_name(
    directory: Directory, settings: dict[str, Any], user: str, roles: set[Role]
) -> None:
    """Names match as a whole, in any case, and the platform is not called."""
    async with believing(directory, **settings) as authentication:
        assert set((await principal(authentication, (EMAIL, user))).roles) == roles
    assert directory.asked == []


@pytest.mark.parametrize(
    ("user", "roles", "asked"),
    [
        (ANN, {Role.READER, Role.WRITER}, f'Users userName eq "{ANN}"'),
        (ROBOT, {Role.ADMIN}, f'ServicePrincipals applicationId eq "{ROBOT}"'),
        ("bob@example.com", set(), 'Users userName eq "bob@example.com"'),
        ('x" or userName sw "', set(), None),
        ("x\\", set(), None),
    ],
)
async def test_roles_are_given_by_group(directory: Directory, user: str, roles: set[Role], asked: str | None) -> None:
    """There is one call for each caller, and no name can alter its filter."""
    settings: dict[str, Any] = {"reader_groups": "everybody", "writer_groups": "order-desk", "admin_groups": "robots"}
    async with believing(directory, **settings) as authentication:
        found = await asyncio.gather(*(principal(authentication, (EMAIL, user)) for _ in range(20)))
        assert {frozenset(one.roles) for one in found} == {frozenset(roles)}
        assert (await principal(authentication, (EMAIL, user))).roles == roles
    assert directory.asked == ([asked] if asked else [])


async def test_the_groups_of_an_admin_by_name_are_not_looked_up(directory: Directory) -> None:
    """Groups cannot add to `admin`; a user with a lower role by name may have a higher one by group."""
    async with believing(directory, admin_users="boss@example.com", writer_groups="order-desk") as authentication:
        assert (await principal(authentication, (EMAIL, "boss@example.com"))).roles == {Role.ADMIN}
        assert directory.asked == []
    async with believing(directory, reader_users="*", admin_groups="order-desk") as authentication:
        assert (await principal(authentication, (EMAIL, ANN))).roles == {Role.READER, Role.ADMIN}


async def test_cached_groups_expire(directory: Directory, clock: Still) -> None:
    """A user who leaves a group loses its role. While the platform fails, its last answer counts."""
    async with believing(directory, admin_groups="order-desk") as authentication:
        assert (await principal(authentication, (EMAIL, ANN))).roles == {Role.ADMIN}
        directory.status = 403
        clock.seconds += 300
        assert (await principal(authentication, (EMAIL, ANN))).roles == {Role.ADMIN}
        directory.status, directory.groups[ANN] = 200, []
        clock.seconds += 1  # the pause after a failure
        assert (await principal(authentication, (EMAIL, ANN))).roles == set()
    assert len(directory.asked) == 3


@pytest.mark.parametrize("status", [403, 400, 500])
async def test_a_role_by_name_survives_a_failure_of_the_platform(directory: Directory, status: int) -> None:
    """A user without a role by name gets a retryable error. Not every request calls the platform."""
    directory.status = status
    async with believing(directory, reader_users=ANN, admin_groups="order-desk") as authentication:
        assert (await principal(authentication, (EMAIL, ANN))).roles == {Role.READER}
        asked: list[str] = []
        for _ in range(2):
            with pytest.raises(UnavailableError) as refused:
                await principal(authentication, (EMAIL, "bob@example.com"))
            assert refused.value.retryable
            assert refused.value.reason.value.status == 503
            asked = asked or directory.asked.copy()
    assert directory.asked == asked
    assert len({*asked}) == 2
