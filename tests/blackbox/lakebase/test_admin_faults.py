"""Faults of the platform at every call: operations succeed or say what to do, and nothing is created twice.

The lives of an instance and of its branches (tests/servers/lives) are walked through, with faults at all calls of each
change. `make test` has one round, so that every kind of fault is there, of the life of the branches, whose calls are
made nowhere else, and of creating and tearing down. `make faults` has all faults at all calls, for both flavours.
"""

from __future__ import annotations

import contextlib
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.flavours import AUTOSCALING, FLAVOURS
from tests.servers.lives.change import path_of
from tests.servers.lives.walk import HURRIED, Walk, label, lives_of, persist, walked
from tests.servers.operator import HASTE, HASTY, INSTANCE, OPERATION, Operator, operated
from tests.servers.process import PATIENCE_SECONDS
from tests.support.calibration import MEASURES, hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.servers.lives.change import Change, Life

pytestmark = pytest.mark.faults

FAULTS = (
    "too_many_requests",
    "internal_error",
    "unavailable",
    "connection_reset",
    "slow",
    "hang",
    "malformed_json",
    "unknown_enum",
    "not_found_after_create",
    "not_found_as_code",
    "exists_as_400",
    "forbidden",
    "lost_reply",
)
# Faults of the platform's own operations: at the calls that begin them.
OPERATION_FAULTS = (
    "operation_fails",
    "operation_fails_after",
    "operation_hangs",
    "operation_forgotten",
    "operation_without_response",
)
# Each round puts another fault on each call, so that all rounds together test every fault at every call.
ROUNDS = range(len(FAULTS)) if MEASURES else (4,)
OPERATION_ROUNDS = range(len(OPERATION_FAULTS)) if MEASURES else (1,)
LIVES = [(flavour, name) for flavour in FLAVOURS for name in lives_of(flavour)]
# The changes in `make test`: no walk leads to these of the instance. Of a branch and its endpoint the first ones are enough
# for the faults of operations, of which each has one.
SOME = {"instance": slice(-5, None), "branches": slice(None), "tables": slice(-1, None)}
FIRST = slice(0, len(OPERATION_FAULTS))
# The older API has no operations.
OPERATION_LIVES = [one for one in LIVES if one[0] is AUTOSCALING and (MEASURES or one[1] == "branches")]
# The reasons with which an attempt may fail; each says what to do.
EXPLAINED = {
    "PERMISSION_MISSING",
    "CONTROL_PLANE_UNAVAILABLE",
    "CONTROL_PLANE_BUSY",
    "CONTROL_PLANE_TIMEOUT",
    "DATABASE_UNAVAILABLE",
    "SOURCE_INVALID",
    "RESOURCE_NOT_FOUND",
    "SPEC_CONFLICT",
    "RESOURCE_IN_USE",
    "RESOURCE_NOT_READY",
    "STATUS_CHANGES_AT_STAKE",
    "CONTROL_PLANE_REFUSED",
}
TIMEOUT_SECONDS, RETRY_SECONDS = 0.5 if MEASURES else 1.0, 1
# What is asked for by every change of a platform that shows the past is asked for again so many times.
STALE_TIMES = 4
# Calls of the server that are no part of a change.
ALWAYS = {"GET /.well-known/databricks-config", "GET /api/2.0/preview/scim/v2/Me"}
IMPATIENT = MappingProxyType(
    {
        "server.lakebase.platform.sdk_client._ATTEMPT_SECONDS": TIMEOUT_SECONDS,
        "server.lakebase.platform.sdk_client._RETRY_SECONDS": RETRY_SECONDS,
    }
)


@pytest.fixture(scope="module")
def walk(request: pytest.FixtureRequest) -> Iterator[Walk]:
    """A platform that walks through the lives of a flavour."""
    with walked(request.param) as walk:
        yield walk


@pytest.fixture(scope="module")
def operators(walk: Walk) -> Iterator[Callable[[Life], Operator]]:
    """The operator for a life, of a server with its settings, and with short timeouts for the platform.

    There is one server at a time: the faults are for its calls.
    """
    latest: dict[str, Operator] = {}
    with contextlib.ExitStack() as stack:

        def operator_for(life: Life) -> Operator:
            settings = {**walk.flavour.settings, **life.settings}
            if str(settings) not in latest:
                stack.close()
                latest.clear()
                latest[str(settings)] = stack.enter_context(
                    operated(walk.platform, module="tests.servers.hasty", altered={**HURRIED, **IMPATIENT}, **settings)
                )
            return latest[str(settings)]

        yield operator_for


