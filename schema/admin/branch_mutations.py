"""The admin mutations about branches and snapshots, and their payloads."""

from __future__ import annotations

from typing import Annotated

import strawberry

from schema.admin.branch_types import DatabaseBranch
from schema.admin.guard import WithDeadline
from schema.admin.mutations import administers, submitted
from schema.admin.payloads import AdminPayload
from schema.admin.requests.branch_inputs import (  # noqa: TC001 # Strawberry reads the annotations at run time
    CreateDatabaseBranchInput,
    CreateDatabaseSnapshotInput,
    DeleteDatabaseBranchInput,
    DeleteDatabaseSnapshotInput,
    RestoreDatabaseInput,
    UndeleteDatabaseBranchInput,
    UpdateDatabaseBranchInput,
)
from schema.admin.requests.validation import InputValidation
from schema.context import Info  # noqa: TC001 # as above


@strawberry.type
class _BranchPayload(AdminPayload):
    @strawberry.field(
        description=(
            "The branch as it is now, usually before the operation has done its work. Looked up only if selected; null "
            "if it does not exist, or if the input was invalid."
        ),
        extensions=[WithDeadline()],
    )
    async def database_branch(self, info: Info) -> DatabaseBranch | None:
        """Makes one call to the platform."""
        if self.request is None:
            return None
        wanted = self.request.branch or self.request.branch_change
        instance, name = (
            (wanted.instance_name, wanted.name) if wanted else (self.request.instance_name, self.request.branch_name)
        )
        found = await info.context.lakebase.branch(instance, name) if instance and name else None
        return None if found is None else DatabaseBranch.of(found)


@strawberry.type(description="The outcome of createDatabaseBranch.")
class CreateDatabaseBranchPayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of updateDatabaseBranch.")
class UpdateDatabaseBranchPayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteDatabaseBranch.")
class DeleteDatabaseBranchPayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of undeleteDatabaseBranch.")
class UndeleteDatabaseBranchPayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of restoreDatabase.")
class RestoreDatabasePayload(_BranchPayload):
    """One outcome."""


@strawberry.type(description="The outcome of createDatabaseSnapshot.")
class CreateDatabaseSnapshotPayload(AdminPayload):
    """One outcome."""


@strawberry.type(description="The outcome of deleteDatabaseSnapshot.")
class DeleteDatabaseSnapshotPayload(AdminPayload):
    """One outcome."""


@strawberry.type
class BranchMutations:
    """The admin mutations for the flavour AUTOSCALING. A field that fails is null; the others keep their data."""

    @administers(
        description=(
            "Create a branch of an instance: a copy of another branch, as it is now or was at a moment. It then goes "
            "its own way. If it exists, this succeeds if it was made from the same source."
        )
    )
    async def create_database_branch(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # the argument's name in the schema
            CreateDatabaseBranchInput, strawberry.argument(description="The branch to create.")
        ],
    ) -> CreateDatabaseBranchPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, CreateDatabaseBranchPayload, InputValidation.create_branch, input)

    @administers(description="Protect a branch, change when it expires, or make it the default branch of its instance.")
    async def update_database_branch(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            UpdateDatabaseBranchInput, strawberry.argument(description="Which branch, and what to change.")
        ],
    ) -> UpdateDatabaseBranchPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, UpdateDatabaseBranchPayload, InputValidation.update_branch, input)

    @administers(
        description=(
            "Delete a branch with all of its databases and endpoints. The plan says until when "
            "`undeleteDatabaseBranch` brings it back; `purge` deletes it for good. If there is no such branch, this "
            "succeeds."
        )
    )
    async def delete_database_branch(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteDatabaseBranchInput, strawberry.argument(description="Which branch.")
        ],
    ) -> DeleteDatabaseBranchPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, DeleteDatabaseBranchPayload, InputValidation.delete_branch, input)

    @administers(
        description="Bring back a branch that was deleted and not purged. If it is not deleted, this succeeds."
    )
    async def undelete_database_branch(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            UndeleteDatabaseBranchInput, strawberry.argument(description="Which branch.")
        ],
    ) -> UndeleteDatabaseBranchPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, UndeleteDatabaseBranchPayload, InputValidation.undelete_branch, input)

    @administers(
        description=(
            "Restore an instance to a moment: a branch of that moment, with an endpoint of its own, becomes the "
            "default branch. The present one stays as it is. The plan says what is only there, and what the server's "
            "setting has to become."
        )
    )
    async def restore_database(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            RestoreDatabaseInput, strawberry.argument(description="Which instance, and to when.")
        ],
    ) -> RestoreDatabasePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, RestoreDatabasePayload, InputValidation.restore, input)

    @administers(description="Take a snapshot of a branch, which is billed by its size. If it exists, this succeeds.")
    async def create_database_snapshot(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            CreateDatabaseSnapshotInput, strawberry.argument(description="The snapshot to take.")
        ],
    ) -> CreateDatabaseSnapshotPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, CreateDatabaseSnapshotPayload, InputValidation.create_snapshot, input)

    @administers(description="Delete a snapshot, for good. If there is no such snapshot, this succeeds.")
    async def delete_database_snapshot(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteDatabaseSnapshotInput, strawberry.argument(description="Which snapshot.")
        ],
    ) -> DeleteDatabaseSnapshotPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, DeleteDatabaseSnapshotPayload, InputValidation.delete_snapshot, input)
