"""Plans: what an operation would do, step by step, before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PlanAction(Enum):
    """What a step of a plan would do."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    START = "START"
    STOP = "STOP"
    DELETE = "DELETE"
    UNDELETE = "UNDELETE"
    SYNC = "SYNC"
    BUILD = "BUILD"
    NOTHING = "NOTHING"


@dataclass(frozen=True, slots=True)
class Difference:
    """A property that differs from the wanted state, with both values as text."""

    field: str
    current: str
    wanted: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan: the resource ("instance orders-pg"), whether it exists, and what would change.

    `exists` is None if it cannot be known beforehand. `costs` says that the resource costs money from then on; a
    sync costs while its pipeline runs.
    """

    name: str
    action: PlanAction
    resource: str
    exists: bool | None
    message: str
    differences: Sequence[Difference] = ()
    costs: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps, in order, and how many status changes would lose their only copy.

    `status_changes_lost` is None if they could not be counted.
    """

    steps: Sequence[PlannedStep]
    status_changes_lost: int | None = 0
