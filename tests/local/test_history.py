"""The past of an embedded PostgreSQL: how far it reaches, and that its disk is bounded."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from server.local import history
from server.local.cluster import Cluster
from server.local.history import History, HistoryError
from tests.servers.platform import platform_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILL = "CREATE TABLE IF NOT EXISTS filled (text text); INSERT INTO filled SELECT repeat('x', 1000) FROM generate_series(1, {})"
_OPTIONS = {"fsync": "off", "full_page_writes": "off"}
_SEGMENT = 16 << 20
_FIRST_SEGMENT = "SELECT count(*) FROM pg_ls_waldir() WHERE name = '000000010000000000000001'"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that PostgreSQL's user can enter."""
    with platform_directory() as directory:
        yield directory


def moment(cluster: Cluster) -> float:
    """The present by PostgreSQL's clock, as Unix time."""
    return datetime.fromisoformat(cluster.run_sql("SELECT clock_timestamp()")).timestamp()


def test_a_long_log_is_given_up_but_for_the_newest_two_backups(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed since the older one can be restored, and nothing before it; the rest of the log is removed."""
    monkeypatch.setattr(history, "_MAX_LOG_BYTES", _SEGMENT)
    original = Cluster(place / "original", options=_OPTIONS, database=None)
    past = History(original)
    original.create()
    past.begin()
    copy = Cluster(place / "copy", options=_OPTIONS, database=None)
    with original:
        original.run_sql(history.RESERVE)
        assert not past.is_long(original.run_sql("SELECT pg_current_wal_lsn()"))
        beginning = moment(original)
        original.run_sql("CHECKPOINT")
        assert original.run_sql(_FIRST_SEGMENT) == "1"
        for _ in range(3):
            original.run_sql(_FILL.format(40_000))
            assert past.is_long(original.run_sql("SELECT pg_current_wal_lsn()"))
            past.extend()
        original.run_sql("CREATE TABLE early ()")
        then = moment(original)
        original.run_sql("CREATE TABLE late (); CHECKPOINT")
        assert len(list((original.home / "backups").iterdir())) == 2
        # The slot no longer keeps the log of the first backup.
        assert original.run_sql(_FIRST_SEGMENT) == "0"
        with pytest.raises(HistoryError, match="does not reach back"):
            past.restore(copy, seconds=beginning)
        past.restore(copy, seconds=then)
    with copy:
        assert copy.run_sql("SELECT to_regclass('early'), to_regclass('late')") == "early|"
        assert copy.run_sql("SELECT count(*) FROM filled") == "120000"
