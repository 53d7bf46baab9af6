"""Two operators at once, of one database or of two: nothing is there twice, nothing is lost, nothing is left behind.

Two servers on one database share its operations. Servers with different `APP_SCHEMA`s know nothing of each other, and
only the platform stands between them. `make test` has the servers of one database, the first changes of a branch, and a
contest that begins after them; the rest is left to `make faults`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.flavours import AUTOSCALING
from tests.servers.lives.change import COST, GONE
from tests.servers.lives.picture import endpoint_line, instance_line, picture
from tests.servers.lives.walk import HURRIED, Walk, label, lives_of, persist, walked
from tests.servers.operator import INSTANCE, Operator, document, operated
from tests.servers.process import wait_for
from tests.support.calibration import MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.faults

# The reasons with which the second of two operators may fail. Each says what the first one has done, or is doing.
EXPLAINED = {
    "OPERATION_IN_PROGRESS",
    "NAME_HELD",
    "SPEC_CONFLICT",
    "PROTECTED",
    "RESOURCE_IN_USE",
    "RESOURCE_NOT_FOUND",
    "RESOURCE_NOT_READY",
    "NAMESAKE_FOUND",
    "CONTROL_PLANE_BUSY",
    "CONTROL_PLANE_REFUSED",
    "DATABASE_UNAVAILABLE",
}
DEV = {"name": "dev"}
# In `make test`: a snapshot, a branch, its endpoint, and other limits.
SOME_CHANGES = 4
BOTH_DATABASES = [False, pytest.param(True, marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    """A platform that walks through the lives of a project."""
    with walked(AUTOSCALING) as walk:
        yield walk


@pytest.fixture(scope="module")
def operator(walk: Walk) -> Iterator[Operator]:
    """The first operator."""
    with operated(walk.platform, module="tests.servers.hasty", altered=HURRIED, **AUTOSCALING.settings) as operator:
        yield operator


@pytest.fixture(scope="module", params=BOTH_DATABASES, ids=["one database", "two databases"])
def other(request: pytest.FixtureRequest, walk: Walk) -> Iterator[Operator]:
    """The second operator, who may know nothing of the first one."""
    settings = {**AUTOSCALING.settings, **({"APP_SCHEMA": "strangers"} if request.param else {})}
    with operated(walk.platform, module="tests.servers.hasty", altered=HURRIED, **settings) as other:
        yield other


def outcome(operators: tuple[Operator, Operator], mutation: str, values: Mapping[str, object]) -> str:
    """SUCCEEDED, or the reason of the failure, of a mutation that the first of two operators sends once."""
    payload: dict[str, Any] = operators[0].insist(document(mutation), input=values)["payload"]
    if payload["userErrors"]:
        return str(payload["userErrors"][0]["code"])
    if payload["operation"] is None:
        return "SUCCEEDED"
    found: list[dict[str, Any]] = []

    def ended() -> bool:
        # An operation that stops or deletes the database is known only to the server that runs it.
        known = [operator.operation(payload["operation"]["id"]) for operator in operators]
        found[:] = [one for one in known if one is not None and one["finishedAt"]]
        return bool(found)

    wait_for(ended, what=lambda: f"the end of {payload['operation']}")
    return str((found[0]["failure"] or {}).get("reason", found[0]["state"]))


def at_once(one: Operator, other: Operator, mutations: tuple[tuple[str, Mapping[str, object]], ...]) -> list[str]:
    """The outcomes of two mutations that two operators send at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda operators, two: outcome(operators, *two), ((one, other), (other, one)), mutations))


@pytest.mark.parametrize("name", [pytest.param("instance", marks=pytest.mark.long), "branches"], ids=label)
def test_the_same_mutation_twice_at_once_is_done_once(
    walk: Walk, operator: Operator, other: Operator, name: str
) -> None:
    """Both get the same operation, or the second one finds everything done. Neither fails."""
    life = lives_of(AUTOSCALING)[name]
    for number in range(len(life.changes) if MEASURES else SOME_CHANGES):
        change = walk.reach(operator, life, number)
        if not change.repeats:
            # The second one would begin anew.
            persist(operator, change, change.input())
            continue
        values = change.input()
        outcomes = at_once(operator, other, ((change.mutation, values),) * 2)
        assert outcomes == ["SUCCEEDED"] * 2, change.name
        walk.check(life, number)
        persist(other, change, values)
        walk.check(life, number)


@dataclass(frozen=True)
class Contest:
    """Two different mutations at once on the same branch or instance.

    Args:
        life, change: where it begins: before this change.
        mutations: both, with what makes their inputs.
        ends: each possible end, as the lines that there are more and less.
    """

    life: str
    change: str
    mutations: tuple[tuple[str, Callable[[], Mapping[str, object]]], ...]
    ends: tuple[tuple[frozenset[str], frozenset[str]], ...]


def ends(*lines: tuple[str, ...]) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """Possible ends, each as lines that there are more, and with a minus lines that there are less."""
    return tuple(
        (
            frozenset(line for line in one if not line.startswith("-")),
            frozenset(line[1:] for line in one if line.startswith("-")),
        )
        for one in lines
    )