@pytest.fixture(autouse=True)
def _no_faults(walk: Walk) -> Iterator[None]:
    """Switch off the faults that the test has switched on."""
    yield
    walk.platform.clear_faults()


def attempt(operator: Operator, change: Change, values: Mapping[str, object]) -> str:
    """Send the mutation once and wait for its end; return SUCCEEDED or the reason of its failure."""
    input_type = f"{change.mutation[0].upper()}{change.mutation[1:]}Input"
    answer = operator.answer(
        f"mutation($input: {input_type}!) {{ payload: {change.mutation}(input: $input) {{ operation {{ {OPERATION} }} userErrors {{ code message }} }} }}",
        input=values,
    )
    if errors := answer.get("errors"):
        return str(errors[0]["extensions"]["reason"])
    payload: dict[str, Any] = answer["data"]["payload"]
    if payload["userErrors"]:
        return str(payload["userErrors"][0]["code"])
    if payload["operation"] is None:
        # Everything is as wanted already.
        return "SUCCEEDED"
    ended = operator.ended(payload)
    if ended["state"] == "SUCCEEDED":
        return "SUCCEEDED"
    assert ended["failure"]["message"]
    return str(ended["failure"]["reason"])


def send_until_done(operator: Operator, change: Change, values: Mapping[str, object], *, faults: int) -> None:
    """Send the mutation until it succeeds. So many faults fail at most as many attempts."""
    outcomes: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (outcome := attempt(operator, change, values)) != "SUCCEEDED":
        outcomes.append(outcome)
        assert outcome in EXPLAINED, (change.name, outcomes)
        assert time.monotonic() < deadline, f"timed out: {outcomes}"
        # After a failure the server waits for a second before it mints another token.
        assert len(outcomes) - outcomes.count("DATABASE_UNAVAILABLE") <= faults, (change.name, outcomes)


def made(walk: Walk, operator: Operator, life: Life, number: int, faults: list[tuple[str, str, str, Any]]) -> None:
    """Make a change under faults, each with its method, path and options."""
    change = walk.reach(operator, life, number)
    before, values = walk.platform.counters()["requests"], change.input()
    for fault, method, path, options in faults:
        walk.platform.fault(fault, method=method, path=path, **options)
    send_until_done(operator, change, values, faults=len(faults))
    walk.platform.clear_faults()
    if change.repeats:
        # A fault may have hidden a resource: a deletion takes "not found" for deleted. So it is sent again.
        persist(operator, change, values)
    requests = walk.platform.counters()["requests"]
    # A fault may have hidden a resource, which is then asked for.
    listed = {f"{call.method} {call.template}" for one in life.changes for call in one.calls} | ALWAYS
    listed |= {f"{method_of(template)} {template}" for template in life.reads}
    sent = {request for request, count in requests.items() if count > before.get(request, 0)}
    assert {request for request in sent if " /local/" not in request} <= listed, change.name
    walk.check(life, number)


def method_of(template: str) -> str:
    """The method of a read, or of the call that mints a credential."""
    return "POST" if template.endswith("/credentials") else "GET"


def faults_at_every_call(life: Life, number: int, round_: int) -> list[tuple[str, str, str, Any]]:
    """The fault at each call of a change in a round."""
    # Plans read too. Every other round lets those reads pass, so that the fault hits a step.
    passed = 2 if round_ % 2 == 0 else 0
    calls = [(call.method, call.path, call.skip) for call in life.changes[number].calls]
    for template in life.reads:
        method = method_of(template)
        calls.append((method, path_of(template), passed if method == "GET" else 0))
    faults = []
    for index, (method, path, skip) in enumerate(calls):
        fault = FAULTS[(index + number + round_) % len(FAULTS)]
        faults.append((fault, method, path, {"times": 1, "skip": skip, "seconds": 0.3, "retry_after": 1}))
    return faults


