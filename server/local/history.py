"""The past of a PostgreSQL server: base backups and the log since, from which an earlier state is restored."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from server.local.installation import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.local.cluster import Cluster

# The server keeps its log from the older backup on. With two backups the past never shrinks to nothing.
_MOST_BACKUPS = 2
_MAX_LOG_BYTES = 512 << 20
# Lets a running server keep its log from now on.
RESERVE = """
SELECT pg_create_physical_replication_slot('history', true)
WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'history')
"""
_NAME = re.compile(r"(\d+)-([0-9A-F]+)")
_OVER_TOO_EARLY = "recovery ended before configured recovery target was reached"


class HistoryError(ClusterError):
    """The log does not have what was asked for."""


@dataclass(frozen=True)
class Backup:
    """A base backup: its directory, and the time (Unix, in milliseconds) and position in the log of its end."""

    directory: Path
    milliseconds: int
    lsn: int


class History:
    """The past of a cluster, from its first backup or the older of its newest two on.

    A backup is made before the first start, and again after every 512 MB of log. The log is the server's own: a
    replication slot keeps it from the older backup on.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._home = cluster.home / "backups"

    @property
    def earliest(self) -> float | None:
        """The earliest time that can be restored, as Unix time; None without a backup."""
        return min((backup.milliseconds / 1000 for backup in self._backups()), default=None)

    @property
    def earliest_lsn(self) -> int | None:
        """The earliest position in the log that can be restored; None without a backup."""
        return min((backup.lsn for backup in self._backups()), default=None)

    def begin(self) -> None:
        """Make the first backup, of a server that has data and is not running, unless there is one."""
        if not any(self._backups()):
            self._keep(self._cluster.copy_data(self._scratch()), self._cluster.checkpoint_lsn())

    def is_long(self, lsn: str) -> bool:
        """Whether the log from the newest backup to this position, the current one, is so long that another is due."""
        newest = max((backup.lsn for backup in self._backups()), default=None)
        return newest is not None and parse_lsn(lsn) >= newest + _MAX_LOG_BYTES

    def extend(self) -> None:
        """Make another backup of the running server, and give up the oldest."""
        made = self._scratch()
        self._cluster.back_up(made)
        self._keep(made, self._cluster.run_sql("SELECT pg_current_wal_lsn()"))
        backups = sorted(self._backups(), key=lambda backup: backup.lsn)
        for old in backups[:-_MOST_BACKUPS]:
            shutil.rmtree(old.directory)
        start = _backup_start(backups[-_MOST_BACKUPS])
        self._cluster.run_sql(
            f"SELECT pg_replication_slot_advance('history', '{start}') FROM pg_replication_slots"  # noqa: S608 # from the backup's own label
            f" WHERE slot_name = 'history' AND restart_lsn < '{start}'"
        )

    def restore(self, target: Cluster, *, seconds: float | None = None, lsn: str | None = None) -> None:
        """Create the data of another cluster as this one's were at a time (Unix time), or at a position in the log.

        Raises:
            HistoryError: the log does not reach back so far, or ends before the position.
            ClusterError: the restore failed.
        """
        if seconds is not None:
            found = [backup for backup in self._backups() if backup.milliseconds / 1000 <= seconds]
            goal = f"recovery_target_time = '{datetime.fromtimestamp(seconds, UTC).isoformat()}'"
        else:
            found = [backup for backup in self._backups() if backup.lsn <= parse_lsn(str(lsn))]
            goal = f"recovery_target_lsn = '{lsn}'"
        if not found:
            raise HistoryError("the log does not reach back so far")
        newest = max(found, key=lambda backup: backup.lsn).directory
        is_running = self._cluster.running()
        if is_running:
            # The recovery finds the target only if a commit follows that is on disk.
            self._cluster.run_sql("SET synchronous_commit = on; SELECT pg_logical_emit_message(true, '', '')")
        try:
            target.recover(newest, self._cluster, goal)
        except ClusterError as error:
            # Nothing was committed after the target, so the target is the end of the log, which grows no longer.
            if _OVER_TOO_EARLY not in str(error):
                raise
            if lsn is not None:
                raise HistoryError(f"the log ends before {lsn}") from None
            if is_running:
                raise
            target.recover(newest, self._cluster, "")

    def _scratch(self) -> Path:
        self._home.mkdir(exist_ok=True)
        for unfinished in self._home.glob("data.*"):
            shutil.rmtree(unfinished)
        return self._cluster.scratch(self._home)

    def _keep(self, made: Path, lsn: str) -> None:
        # After the backup has ended, so that it can be restored at this time.
        made.rename(self._home / f"{time.time_ns() // 1_000_000}-{parse_lsn(lsn):X}")

    def _backups(self) -> Iterator[Backup]:
        for directory in self._home.glob("*-*"):
            if parts := _NAME.fullmatch(directory.name):
                yield Backup(directory, int(parts[1]), int(parts[2], 16))


def parse_lsn(text: str) -> int:
    """A position in the log, such as 16/B374D848, as a number.

    Raises:
        ValueError: it is none.
    """
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _backup_start(backup: Backup) -> str:
    """The position from which a backup needs the log."""
    label = backup.directory / "backup_label"
    if label.exists() and (found := re.search(r"START WAL LOCATION: (\S+)", label.read_text())):
        return found[1]
    return f"{backup.lsn >> 32:X}/{backup.lsn & 0xFFFFFFFF:X}"