def restored() -> Mapping[str, object]:
    """The input of a restore to this moment."""
    return {"name": "restored", "to": datetime.now(UTC).isoformat(), **COST}


SMALL, OFF = endpoint_line("production", "0.5 to 8"), endpoint_line("production", "0.5 to 8", disabled=True)
LARGE, LARGE_OFF = endpoint_line("production", "1 to 4"), endpoint_line("production", "1 to 4", disabled=True)
RESTORED = endpoint_line("restored", "0.5 to 8")
WHOLE = ("branch restored", RESTORED, "default restored", "-default production")
DELETED = (instance_line(deleted=True), f"-{instance_line()}")
BACK = (instance_line(), f"-{instance_line(deleted=True)}")
LIMITS = endpoint_line("dev", "1 to 4")
CONTESTS = {
    "undelete against create": Contest(
        "branches",
        "undelete branch",
        (
            ("undeleteDatabaseBranch", lambda: {**DEV, **COST}),
            ("createDatabaseBranch", lambda: {**DEV, "neverExpires": True, **COST}),
        ),
        ends(("branch dev", "-deleted branch dev")),
    ),
    "undelete against purge": Contest(
        "branches",
        "undelete branch",
        (
            ("undeleteDatabaseBranch", lambda: {**DEV, **COST}),
            ("deleteDatabaseBranch", lambda: {**DEV, "purge": True, **GONE}),
        ),
        ends(("branch dev", "-deleted branch dev"), ("-deleted branch dev", f"-{LIMITS}")),
    ),
    "protect against delete": Contest(
        "branches",
        "protect branch",
        (
            ("updateDatabaseBranch", lambda: {**DEV, "protected": True}),
            ("deleteDatabaseBranch", lambda: {**DEV, **GONE}),
        ),
        ends(("protected branch dev", "-branch dev"), ("deleted branch dev", "-branch dev")),
    ),
    "restore against delete of the branch": Contest(
        "branches",
        "restore",
        (("restoreDatabase", restored), ("deleteDatabaseBranch", lambda: {"name": "restored", **GONE})),
        ends(WHOLE, ("deleted branch restored",), ("deleted branch restored", RESTORED)),
    ),
    "take against delete of a snapshot": Contest(
        "branches",
        "delete snapshot",
        (
            ("createDatabaseSnapshot", lambda: {"name": "monday", **COST}),
            ("deleteDatabaseSnapshot", lambda: {"name": "monday", "confirmDeletion": True}),
        ),
        ends((), ("-snapshot monday",)),
    ),
    "limits against stop": Contest(
        "instance",
        "resize instance",
        (
            ("updateDatabaseInstance", lambda: {"name": INSTANCE, "autoscaling": {"minCu": 1, "maxCu": 4}, **COST}),
            ("updateDatabaseInstance", lambda: {"name": INSTANCE, "stopped": True}),
        ),
        ends((LARGE, f"-{SMALL}"), (OFF, f"-{SMALL}"), (LARGE_OFF, f"-{SMALL}")),
    ),
    "restore against delete of the instance": Contest(
        "instance",
        "delete instance",
        (("restoreDatabase", restored), ("deleteDatabaseInstance", lambda: {"name": INSTANCE, **GONE})),
        ends(
            WHOLE,
            DELETED,
            (*DELETED, *WHOLE),
            (*DELETED, "branch restored"),
            (*DELETED, "branch restored", RESTORED),
        ),
    ),
    "undelete against create of the instance": Contest(
        "instance",
        "undelete instance",
        (
            ("undeleteDatabaseInstance", lambda: {"name": INSTANCE, **COST}),
            ("createDatabaseInstance", lambda: {"name": INSTANCE, **COST}),
        ),
        ends(BACK),
    ),
}
# In `make test`: the one that begins where SOME_CHANGES end.
SHORT = {"protect against delete"}


@pytest.mark.parametrize(
    "contest",
    [pytest.param(name, marks=[] if name in SHORT else pytest.mark.long) for name in CONTESTS],
)
def test_different_mutations_at_once_end_as_if_one_came_after_the_other(
    walk: Walk, operator: Operator, other: Operator, contest: str
) -> None:
    """At least one succeeds, and the other one says what was in its way."""
    one = CONTESTS[contest]
    life = lives_of(AUTOSCALING)[one.life]
    walk.reach(operator, life, [change.name for change in life.changes].index(one.change))
    before = frozenset(picture(walk.platform))
    sent = tuple((mutation, values()) for mutation, values in one.mutations)
    outcomes = at_once(operator, other, sent)
    assert "SUCCEEDED" in outcomes
    assert set(outcomes) - {"SUCCEEDED"} <= EXPLAINED
    wanted = [sorted(before - less | more) for more, less in one.ends]
    wait_for(lambda: picture(walk.platform) in wanted, what=lambda: f"{picture(walk.platform)} after {outcomes}")
