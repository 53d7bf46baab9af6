"""The admin mutations. Each checks its input, submits the request, and answers at once with the outcome."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, TypeVar

import strawberry
from strawberry import UNSET

from schema.admin.guard import RequiresAdmin, arguments_as_given, note_refused
from schema.admin.operations import operation_key_of
from schema.admin.payloads import (
    AdminPayload,
    CancelOperationPayload,
    CreateDatabaseCatalogPayload,
    CreateDatabaseInstancePayload,
    CreateSyncedTablePayload,
    DeleteDatabaseCatalogPayload,
    DeleteDatabaseInstancePayload,
    DeleteSyncedTablePayload,
    EnsureOrderIndexesPayload,
    ProvisionLakebasePayload,
    RefreshSyncedTablePayload,
    TeardownLakebasePayload,
    UndeleteDatabaseInstancePayload,
    UpdateDatabaseInstancePayload,
    payload,
)
from schema.admin.requests.inputs import (
    CancelOperationInput,
    CreateDatabaseCatalogInput,
    CreateDatabaseInstanceInput,
    CreateSyncedTableInput,
    DeleteDatabaseCatalogInput,
    DeleteDatabaseInstanceInput,
    DeleteSyncedTableInput,
    EnsureOrderIndexesInput,
    ProvisionLakebaseInput,
    RefreshSyncedTableInput,
    TeardownLakebaseInput,
    UndeleteDatabaseInstanceInput,
    UpdateDatabaseInstanceInput,
)
from schema.admin.requests.validation import InputValidation
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.ports import administration as ports

if TYPE_CHECKING:
    from collections.abc import Callable

InputT = TypeVar("InputT")
PayloadT = TypeVar("PayloadT", bound=AdminPayload)
administers = functools.partial(strawberry.field, extensions=(RequiresAdmin(changes=True),))


@strawberry.type
class AdminMutations:
    """The admin mutations. A field that fails is null; the others keep their data."""

    @administers(
        description=(
            "Create a database instance. If it exists as specified, this succeeds; if it exists with other properties, "
            "this is a SPEC_CONFLICT."
        )
    )
    async def create_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # the argument's name in the schema
            CreateDatabaseInstanceInput, strawberry.argument(description="The instance to create.")
        ],
    ) -> CreateDatabaseInstancePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, CreateDatabaseInstancePayload, InputValidation.create_instance, input)

    @administers(description="Resize a database instance, stop or start it, or change how far back it can be restored.")
    async def update_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            UpdateDatabaseInstanceInput, strawberry.argument(description="Which instance, and what to change.")
        ],
    ) -> UpdateDatabaseInstancePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, UpdateDatabaseInstancePayload, InputValidation.update_instance, input)

    @administers(
        description=(
            "Delete a database instance and all of its databases. The plan says until when `undeleteDatabaseInstance` "
            "can bring them back, if the platform can; `purge` deletes for good. If there is no such instance, this "
            "succeeds."
        )
    )
    async def delete_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteDatabaseInstanceInput, strawberry.argument(description="Which instance.")
        ],
    ) -> DeleteDatabaseInstancePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, DeleteDatabaseInstancePayload, InputValidation.delete_instance, input)

    @administers(
        description=(
            "Bring back a database instance that was deleted and not purged, with all of its databases. If it is not "
            "deleted, this succeeds."
        )
    )
    async def undelete_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            UndeleteDatabaseInstanceInput, strawberry.argument(description="Which instance.")
        ],
    ) -> UndeleteDatabaseInstancePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, UndeleteDatabaseInstancePayload, InputValidation.undelete_instance, input)

    @administers(
        description=(
            "Register a database of an instance in Unity Catalog, and create the database if it does not exist."
        )
    )
    async def create_database_catalog(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            CreateDatabaseCatalogInput, strawberry.argument(description="The catalog to create.")
        ],
    ) -> CreateDatabaseCatalogPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, CreateDatabaseCatalogPayload, InputValidation.create_catalog, input)

    @administers(description="Delete a catalog that registers a database. If it does not exist, this succeeds.")
    async def delete_database_catalog(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteDatabaseCatalogInput, strawberry.argument(description="Which catalog.")
        ],
    ) -> DeleteDatabaseCatalogPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, DeleteDatabaseCatalogPayload, InputValidation.delete_catalog, input)

    @administers(
        description=(
            "Create a synced table: a copy of a source table in PostgreSQL. If it exists as specified, this succeeds; "
            "if it exists with other properties, this is a SPEC_CONFLICT."
        )
    )
    async def create_synced_table(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            CreateSyncedTableInput, strawberry.argument(description="The synced table to create.")
        ],
    ) -> CreateSyncedTablePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, CreateSyncedTablePayload, InputValidation.create_synced_table, input)

    @administers(
        description=(
            "Delete a synced table and its PostgreSQL table. Status changes are kept. If it does not exist, this "
            "succeeds."
        )
    )
    async def delete_synced_table(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteSyncedTableInput, strawberry.argument(description="Which synced table.")
        ],
    ) -> DeleteSyncedTablePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(info, DeleteSyncedTablePayload, InputValidation.delete_synced_table, input)

    @administers(description="Sync a table now. The operation also restores its indexes and grants.")
    async def refresh_synced_table(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            RefreshSyncedTableInput | None,
            strawberry.argument(description="Which synced table; the server's configured one if absent."),
        ] = UNSET,
    ) -> RefreshSyncedTablePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(
            info, RefreshSyncedTablePayload, InputValidation.refresh_synced_table, input or RefreshSyncedTableInput()
        )

    @administers(
        description=(
            "Build the indexes that queries of orders need, if they are missing or invalid. The table stays in use."
        )
    )
    async def ensure_order_indexes(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            EnsureOrderIndexesInput | None,
            strawberry.argument(description="Which synced table; the server's configured one if absent."),
        ] = UNSET,
    ) -> EnsureOrderIndexesPayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(
            info, EnsureOrderIndexesPayload, InputValidation.ensure_order_indexes, input or EnsureOrderIndexesInput()
        )

    @administers(
        description=(
            "Create everything that the API needs, as far as it does not exist: instance, catalog, synced table and "
            "indexes."
        )
    )
    async def provision_lakebase(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            ProvisionLakebaseInput | None,
            strawberry.argument(description="What to create; what the server is configured with if absent."),
        ] = UNSET,
    ) -> ProvisionLakebasePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(
            info, ProvisionLakebasePayload, InputValidation.provision, input or ProvisionLakebaseInput()
        )

    @administers(
        description="Delete synced table, catalog and instance, in this order. What does not exist counts as deleted."
    )
    async def teardown_lakebase(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            TeardownLakebaseInput | None,
            strawberry.argument(description="What to delete; what the server is configured with if absent."),
        ] = UNSET,
    ) -> TeardownLakebasePayload | None:
        """Start the operation; do not wait for it."""
        return await submitted(
            info, TeardownLakebasePayload, InputValidation.teardown, input or TeardownLakebaseInput()
        )

    @administers(
        description=(
            "Cancel an operation: the current step stops at its next look, and no further step begins. What was done "
            "stays, and what the platform has begun continues. An operation that has ended is returned unchanged."
        )
    )
    async def cancel_operation(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            CancelOperationInput, strawberry.argument(description="Which operation.")
        ],
    ) -> CancelOperationPayload | None:
        """Ask for the cancellation; do not wait for the end."""
        outcome = await info.context.lakebase.cancel(
            operation_key_of(input.id), info.context.principal.user, arguments_as_given(info)
        )
        return payload(CancelOperationPayload, None, outcome)


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
