"""The server's own tables, for SQLAlchemy: the overlay of statuses, the history of changes, recorded outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

# One channel for all schemas: its name has no room for a schema's, which may be as long. The payload is the schema.
CHANNEL: Final = "order_status_change"


@dataclass(frozen=True, slots=True)
class ChangeTables:
    """The tables in one schema. The migrations hold their SQL."""

    schema: str
    status: sa.Table
    change: sa.Table
    idempotency: sa.Table


def quoted(identifier: str) -> str:
    """Quote an identifier for a statement."""
    return '"' + identifier.replace('"', '""') + '"'


def change_tables(schema: str) -> ChangeTables:
    """The tables of a schema, whether they exist or not."""
    metadata = sa.MetaData(schema=schema)
    moment = TIMESTAMP(timezone=True)
    return ChangeTables(
        schema,
        status=sa.Table(
            "order_status",
            metadata,
            sa.Column("o_orderkey", sa.BigInteger(), primary_key=True),
            sa.Column("status", sa.Text()),
            sa.Column("version", sa.Integer()),
            sa.Column("synced_status", sa.Text()),
            sa.Column("updated_by", sa.Text()),
            sa.Column("updated_at", moment),
        ),
        change=sa.Table(
            "order_status_change",
            metadata,
            sa.Column("id", sa.BigInteger(), primary_key=True),
            sa.Column("o_orderkey", sa.BigInteger()),
            sa.Column("previous_status", sa.Text()),
            sa.Column("status", sa.Text()),
            sa.Column("cleared", sa.Boolean()),
            sa.Column("synced_status", sa.Text()),
            sa.Column("version", sa.Integer()),
            sa.Column("changed_by", sa.Text()),
            sa.Column("changed_at", moment),
            sa.Column("note", sa.Text()),
        ),
        idempotency=sa.Table(
            "idempotency",
            metadata,
            sa.Column("principal", sa.Text(), primary_key=True),
            sa.Column("key", UUID(), primary_key=True),
            sa.Column("request_hash", sa.LargeBinary()),
            sa.Column("outcome", JSONB()),
            sa.Column("created_at", moment),
        ),
    )