@pytest.mark.parametrize("round_", ROUNDS)
@pytest.mark.parametrize(("walk", "name"), LIVES, indirect=["walk"], ids=label)
def test_every_fault_at_every_call_ends_in_what_was_asked_for(
    walk: Walk, operators: Callable[[Life], Operator], name: str, round_: int
) -> None:
    """Each change of a life is made once: nothing is there twice, nothing is lost, and nothing is left behind."""
    life = lives_of(walk.flavour)[name]
    for number in range(len(life.changes))[slice(None) if MEASURES else SOME[name]]:
        made(walk, operators(life), life, number, faults_at_every_call(life, number, round_))


@pytest.mark.parametrize("round_", OPERATION_ROUNDS)
@pytest.mark.parametrize(("walk", "name"), OPERATION_LIVES, indirect=["walk"], ids=label)
def test_every_operation_of_the_platform_may_fail_never_end_or_tell_nothing(
    walk: Walk, operators: Callable[[Life], Operator], name: str, round_: int
) -> None:
    """Whether it has done its work or not: what exists is what counts."""
    life = lives_of(walk.flavour)[name]
    for number, change in enumerate(life.changes[slice(None) if MEASURES else FIRST]):
        fault = OPERATION_FAULTS[(number + round_) % len(OPERATION_FAULTS)]
        # A run of a pipeline is no operation.
        calls = [call for call in change.calls if call.port != "start"]
        made(
            walk,
            operators(life),
            life,
            number,
            [(fault, call.method, call.path, {"times": 1, "skip": call.skip}) for call in calls],
        )


@pytest.mark.long
@pytest.mark.parametrize(("walk", "name"), LIVES, indirect=["walk"], ids=label)
def test_reads_may_show_the_past_for_a_while(walk: Walk, operators: Callable[[Life], Operator], name: str) -> None:
    """Nothing is asked for twice that must not be, and no operation ends before the platform shows what was asked for."""
    life = lives_of(walk.flavour)[name]
    reads = [path_of(one) for one in life.reads if "/operations/" not in one and "/credentials" not in one]
    for number in range(len(life.changes)):
        made(walk, operators(life), life, number, [("stale", "GET", path, {"times": STALE_TIMES}) for path in reads])


@pytest.mark.parametrize(
    "fault", ["forbidden", "internal_error", "unavailable", "too_many_requests", "not_found_as_code"]
)
@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_nothing_secret_is_repeated(walk: Walk, operators: Callable[[Life], Operator], fault: str) -> None:
    """Neither answers nor the log contain the server's token, one that the platform echoes, or the SDK's configuration."""
    operator = operators(lives_of(walk.flavour)["instance"])
    canary = "dapi0123456789abcdef-2"
    message = f"No. token={canary} Bearer {canary}. Config: host=http://x, token={canary}. Env: A_SECRET"
    platform, path = walk.platform, walk.flavour.instance
    platform.fault(fault, path=path, times=None, message=message, retry_after=1)
    answer = str(operator.answer(f'{{ databaseInstance(name: "{INSTANCE}") {{ state }} }}'))
    answer += str(
        operator.answer("mutation { teardownLakebase(input: {dryRun: true}) { plan { statusChangesLost } } }")
    )
    platform.clear_faults()
    log = operator.server.log()
    for secret in (canary, platform.token, "Config:", "A_SECRET"):
        assert secret not in answer
        assert secret not in log


@pytest.mark.parametrize("walk", FLAVOURS, indirect=True, ids=label)
def test_admin_fields_have_a_deadline(walk: Walk) -> None:
    """If the platform hangs, the error comes within seconds, and says that it is retryable."""
    altered = {**HASTE, **IMPATIENT}
    with operated(walk.platform, module=HASTY, altered=altered, **walk.flavour.settings) as operator:
        walk.platform.fault("hang", path=f"{walk.flavour.instances}.*", times=None)
        began = time.monotonic()
        answer = operator.answer(f'{{ databaseInstance(name: "{INSTANCE}") {{ state }} }}')
        waiting_seconds = TIMEOUT_SECONDS + RETRY_SECONDS
        hold(
            "an answer while the platform hangs",
            time.monotonic() - began,
            computing_seconds=3.5,
            waiting_seconds=waiting_seconds,
        )
        walk.platform.clear_faults()
    assert answer["errors"][0]["extensions"]["reason"] in {"CONTROL_PLANE_UNAVAILABLE", "CONTROL_PLANE_TIMEOUT"}
    assert answer["errors"][0]["extensions"]["retryable"] is True
