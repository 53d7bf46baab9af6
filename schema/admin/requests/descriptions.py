"""Descriptions that several inputs of the admin mutations share."""

CAPACITY = "The size of an instance of the Provisioned API, which determines its cost."
AUTOSCALING = "The size of an instance of the Autoscaling API, which determines its cost. Not together with `capacity`."
NODE_COUNT = "The number of nodes, from 1 to 3: the primary and its secondaries. Each node costs the same."
READABLE_SECONDARIES = "Whether the secondaries answer reads. This needs at least two nodes."
RETENTION = "How many days back the instance can be restored: from 2 to 35."
IF_ABSENT = "If absent: the value of the existing resource, or {} for a new one."
DRY_RUN = "Change nothing, and return the plan: the steps, what already exists, and what would change."
ACKNOWLEDGE_COST = "Must be `true` if the plan says that this costs money from then on."
CONFIRM_DELETION = "Must be `true` to delete. Only the plan says whether a deletion can be undone."
DISCARD = "Must be `true` to delete the only copy of status changes. The plan counts them; `export-changes` saves them."
PURGE = (
    "`true` deletes the instance for good. `false` keeps it for some days, if the platform can: the plan says until "
    "when `undeleteDatabaseInstance` brings it back. An instance of the Provisioned API is always deleted for good."
)
