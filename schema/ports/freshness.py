"""The port of freshness: when the synced rows of a table were copied from their source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from schema.ports.admin.tables import SyncPolicy, SyncState
    from schema.ports.columns import Table


@dataclass(frozen=True, slots=True)
class SyncedAsOf:
    """The last completed sync of a table, and what its pipeline does now. What the platform does not tell is None."""

    synced_at: datetime | None
    source_committed_at: datetime | None
    source_version: int | None
    state: SyncState
    policy: SyncPolicy | None


class FreshnessSource(Protocol):
    """Knows how fresh the served tables are."""

    def of(self, table: Table) -> SyncedAsOf | None:
        """What is known of a table's syncs; None if nothing is. It returns at once, and never fails."""
