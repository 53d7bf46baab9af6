"""AUTH_MODE=databricks-app, in the process: the principal that the proxy names, and its roles."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import HTTPConnection

from schema.errors import Reason, UnauthenticatedError, UnavailableError
from schema.permissions import Role
from server.auth import databricks
from server.auth import refreshed_value as kept
from server.auth.databricks import DatabricksAuthentication
from server.lakebase.platform.loader import PlatformLoader
from server.settings import Settings
from tests.servers.directory import ANN, ROBOT, Directory, running_directory
from tests.servers.process import PATIENCE_SECONDS, PATIENT, until
from tests.support.clock import Still
from tests.support.lookalikes import HIDDEN, LOOKALIKES, USER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from schema.permissions import Principal

Header = tuple[str, str]
# Roles by each group of the directory.
BY_GROUP: dict[str, Any] = {"reader_groups": "everybody", "writer_groups": "order-desk", "admin_groups": "robots"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Still:
    """The clock of the cached groups, which the test moves. The platform may take as long as it likes."""
    clock = Still()
    monkeypatch.setattr(kept, "time", clock)
    monkeypatch.setattr(databricks, "_PATIENCE_SECONDS", PATIENCE_SECONDS)
    return clock


@pytest.fixture
def directory() -> Iterator[Directory]:
    """A workspace with a user and a service principal."""
    with running_directory() as directory:
        yield directory


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


EMAIL, NAME, ID = "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-user"


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ([(EMAIL, ANN), (NAME, "Ann"), (ID, "1@2")], ANN),
        ([(ID, "1@2"), (NAME, ANN)], "1@2"),
        ([(ID, "1@2")], "1@2"),
        ([(EMAIL, ""), (ID, ROBOT)], ROBOT),
        ([(ID, "Łukasz Żółć")], "Łukasz Żółć"),
        ([(EMAIL, "Ann@Example.COM ")], ANN),
        ([(EMAIL, f"{'a' * 308}@example.com")], f"{'a' * 308}@example.com"),
    ],
)
async def test_the_proxy_names_the_principal(headers: list[Header], user: str) -> None:
    """By e-mail address, or else by id; never by a display name. Names are the same in any case of ASCII's letters."""
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
        [(EMAIL, ANN), (ID, "1"), (ID, "2")],
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
    async with believing(directory, **BY_GROUP) as authentication:
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
            assert refused.value.retry_after_seconds == 1
            assert refused.value.reason is Reason.AUTHENTICATION_UNAVAILABLE
            asked = asked or directory.asked.copy()
    assert directory.asked == asked
    assert len({*asked}) == 2


@pytest.mark.parametrize("other", LOOKALIKES)
async def test_a_name_that_resembles_anothers_is_another_users(directory: Directory, other: str) -> None:
    """Whoever comes first: the impostor gets no role of the user, by name or by group, and does not take them away."""
    impostor = LOOKALIKES[other]
    directory.groups = {USER: ["robots"]}
    for first, second in ((USER, impostor), (impostor, USER)):
        async with believing(directory, writer_users=USER, **BY_GROUP) as authentication:
            found = {user: await principal(authentication, (EMAIL, user)) for user in (first, second)}
        assert found[impostor].user not in {USER, found[USER].user}
        assert found[impostor].roles == set()
        assert found[USER].roles == {Role.WRITER, Role.ADMIN}


@pytest.mark.parametrize("other", LOOKALIKES)
async def test_a_user_with_a_resembling_name_has_its_own_groups(directory: Directory, other: str) -> None:
    """Even if the platform finds both of them by either name."""
    directory.groups = {USER: ["robots"], LOOKALIKES[other]: ["everybody"]}
    async with believing(directory, **BY_GROUP) as authentication:
        assert (await principal(authentication, (EMAIL, USER))).roles == {Role.ADMIN}
        found = await principal(authentication, (EMAIL, LOOKALIKES[other]))
        # The settings and the platform's names are folded in the same way as the caller's.
        assert found.roles == {Role.READER}
    async with believing(directory, admin_users=LOOKALIKES[other]) as authentication:
        assert (await principal(authentication, (EMAIL, USER))).roles == set()
        assert (await principal(authentication, (EMAIL, LOOKALIKES[other]))).roles == {Role.ADMIN}


