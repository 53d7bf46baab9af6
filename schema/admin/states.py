"""Owns the words for what instances and synced tables are and do: the enums of the admin schema."""

from __future__ import annotations

from enum import Enum
from typing import Final

import strawberry

from schema.ports import administration as ports

_UNKNOWN: Final = "A word of the platform's that is not known here. It is not a failure."


@strawberry.enum(description="What a database instance is doing.")
class DatabaseInstanceState(Enum):
    """A value is the port's."""

    STARTING = strawberry.enum_value(ports.InstanceState.STARTING, description="It is being made, or started.")
    AVAILABLE = strawberry.enum_value(ports.InstanceState.AVAILABLE, description="It takes connections.")
    UPDATING = strawberry.enum_value(ports.InstanceState.UPDATING, description="It is being resized, or the like.")
    FAILING_OVER = strawberry.enum_value(
        ports.InstanceState.FAILING_OVER, description="Another node is taking over from the primary."
    )
    STOPPED = strawberry.enum_value(
        ports.InstanceState.STOPPED,
        description="It takes no connections until it is started by `updateDatabaseInstance`.",
    )
    DELETING = strawberry.enum_value(ports.InstanceState.DELETING, description="It is being deleted.")
    UNKNOWN = strawberry.enum_value(ports.InstanceState.UNKNOWN, description=_UNKNOWN)


@strawberry.enum(description="The size of a database instance, in compute units. Each costs as many times the first.")
class InstanceCapacity(Enum):
    """A value is the platform's word."""

    CU_1 = strawberry.enum_value("CU_1", description="One compute unit.")
    CU_2 = strawberry.enum_value("CU_2", description="Two compute units.")
    CU_4 = strawberry.enum_value("CU_4", description="Four compute units.")
    CU_8 = strawberry.enum_value("CU_8", description="Eight compute units.")


@strawberry.enum(description="What a synced table is doing, as far as its pipeline has come.")
class SyncedTableState(Enum):
    """A value is the port's."""

    PROVISIONING = strawberry.enum_value(ports.SyncState.PROVISIONING, description="It is being made.")
    PROVISIONING_PIPELINE_RESOURCES = strawberry.enum_value(
        ports.SyncState.PROVISIONING_PIPELINE_RESOURCES, description="Its pipeline waits for compute."
    )
    PROVISIONING_INITIAL_SNAPSHOT = strawberry.enum_value(
        ports.SyncState.PROVISIONING_INITIAL_SNAPSHOT, description="The source is copied for the first time."
    )
    ONLINE = strawberry.enum_value(ports.SyncState.ONLINE, description="It can be read.")
    ONLINE_NO_PENDING_UPDATE = strawberry.enum_value(
        ports.SyncState.ONLINE_NO_PENDING_UPDATE, description="It can be read, and no sync is under way."
    )
    ONLINE_UPDATING_PIPELINE_RESOURCES = strawberry.enum_value(
        ports.SyncState.ONLINE_UPDATING_PIPELINE_RESOURCES,
        description="It can be read; the pipeline of the next sync waits for compute.",
    )
    ONLINE_TRIGGERED_UPDATE = strawberry.enum_value(
        ports.SyncState.ONLINE_TRIGGERED_UPDATE, description="It can be read, and a sync is under way."
    )
    ONLINE_CONTINUOUS_UPDATE = strawberry.enum_value(
        ports.SyncState.ONLINE_CONTINUOUS_UPDATE, description="It can be read, and follows its source all the time."
    )
    ONLINE_PIPELINE_FAILED = strawberry.enum_value(
        ports.SyncState.ONLINE_PIPELINE_FAILED,
        description="It can be read as it was last synced; the last sync has failed.",
    )
    OFFLINE = strawberry.enum_value(ports.SyncState.OFFLINE, description="It cannot be read.")
    OFFLINE_FAILED = strawberry.enum_value(
        ports.SyncState.OFFLINE_FAILED, description="It cannot be read: its first sync has failed."
    )
    UNKNOWN = strawberry.enum_value(ports.SyncState.UNKNOWN, description=_UNKNOWN)


@strawberry.enum(description="When a synced table is brought up to date with its source.")
class SyncPolicy(Enum):
    """A value is the port's."""

    SNAPSHOT = strawberry.enum_value(
        ports.SyncPolicy.SNAPSHOT,
        description="When it is told to (`refreshSyncedTable`), by copying all of the source.",
    )
    TRIGGERED = strawberry.enum_value(
        ports.SyncPolicy.TRIGGERED,
        description="When it is told to, by copying what has changed. The source needs a change data feed.",
    )
    CONTINUOUS = strawberry.enum_value(
        ports.SyncPolicy.CONTINUOUS,
        description="All the time, by a pipeline that never ends, and costs. The source needs a change data feed.",
    )
