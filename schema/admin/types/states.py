"""The enums of the admin schema: states, sizes and policies of instances and synced tables."""

from __future__ import annotations

from enum import Enum
from typing import Final

import strawberry

from schema.ports.admin import instances as instance_ports
from schema.ports.admin import tables as table_ports

_UNKNOWN: Final = "A state of the platform that this API does not know. It is not a failure."


@strawberry.enum(description="The state of a database instance.")
class DatabaseInstanceState(Enum):
    """Each value is the port's enum member."""

    STARTING = strawberry.enum_value(
        instance_ports.InstanceState.STARTING, description="It is being created or started."
    )
    AVAILABLE = strawberry.enum_value(instance_ports.InstanceState.AVAILABLE, description="It accepts connections.")
    UPDATING = strawberry.enum_value(
        instance_ports.InstanceState.UPDATING, description="It is being resized or otherwise changed."
    )
    FAILING_OVER = strawberry.enum_value(
        instance_ports.InstanceState.FAILING_OVER, description="Another node is taking over from the primary."
    )
    STOPPED = strawberry.enum_value(
        instance_ports.InstanceState.STOPPED,
        description="It accepts no connections until `updateDatabaseInstance` starts it.",
    )
    DELETING = strawberry.enum_value(instance_ports.InstanceState.DELETING, description="It is being deleted.")
    DELETED = strawberry.enum_value(
        instance_ports.InstanceState.DELETED,
        description="It is deleted and keeps its name: until `purgeAt`, `undeleteDatabaseInstance` brings it back.",
    )
    UNKNOWN = strawberry.enum_value(instance_ports.InstanceState.UNKNOWN, description=_UNKNOWN)


@strawberry.enum(description="The API of the platform that an instance is administered by.")
class InstanceFlavour(Enum):
    """Each value is the port's enum member."""

    AUTOSCALING = strawberry.enum_value(
        instance_ports.Flavour.AUTOSCALING,
        description="The Postgres API: a project with branches and endpoints. Its default branch is the instance.",
    )
    PROVISIONED = strawberry.enum_value(
        instance_ports.Flavour.PROVISIONED, description="The Database Instance API, which is legacy."
    )


@strawberry.enum(
    description="The size of an instance of the Provisioned API, in compute units. The cost is proportional to it."
)
class InstanceCapacity(Enum):
    """A value is the platform's name of the size."""

    CU_1 = strawberry.enum_value("CU_1", description="One compute unit.")
    CU_2 = strawberry.enum_value("CU_2", description="Two compute units.")
    CU_4 = strawberry.enum_value("CU_4", description="Four compute units.")
    CU_8 = strawberry.enum_value("CU_8", description="Eight compute units.")


@strawberry.enum(description="The state of a synced table and its pipeline.")
class SyncedTableState(Enum):
    """Each value is the port's enum member."""

    PROVISIONING = strawberry.enum_value(table_ports.SyncState.PROVISIONING, description="It is being created.")
    PROVISIONING_PIPELINE_RESOURCES = strawberry.enum_value(
        table_ports.SyncState.PROVISIONING_PIPELINE_RESOURCES, description="Its pipeline is waiting for compute."
    )
    PROVISIONING_INITIAL_SNAPSHOT = strawberry.enum_value(
        table_ports.SyncState.PROVISIONING_INITIAL_SNAPSHOT,
        description="The source is being copied for the first time.",
    )
    ONLINE = strawberry.enum_value(table_ports.SyncState.ONLINE, description="It can be read.")
    ONLINE_NO_PENDING_UPDATE = strawberry.enum_value(
        table_ports.SyncState.ONLINE_NO_PENDING_UPDATE, description="It can be read. No sync is running."
    )
    ONLINE_UPDATING_PIPELINE_RESOURCES = strawberry.enum_value(
        table_ports.SyncState.ONLINE_UPDATING_PIPELINE_RESOURCES,
        description="It can be read. The pipeline of the next sync is waiting for compute.",
    )
    ONLINE_TRIGGERED_UPDATE = strawberry.enum_value(
        table_ports.SyncState.ONLINE_TRIGGERED_UPDATE, description="It can be read. A sync is running."
    )
    ONLINE_CONTINUOUS_UPDATE = strawberry.enum_value(
        table_ports.SyncState.ONLINE_CONTINUOUS_UPDATE,
        description="It can be read. It follows its source continuously.",
    )
    ONLINE_PIPELINE_FAILED = strawberry.enum_value(
        table_ports.SyncState.ONLINE_PIPELINE_FAILED,
        description="It can be read, as of the last successful sync. The latest sync has failed.",
    )
    OFFLINE = strawberry.enum_value(table_ports.SyncState.OFFLINE, description="It cannot be read.")
    OFFLINE_FAILED = strawberry.enum_value(
        table_ports.SyncState.OFFLINE_FAILED, description="It cannot be read, because its first sync has failed."
    )
    UNKNOWN = strawberry.enum_value(table_ports.SyncState.UNKNOWN, description=_UNKNOWN)


@strawberry.enum(description="When a synced table is updated from its source.")
class SyncPolicy(Enum):
    """Each value is the port's enum member."""

    SNAPSHOT = strawberry.enum_value(
        table_ports.SyncPolicy.SNAPSHOT,
        description="On request (`refreshSyncedTable`), by copying the whole source.",
    )
    TRIGGERED = strawberry.enum_value(
        table_ports.SyncPolicy.TRIGGERED,
        description="On request, by copying only what has changed. The source needs a change data feed.",
    )
    CONTINUOUS = strawberry.enum_value(
        table_ports.SyncPolicy.CONTINUOUS,
        description="Continuously: the pipeline always runs, and costs money. The source needs a change data feed.",
    )
