"""Administration by the Postgres API (`w.postgres`), which Databricks recommends."""

from __future__ import annotations

from server.lakebase.platform.autoscaling.branches import BranchCalls
from server.lakebase.platform.autoscaling.tables import TableCalls


class AutoscalingPlatform(TableCalls, BranchCalls):
    """The `Platform` of the flavour AUTOSCALING.

    Its mutations return the names of the platform's operations. They are never waited for: the reads show what is.
    """
