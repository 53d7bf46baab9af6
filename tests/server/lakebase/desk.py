"""Plans and steps in the process: over a real platform's client, and without the database that keeps operations."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from databricks.sdk.service.postgres import Project, ProjectSpec

from schema.ports.admin.administration import AdminRequest, Configured
from server.lakebase.database.inspection import Postgres
from server.lakebase.login.instances import Instances
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.plans.planner import Planner
from server.lakebase.platform.autoscaling.projects import mask
from server.lakebase.platform.loader import PlatformLoader
from server.lakebase.services import Services
from server.lakebase.steps.registry import STEPS
from server.lakebase.steps.step import Step, StepTimeouts
from server.settings import Settings
from tests.server.conftest import PATIENCE
from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import CATALOG, DATABASE, INSTANCE, TABLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from databricks.sdk.service.postgres import PostgresAPI

    from schema.ports.admin.operations import OperationKind
    from server.lakebase.plans.drafts.draft import Draft
    from tests.servers.platform import LocalPlatform

PATH = f"projects/{INSTANCE}"
# Its API's path, for faults.
URL = f"{AUTOSCALING.instances}/{INSTANCE}"


class NoOperations:
    """A store without operations, for a planner."""

    async def created(self) -> list[str]:
        """Nothing that an operation has created."""
        return []

    async def page(self, **_: Any) -> list[OperationRecord]:
        """No operations."""
        return []


async def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing, in place of what keeps an operation in the database."""


class Desk:
    """Plans requests as a server does that serves `production` of the operator's instance, and runs their steps.

    `reports` are the messages of the steps, and `detached` counts how often an operation left the database.
    """

    def __init__(self, services: Services, platform: LocalPlatform) -> None:
        self.services = services
        self.platform = platform
        self.reports: list[str] = []
        self.detached = 0

    @property
    def postgres(self) -> PostgresAPI:
        """The platform as another client uses it."""
        return self.platform.workspace().postgres

    def make_default(self, branch: str) -> None:
        """Make a branch the default one, as another client."""
        wanted = Project(spec=ProjectSpec(default_branch=f"{PATH}/branches/{branch}"))
        self.postgres.update_project(PATH, wanted, mask("spec.default_branch")).wait()

    async def plan(self, kind: OperationKind, *, serves: str = "production", **request: Any) -> Draft:
        """The draft of a request with all confirmations, by a server that serves this branch."""
        confirmed = {"acknowledge_cost": True, "confirm_deletion": True, "discard_status_changes": True}
        configured = Configured(INSTANCE, CATALOG, DATABASE, TABLE, self.services.platform.flavour, serves)
        store: Any = NoOperations()

        async def copy_of() -> None:
            """The served database is no copy."""

        planner = Planner(self.services, store, configured, hosting=INSTANCE, app_schema="orders_app", copy_of=copy_of)
        return await planner.plan(AdminRequest(kind, **{**confirmed, **request}))

    async def run(self, draft: Draft) -> list[str]:
        """Run the steps of a draft that is not refused, and return their messages."""
        assert draft.refusals == []
        operation = OperationRecord(draft.request, tuple(draft.resources), draft.operation_steps, draft.facts, "ada")

        async def save(_: float | None, message: str) -> None:
            self.reports.append(message)

        async def detach(*, deleting: bool) -> None:  # noqa: ARG001 # the callback's signature
            self.detached += 1

        steps = [
            Step(
                operation,
                index,
                self.services,
                StepTimeouts(60, 60, 60),
                save=save,
                guard=_nothing,
                detach=detach,
                stopping=asyncio.Event(),
            )
            for index in range(len(draft.operation_steps))
        ]
        return [await STEPS[one.name](step) for one, step in zip(draft.operation_steps, steps, strict=True)]

    async def done(self, kind: OperationKind, **request: Any) -> list[str]:
        """Plan a request and run its steps."""
        return await self.run(await self.plan(kind, **request))


@asynccontextmanager
async def opened_desk(platform: LocalPlatform) -> AsyncIterator[Desk]:
    """A desk in front of the platform."""
    given: dict[str, Any] = {
        **PATIENCE,
        **{name.lower(): value for name, value in AUTOSCALING.settings.items() if value},
        "databricks_host": platform.host,
        "databricks_token": platform.token,
        "lakebase_port": platform.pg_port,
    }
    settings = Settings(**given)
    loader = PlatformLoader(settings)
    instances = Instances(settings, loader)
    unused: Any = None
    yield Desk(Services(await loader.get(), instances, Postgres(instances, settings), unused, unused), platform)
    await loader.close()
