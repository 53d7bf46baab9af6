"""Walks through lives: brings the platform to where a change begins, makes changes, and checks what exists then."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.service import postgres

from tests.servers.flavours import AUTOSCALING, Flavour
from tests.servers.lives.branches import life_of_branches
from tests.servers.lives.instances import life_of_instance
from tests.servers.lives.picture import picture
from tests.servers.lives.tables import life_of_tables
from tests.servers.operator import HASTE, Operator, document
from tests.servers.platform import AT_ONCE, LocalPlatform, platform_directory, running_platform
from tests.servers.process import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.lives.change import Change, Life

# Constants of a server with short pauses before a step looks again and repeats a call.
HURRIED: Final[Mapping[str, float]] = {
    **HASTE,
    "server.lakebase.steps.step._FIRST_PAUSE_SECONDS": 0.02,
    "server.lakebase.steps.step._LAST_PAUSE_SECONDS": 0.2,
    **{f"server.lakebase.steps.{kind}.DELETE_AGAIN_SECONDS": 0.2 for kind in ("branch", "catalog", "instance")},
    "server.lakebase.steps.synced_table.DELETE_AGAIN_SECONDS": 0.2,
    "server.lakebase.steps.calls._FREED_SECONDS": 0.2,
}


def lives_of(flavour: Flavour) -> dict[str, Life]:
    """The lives of a flavour by name: of its instance, of its branches if it has any, and of several tables."""
    branches = [life_of_branches()] if flavour is AUTOSCALING else []
    lives = [life_of_instance(flavour), *branches, life_of_tables(flavour)]
    return {life.name: life for life in lives}


class Walk:
    """A platform, and where it is in a life."""

    def __init__(self, platform: LocalPlatform, flavour: Flavour) -> None:
        self.platform = platform
        self.flavour = flavour
        self._lives = lives_of(flavour)
        # The life, and the number of its change that comes next; None if that is not known.
        self._next: tuple[str, int] | None = None

    def reach(self, operator: Operator, life: Life, number: int) -> Change:
        """Bring the platform to where a change begins, and return the change."""
        change = life.changes[number]
        if self._next == (life.name, number + 1) and not change.more | change.less:
            # It has just been made. It leaves the picture as it is, so it can be made again.
            self._next = life.name, number
        if self._next != (life.name, number) and number > 0 and not life.after(number - 1):
            # The change begins with nothing, which needs no walk.
            self._clear()
            self._next = life.name, number
        if self._next is None or (
            self._next[0] != life.name and (self._next[1] != 0 or self._lives[self._next[0]].begins != life.begins)
        ):
            self._clear()
            operator.provisioned()
            self._next = life.name, 0
        at = self._next[1] if self._next[0] == life.name else 0
        while at != number:
            persist(operator, life.changes[at], life.changes[at].input())
            self.check(life, at)
            at = (at + 1) % len(life.changes)
        # What the test does now is known only once it is checked.
        self._next = None
        return change

    def check(self, life: Life, number: int) -> None:
        """Check that a change has been made, and nothing else."""
        wanted = life.after(number)
        wait_for(
            lambda: picture(self.platform) == wanted,
            what=lambda: f"{wanted} after '{life.changes[number].name}', not {picture(self.platform)}",
        )
        self._next = life.name, (number + 1) % len(life.changes)

    def _clear(self) -> None:
        """Delete everything, by the Postgres API, which shows the instances of both flavours."""
        self.platform.clear_faults()
        client, inventory = self.platform.workspace().postgres, self.platform.inventory()
        for table in inventory["synced_tables"]:
            client.delete_synced_table(f"synced_tables/{table['name']}").wait()
        for catalog in inventory["catalogs"]:
            client.delete_catalog(f"catalogs/{catalog['name']}").wait()
        mask = FieldMask(["spec.is_protected"])  # type: ignore[no-untyped-call] # the SDK's class has no types
        for project in inventory["projects"]:
            for branch in project["branches"].values():
                if branch["is_protected"]:
                    name = f"projects/{project['id']}/branches/{branch['id']}"
                    client.update_branch(name, postgres.Branch(spec=postgres.BranchSpec(is_protected=False)), mask)
            client.delete_project(f"projects/{project['id']}", purge=True).wait()
        wait_for(lambda: not picture(self.platform), what=lambda: f"nothing, not {picture(self.platform)}")


def persist(operator: Operator, change: Change, values: Mapping[str, Any]) -> None:
    """Make a change without faults, if it is not made yet."""
    payload: dict[str, Any] = {}

    def accepted() -> bool:
        payload.update(operator.insist(document(change.mutation), input=values)["payload"])
        # The end of the change before it may be shown a second before it is stored.
        return [error["code"] for error in payload["userErrors"]] != ["OPERATION_IN_PROGRESS"]

    wait_for(accepted, what=lambda: f"{change.name} to be accepted: {payload['userErrors']}")
    assert payload["userErrors"] == [], (change.name, payload["userErrors"])
    if payload["operation"] is not None:
        ended = operator.ended(payload)
        assert ended["state"] == "SUCCEEDED", (change.name, ended)


@contextlib.contextmanager
def walked(flavour: Flavour) -> Iterator[Walk]:
    """A platform, as quick as it can be, that walks through the lives of a flavour.

    A new branch has no endpoint, so that there is a call that creates one.
    """
    with platform_directory() as directory, running_platform(directory, **AT_ONCE, branch_endpoints=False) as platform:
        yield Walk(platform, flavour)


def label(value: object) -> str:
    """A flavour or another parameter in the name of a test."""
    return value.name if isinstance(value, Flavour) else str(value)