@pytest.mark.parametrize("hidden", HIDDEN)
async def test_a_name_with_a_character_that_nobody_sees_is_refused(hidden: str) -> None:
    """It would look the same in the audit."""
    async with believing(admin_users="*") as authentication:
        with pytest.raises(UnauthenticatedError):
            await principal(authentication, (EMAIL, HIDDEN[hidden]))


@pytest.mark.parametrize("spelling", [USER, USER.upper(), USER.title(), f"\t{USER}  "])
async def test_every_spelling_in_ascii_is_the_same_user(directory: Directory, spelling: str) -> None:
    """The principal has one spelling, by which keys, points, limits and the audit know the user."""
    directory.groups = {USER.upper(): ["order-desk"]}
    async with believing(directory, admin_users=spelling.strip(), **BY_GROUP) as authentication:
        found = await principal(authentication, (EMAIL, spelling))
        assert (found.user, set(found.roles)) == (USER, {Role.ADMIN})
    async with believing(directory, **BY_GROUP) as authentication:
        assert (await principal(authentication, (EMAIL, spelling))).roles == {Role.WRITER}


async def test_roles_are_renewed_as_for_a_new_request(directory: Directory, clock: Still) -> None:
    """A role that was taken away is gone once the groups are fetched anew; one that was given is there."""
    async with believing(directory, **BY_GROUP) as authentication:
        began = await principal(authentication, (EMAIL, ANN))
        assert await authentication.renewed(began) == began
        directory.groups[ANN] = ["robots"]
        assert await authentication.renewed(began) == began
        clock.seconds += 270
        assert (await authentication.renewed(began)).roles == {Role.ADMIN}
        directory.status = 500
        clock.seconds += 270
        assert (await authentication.renewed(began)).roles == {Role.ADMIN}
        clock.seconds += 3600
        with pytest.raises(UnavailableError):
            await authentication.renewed(began)


async def test_while_the_platform_is_silent_old_groups_are_used_at_once(directory: Directory, clock: Still) -> None:
    """Only callers within the first second of a fetch wait for it: the platform may hold it for several."""
    async with believing(directory, **BY_GROUP) as authentication:
        found = await principal(authentication, (EMAIL, ANN))
        clock.seconds += 270
        directory.answering.clear()
        waiting = asyncio.create_task(principal(authentication, (EMAIL, ANN)))
        await until(lambda: len(directory.asked) == 2)
        clock.seconds += PATIENCE_SECONDS
        for _ in range(20):
            assert await principal(authentication, (EMAIL, ANN)) == found
        directory.answering.set()
        assert await waiting == found
    assert len(directory.asked) == 2


async def test_more_callers_than_are_remembered_keep_their_pauses(
    monkeypatch: pytest.MonkeyPatch, clock: Still
) -> None:
    """A caller whose fetch is under way or has just failed is not forgotten, so that nobody repeats the fetch."""
    monkeypatch.setattr(databricks, "_REMEMBERED_CALLERS", 10)
    asked: list[str] = []
    answering = asyncio.Event()

    async def groups_of(user: str) -> frozenset[str]:
        asked.append(user)
        if user.startswith("slow"):
            await answering.wait()
        if user.startswith("failing"):
            raise UnavailableError(Reason.CONTROL_PLANE_UNAVAILABLE, "down")
        return frozenset({"robots"})

    authentication = DatabricksAuthentication(
        Settings(database_url="postgresql://h/db", admin_groups="robots"), groups_of
    )
    failing = [f"failing{number}" for number in range(4)]
    for user in failing:
        with pytest.raises(UnavailableError):
            await principal(authentication, (EMAIL, user))
    slow = [asyncio.create_task(principal(authentication, (EMAIL, "slow"))) for _ in range(2)]
    await until(lambda: "slow" in asked)
    others = [f"other{number}" for number in range(100)]
    for user in others:
        await principal(authentication, (EMAIL, user))
    slow.append(asyncio.create_task(principal(authentication, (EMAIL, "slow"))))
    for user in failing:
        with pytest.raises(UnavailableError):
            await principal(authentication, (EMAIL, user))
    answering.set()
    assert {found.user for found in await asyncio.gather(*slow)} == {"slow"}
    assert sorted(asked) == sorted([*failing, "slow", *others])
    # Once the pauses are over they are forgotten too, and the others that came last are not.
    clock.seconds += 10
    for user in others:
        await principal(authentication, (EMAIL, user))
    asked.clear()
    for user in others[-9:]:
        await principal(authentication, (EMAIL, user))
    assert asked == []


