"""Fixtures and helpers for stores of operations, as several processes have them on one schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from schema.ports.admin.administration import AdminRequest
from schema.ports.admin.instances import InstanceSpec
from schema.ports.admin.operations import OperationKind, OperationStep
from server.db.database import UrlDatabase
from server.db.engine import create_migration_engine, create_operations_pool
from server.db.migrate import Migrations
from server.lakebase.database.audit_entry import INPUT
from server.lakebase.database.home import Home
from server.lakebase.operations.operation import OperationRecord
from server.lakebase.operations.store import OperationStore
from server.lakebase.operations.table import OperationTable
from tests.server.conftest import patient_settings
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

SCHEMA = "kept_operations"
# Far longer than a test takes: a lease ends only when the test ends it.
LEASE_SECONDS = 10 * PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of LEASE_SECONDS."""
    monkeypatch.setattr("server.lakebase.operations.table.LEASE_SECONDS", LEASE_SECONDS)


def operation(name: str = "one", *, capacity: str = "CU_1") -> OperationRecord:
    """An operation that creates an instance of this name."""
    request = AdminRequest(OperationKind.CREATE_INSTANCE, instance=InstanceSpec(name, capacity))
    resource, facts = f"instance {name}", {INPUT: json.dumps({"name": name}, separators=(",", ":"))}
    return OperationRecord(request, (resource,), [OperationStep("create_instance", resource)], facts, "ada")


@pytest.fixture
async def new_store(orders_url: str, database: asyncpg.Connection) -> AsyncIterator[Callable[[], OperationStore]]:
    """Makes stores as several processes have them, on one schema without operations."""
    settings, url = patient_settings(orders_url), UrlDatabase(orders_url)
    migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
    await migrations.upgrade()
    await database.execute(f"DELETE FROM {SCHEMA}.operation")
    engines = []

    def new() -> OperationStore:
        engines.append(create_operations_pool(settings, url))
        migrations = Migrations(create_migration_engine(settings, url), SCHEMA)
        return OperationStore(OperationTable(engines[-1], SCHEMA, migrations, Home(url, SCHEMA)))

    yield new
    for engine in engines:
        await engine.dispose()


async def lapse(database: asyncpg.Connection, held: OperationRecord) -> None:
    """End a lease, as if its holder had been silent for too long."""
    await database.execute(
        f"UPDATE {SCHEMA}.operation SET lease_ends_at = clock_timestamp() - interval '1 s' WHERE id = $1", held.id
    )


async def silence(database: asyncpg.Connection, held: OperationRecord) -> None:
    """Let the holder of an operation stand still for over an hour."""
    await database.execute(
        f"UPDATE {SCHEMA}.operation SET lease_ends_at = clock_timestamp() - interval '61 min' WHERE id = $1", held.id
    )


async def move(database: asyncpg.Connection, held: OperationRecord, home: str | None) -> None:
    """Write another home into an operation's row, as if this database were a copy of the one where it was begun."""
    await database.execute(f"UPDATE {SCHEMA}.operation SET home = $2 WHERE id = $1", held.id, home)
