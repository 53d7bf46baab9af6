"""The enums of the admin schema: states and sizes of instances."""

from __future__ import annotations

from enum import Enum
from typing import Final

import strawberry

from schema.ports.admin import instances as instance_ports

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
