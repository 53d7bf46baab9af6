"""The admin mutations. Each checks its input, submits the request, and answers at once with the outcome."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import strawberry
from strawberry import UNSET

from schema.admin import payloads
from schema.admin.guard import RequiresAdmin, arguments_as_given, note_refused
from schema.admin.operations import operation_key_of
from schema.admin.payloads import AdminPayload, payload
from schema.admin.requests import branch_inputs, inputs, instance_inputs
from schema.admin.requests.validation import InputValidation
from schema.context import Info
from schema.ports.admin import administration as ports

if TYPE_CHECKING:
    from collections.abc import Callable

InputT = TypeVar("InputT")
PayloadT = TypeVar("PayloadT", bound=AdminPayload)
administers = functools.partial(strawberry.field, extensions=(RequiresAdmin(changes=True),))


def mutation(
    payload_type: type[PayloadT],
    input_type: type[InputT],
    validate: Callable[[InputValidation, InputT], ports.AdminRequest],
    *,
    does: str,
    input_is: str,
    may_be_left_out: bool = False,
) -> Any:
    """A mutation that starts an operation, and does not wait for it.

    Args:
        payload_type: the type of its outcome.
        input_type: the type of its input.
        validate: makes the request of an input, and notes the mistakes.
        does: the description of the mutation.
        input_is: the description of its input.
        may_be_left_out: whether the input may be absent; every field of it has a default then.
    """

    async def start(self: object, info: Info, input: Any) -> Any:  # noqa: A002, ARG001 # the names in the schema and of Strawberry
        return await submitted(info, payload_type, validate, input)

    async def start_without(self: object, info: Info, input: Any = UNSET) -> Any:  # noqa: A002 # as above
        return await start(self, info, input or input_type())

    resolver: Any = start_without if may_be_left_out else start
    input_annotation: Any = input_type | None if may_be_left_out else input_type
    resolver.__annotations__ = {
        "info": Info,
        "input": Annotated[input_annotation, strawberry.argument(description=input_is)],
        "return": payload_type | None,
    }
    return administers(resolver=resolver, description=does)


@strawberry.type
class AdminMutations:
    """The admin mutations. A field that fails is null; the others keep their data."""

    create_database_instance = mutation(
        payloads.CreateDatabaseInstancePayload,
        instance_inputs.CreateDatabaseInstanceInput,
        InputValidation.create_instance,
        does=(
            "Create a database instance. If it exists as specified, this succeeds; if it exists with other properties,"
            " this is a SPEC_CONFLICT."
        ),
        input_is="The instance to create.",
    )

    update_database_instance = mutation(
        payloads.UpdateDatabaseInstancePayload,
        instance_inputs.UpdateDatabaseInstanceInput,
        InputValidation.update_instance,
        does="Resize a database instance, stop or start it, or change how far back it can be restored.",
        input_is="Which instance, and what to change.",
    )

    delete_database_instance = mutation(
        payloads.DeleteDatabaseInstancePayload,
        instance_inputs.DeleteDatabaseInstanceInput,
        InputValidation.delete_instance,
        does=(
            "Delete a database instance and all of its databases. The plan says until when `undeleteDatabaseInstance` "
            "can bring them back, if the platform can; `purge` deletes for good. If there is no such instance, this "
            "succeeds."
        ),
        input_is="Which instance.",
    )

    undelete_database_instance = mutation(
        payloads.UndeleteDatabaseInstancePayload,
        instance_inputs.UndeleteDatabaseInstanceInput,
        InputValidation.undelete_instance,
        does=(
            "Bring back a database instance that was deleted and not purged, with all of its databases. If it is not "
            "deleted, this succeeds."
        ),
        input_is="Which instance.",
    )

    create_database_catalog = mutation(
        payloads.CreateDatabaseCatalogPayload,
        inputs.CreateDatabaseCatalogInput,
        InputValidation.create_catalog,
        does="Register a database of an instance in Unity Catalog, and create the database if it does not exist.",
        input_is="The catalog to create.",
    )

    delete_database_catalog = mutation(
        payloads.DeleteDatabaseCatalogPayload,
        inputs.DeleteDatabaseCatalogInput,
        InputValidation.delete_catalog,
        does="Delete a catalog that registers a database. If it does not exist, this succeeds.",
        input_is="Which catalog.",
    )

    create_synced_table = mutation(
        payloads.CreateSyncedTablePayload,
        inputs.CreateSyncedTableInput,
        InputValidation.create_synced_table,
        does=(
            "Create a synced table: a copy of a source table in PostgreSQL. If it exists as specified, this succeeds; "
            "if it exists with other properties, this is a SPEC_CONFLICT."
        ),
        input_is="The synced table to create.",
    )

    delete_synced_table = mutation(
        payloads.DeleteSyncedTablePayload,
        inputs.DeleteSyncedTableInput,
        InputValidation.delete_synced_table,
        does=(
            "Delete a synced table and its PostgreSQL table. Status changes are kept. If it does not exist, this "
            "succeeds."
        ),
        input_is="Which synced table.",
    )

    refresh_synced_table = mutation(
        payloads.RefreshSyncedTablePayload,
        inputs.RefreshSyncedTableInput,
        InputValidation.refresh_synced_table,
        does="Sync a table now, or all served tables side by side. The operation also restores indexes and grants.",
        input_is="Which synced table; all that the server serves if absent.",
        may_be_left_out=True,
    )

    ensure_indexes = mutation(
        payloads.EnsureIndexesPayload,
        inputs.EnsureIndexesInput,
        InputValidation.ensure_indexes,
        does="Build the indexes that queries need, if they are missing or invalid. The tables stay in use.",
        input_is="Which synced table; all that the server serves if absent.",
        may_be_left_out=True,
    )

    provision_lakebase = mutation(
        payloads.ProvisionLakebasePayload,
        inputs.ProvisionLakebaseInput,
        InputValidation.provision,
        does=(
            "Create everything that the API needs, as far as it does not exist: instance, catalog, synced tables and "
            "indexes. Orders are served as soon as they are there, while the other tables are synced side by side."
        ),
        input_is="What to create; what the server is configured with if absent.",
        may_be_left_out=True,
    )

    teardown_lakebase = mutation(
        payloads.TeardownLakebasePayload,
        inputs.TeardownLakebaseInput,
        InputValidation.teardown,
        does="Delete synced tables, catalog and instance, in this order. What does not exist counts as deleted.",
        input_is="What to delete; what the server is configured with if absent.",
        may_be_left_out=True,
    )

    @administers(
        description=(
            "Cancel an operation: the current step stops at its next look, and no further step begins. What was done "
            "stays, and what the platform has begun continues. An operation that has ended is returned unchanged."
        ),
    )
    async def cancel_operation(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            inputs.CancelOperationInput, strawberry.argument(description="Which operation.")
        ],
    ) -> payloads.CancelOperationPayload | None:
        """Ask for the cancellation; do not wait for the end."""
        outcome = await info.context.lakebase.cancel(
            operation_key_of(input.id), info.context.principal.user, arguments_as_given(info)
        )
        return payload(payloads.CancelOperationPayload, None, outcome)

    create_database_branch = mutation(
        payloads.CreateDatabaseBranchPayload,
        branch_inputs.CreateDatabaseBranchInput,
        InputValidation.create_branch,
        does=(
            "Create a branch of an instance: a copy of another branch, as it is now or was at a moment. It then goes "
            "its own way. If it exists, this succeeds if it was made from the same source."
        ),
        input_is="The branch to create.",
    )

    update_database_branch = mutation(
        payloads.UpdateDatabaseBranchPayload,
        branch_inputs.UpdateDatabaseBranchInput,
        InputValidation.update_branch,
        does="Protect a branch, change when it expires, or make it the default branch of its instance.",
        input_is="Which branch, and what to change.",
    )

    delete_database_branch = mutation(
        payloads.DeleteDatabaseBranchPayload,
        branch_inputs.DeleteDatabaseBranchInput,
        InputValidation.delete_branch,
        does=(
            "Delete a branch with all of its databases and endpoints. The plan says until when "
            "`undeleteDatabaseBranch` brings it back; `purge` deletes it for good. If there is no such branch, this "
            "succeeds."
        ),
        input_is="Which branch.",
    )

    undelete_database_branch = mutation(
        payloads.UndeleteDatabaseBranchPayload,
        branch_inputs.UndeleteDatabaseBranchInput,
        InputValidation.undelete_branch,
        does="Bring back a branch that was deleted and not purged. If it is not deleted, this succeeds.",
        input_is="Which branch.",
    )

    restore_database = mutation(
        payloads.RestoreDatabasePayload,
        branch_inputs.RestoreDatabaseInput,
        InputValidation.restore,
        does=(
            "Restore an instance to a moment: a branch of that moment, with an endpoint of its own, becomes the "
            "default branch. The present one stays as it is. The plan says what is only there, and what the server's "
            "setting has to become."
        ),
        input_is="Which instance, and to when.",
    )

    create_database_snapshot = mutation(
        payloads.CreateDatabaseSnapshotPayload,
        branch_inputs.CreateDatabaseSnapshotInput,
        InputValidation.create_snapshot,
        does="Take a snapshot of a branch, which is billed by its size. If it exists, this succeeds.",
        input_is="The snapshot to take.",
    )

    delete_database_snapshot = mutation(
        payloads.DeleteDatabaseSnapshotPayload,
        branch_inputs.DeleteDatabaseSnapshotInput,
        InputValidation.delete_snapshot,
        does="Delete a snapshot, for good. If there is no such snapshot, this succeeds.",
        input_is="Which snapshot.",
    )


async def submitted(
    info: Info,
    kind: type[PayloadT],
    validate: Callable[[InputValidation, InputT], ports.AdminRequest],
    input_: InputT,
) -> PayloadT:
    """The payload of a mutation: its input is checked, and its request submitted if there is no mistake."""
    lakebase = info.context.lakebase
    validation = InputValidation(lakebase.configured)
    request = validate(validation, input_)
    if not validation.mistakes:
        outcome = await lakebase.submit(request, info.context.principal.user, arguments_as_given(info))
        return payload(kind, request, outcome)
    for reason in dict.fromkeys(mistake.reason for mistake in validation.mistakes):
        await note_refused(info, reason)
    return payload(kind, None, ports.AdminOutcome(refusals=validation.mistakes))