async def test_thousands_of_callers_are_remembered() -> None:
    """Each of their checks, twice a minute for each connection, finds the groups and asks the platform nothing."""
    asked: list[str] = []

    async def groups_of(user: str) -> frozenset[str]:
        asked.append(user)
        return frozenset()

    authentication = DatabricksAuthentication(
        Settings(database_url="postgresql://h/db", admin_groups="robots"), groups_of
    )
    for _ in range(2):
        for number in range(3_000):
            await principal(authentication, (EMAIL, f"user{number}"))
    assert len(asked) == 3_000


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"<html>",
        b"[]",
        b"5",
        b"null",
        b"\xff",
        b"[" * 5000,
        b'{"totalResults": 1}',
        b'{"totalResults": 1, "Resources": 5}',
        b'{"totalResults": 1, "Resources": [5]}',
        b'{"totalResults": 1, "Resources": [{"userName": 5}]}',
        b'{"totalResults": 1, "Resources": [{"groups": []}]}',
        b'{"totalResults": 1, "Resources": [{"userName": "ann@example.com", "groups": 5}]}',
        b'{"totalResults": 1, "Resources": [{"userName": "ann@example.com", "groups": ["robots"]}]}',
    ],
)
async def test_an_answer_of_the_platform_that_makes_no_sense_is_none(directory: Directory, garbage: bytes) -> None:
    """The caller gets a retryable error, and the next one does not ask the platform at once."""
    directory.garbage = garbage
    async with believing(directory, **BY_GROUP) as authentication:
        asked = 0
        for _ in range(3):
            with pytest.raises(UnavailableError) as refused:
                await principal(authentication, (EMAIL, ANN))
            assert refused.value.reason is Reason.AUTHENTICATION_UNAVAILABLE
            assert refused.value.retry_after_seconds == 1
            # The SDK may have repeated it.
            asked = asked or len(directory.asked)
    assert len(directory.asked) == asked


async def test_a_caller_is_forgotten_only_when_the_platform_may_be_asked_again(
    monkeypatch: pytest.MonkeyPatch, directory: Directory, clock: Still
) -> None:
    """The one that has been away for longest. Otherwise each request would ask a platform that fails."""
    monkeypatch.setattr(databricks, "_REMEMBERED_CALLERS", 2)
    names = (ANN, "ben@example.com", "cid@example.com", "dan@example.com")
    async with believing(directory, **BY_GROUP) as authentication:

        async def asked(*names: str) -> set[str]:
            """Who the platform was asked about when they called."""
            directory.asked.clear()
            for name in names:
                with contextlib.suppress(UnavailableError):
                    await principal(authentication, (EMAIL, name))
            return {name for name in names if any(name in found for found in directory.asked)}

        directory.garbage = b"<html>"
        assert await asked(*names) == set(names)
        assert await asked(*names) == set()
        directory.garbage = None
        clock.seconds += 10
        assert await asked(*names) == set(names)
        assert await asked(names[-1]) == set()
        # New callers push out the others, one each.
        assert await asked("eve@example.com", "fay@example.com") == {"eve@example.com", "fay@example.com"}
        assert ANN in await asked(ANN)
