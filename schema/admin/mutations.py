"""Owns the admin mutations: each checks its input, hands it on, and answers at once with what became of it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, TypeVar

import strawberry
from strawberry import UNSET

from schema.admin.guard import Administers, note_refused
from schema.admin.inputs import (
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
    UpdateDatabaseInstanceInput,
)
from schema.admin.payloads import (
    AdminPayload,
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
    UpdateDatabaseInstancePayload,
    payload,
)
from schema.admin.validation import Checks
from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.ports import administration as ports

if TYPE_CHECKING:
    from collections.abc import Callable

InputT = TypeVar("InputT")
PayloadT = TypeVar("PayloadT", bound=AdminPayload)
_administers = functools.partial(strawberry.field, extensions=(Administers(changes=True),))


@strawberry.type
class AdminMutations:
    """The root fields that administer. A field that fails is null and leaves the others alone."""

    @_administers(
        description=(
            "Make a database instance. The same again finds it; one of that name that is otherwise is a SPEC_CONFLICT."
        )
    )
    async def create_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # the argument's name in the schema
            CreateDatabaseInstanceInput, strawberry.argument(description="The instance as it is wanted.")
        ],
    ) -> CreateDatabaseInstancePayload | None:
        """Answers at once."""
        return await _answer(info, CreateDatabaseInstancePayload, Checks.create_instance, input)

    @_administers(description="Resize a database instance, stop or start it, or change how it keeps its past.")
    async def update_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            UpdateDatabaseInstanceInput, strawberry.argument(description="Which instance, and what is to be otherwise.")
        ],
    ) -> UpdateDatabaseInstancePayload | None:
        """Answers at once."""
        return await _answer(info, UpdateDatabaseInstancePayload, Checks.update_instance, input)

    @_administers(
        description=(
            "Delete a database instance with all of its databases, for good. One that is not there is a success."
        )
    )
    async def delete_database_instance(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteDatabaseInstanceInput, strawberry.argument(description="Which instance.")
        ],
    ) -> DeleteDatabaseInstancePayload | None:
        """Answers at once."""
        return await _answer(info, DeleteDatabaseInstancePayload, Checks.delete_instance, input)

    @_administers(
        description=(
            "Register a database of an instance in Unity Catalog, and make the database where it is not there."
        )
    )
    async def create_database_catalog(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            CreateDatabaseCatalogInput, strawberry.argument(description="The catalog as it is wanted.")
        ],
    ) -> CreateDatabaseCatalogPayload | None:
        """Answers at once."""
        return await _answer(info, CreateDatabaseCatalogPayload, Checks.create_catalog, input)

    @_administers(description="Delete a catalog that registers a database. One that is not there is a success.")
    async def delete_database_catalog(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteDatabaseCatalogInput, strawberry.argument(description="Which catalog.")
        ],
    ) -> DeleteDatabaseCatalogPayload | None:
        """Answers at once."""
        return await _answer(info, DeleteDatabaseCatalogPayload, Checks.delete_catalog, input)

    @_administers(
        description=(
            "Have a table copied into PostgreSQL. The same again finds it; one of that name that is otherwise is "
            "a SPEC_CONFLICT."
        )
    )
    async def create_synced_table(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            CreateSyncedTableInput, strawberry.argument(description="The synced table as it is wanted.")
        ],
    ) -> CreateSyncedTablePayload | None:
        """Answers at once."""
        return await _answer(info, CreateSyncedTablePayload, Checks.create_synced_table, input)

    @_administers(
        description=(
            "Delete a synced table and its PostgreSQL table. Status changes stay. One that is not there is a success."
        )
    )
    async def delete_synced_table(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            DeleteSyncedTableInput, strawberry.argument(description="Which synced table.")
        ],
    ) -> DeleteSyncedTablePayload | None:
        """Answers at once."""
        return await _answer(info, DeleteSyncedTablePayload, Checks.delete_synced_table, input)

    @_administers(
        description=("Bring a synced table up to date now. It ends with its indexes and grants back in place.")
    )
    async def refresh_synced_table(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            RefreshSyncedTableInput | None,
            strawberry.argument(description="Which synced table; the one that the server is set to where absent."),
        ] = UNSET,
    ) -> RefreshSyncedTablePayload | None:
        """Answers at once."""
        return await _answer(
            info, RefreshSyncedTablePayload, Checks.refresh_synced_table, input or RefreshSyncedTableInput()
        )

    @_administers(
        description=(
            "Build the indexes that orders are read by, where they are missing or broken, while the table is in use."
        )
    )
    async def ensure_order_indexes(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            EnsureOrderIndexesInput | None,
            strawberry.argument(description="Which synced table; the one that the server is set to where absent."),
        ] = UNSET,
    ) -> EnsureOrderIndexesPayload | None:
        """Answers at once."""
        return await _answer(
            info, EnsureOrderIndexesPayload, Checks.ensure_order_indexes, input or EnsureOrderIndexesInput()
        )

    @_administers(
        description=(
            "Make all that the API stands on, as far as it is not there: instance, catalog, synced table and indexes."
        )
    )
    async def provision_lakebase(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            ProvisionLakebaseInput | None,
            strawberry.argument(description="What to make; what the server is set to where absent."),
        ] = UNSET,
    ) -> ProvisionLakebasePayload | None:
        """Answers at once."""
        return await _answer(info, ProvisionLakebasePayload, Checks.provision, input or ProvisionLakebaseInput())

    @_administers(
        description=("Delete synced table, catalog and instance, in this order. What is not there counts as deleted.")
    )
    async def teardown_lakebase(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            TeardownLakebaseInput | None,
            strawberry.argument(description="What to delete; what the server is set to where absent."),
        ] = UNSET,
    ) -> TeardownLakebasePayload | None:
        """Answers at once."""
        return await _answer(info, TeardownLakebasePayload, Checks.teardown, input or TeardownLakebaseInput())


async def _answer(
    info: Info,
    kind: type[PayloadT],
    check: Callable[[Checks, InputT], ports.AdminRequest],
    asked: InputT,
) -> PayloadT:
    lakebase = info.context.lakebase
    checks = Checks(lakebase.configured)
    request = check(checks, asked)
    if not checks.mistakes:
        return payload(kind, request, await lakebase.submit(request, info.context.principal.user))
    for reason in dict.fromkeys(mistake.reason for mistake in checks.mistakes):
        await note_refused(info, reason)
    return payload(kind, None, ports.AdminOutcome(refusals=checks.mistakes))
