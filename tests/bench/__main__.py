"""`make bench`: one run against a PostgreSQL of its own with fsync on, and the report."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import sys
from typing import TYPE_CHECKING, Final

from server.local.cluster import Cluster, ClusterError
from server.local.platform.tables.sources import GeneratorError
from tests.bench.measuring import BenchError
from tests.bench.options import options
from tests.bench.plot import plot
from tests.bench.report import report
from tests.bench.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WRONG_OPTIONS: Final = 2
# The pools of all servers together exceed PostgreSQL's default limit.
_OPTIONS: Final = {"max_connections": "200"}


def main() -> int:
    """Measure, write the report, and return the exit code."""
    try:
        chosen = options()
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG_OPTIONS
    # SIGINT too: a process that a shell starts in the background ignores it by default.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _only_one(chosen.directory), Cluster(chosen.directory / "postgres", options=_OPTIONS) as cluster:
            results = run(cluster, chosen)
            if reason := plot(results.with_targets(), chosen.directory / "report.png"):
                results.measured.not_run.append(f"the plot: {reason}")
            text = report(cluster, chosen, results)
    except KeyboardInterrupt:
        return 1
    except FileNotFoundError as error:
        sys.stderr.write(f"{error.filename} is missing: run `make setup`.\n")
        return 1
    except (BenchError, ClusterError, GeneratorError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    (chosen.directory / "report.md").write_text(text)
    sys.stdout.write(f"{text}\nWritten to {chosen.directory / 'report.md'}; the plot is report.png beside it.\n")
    return 0


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Lock the directory, because another run would stop this run's PostgreSQL.

    Raises:
        BenchError: another run holds the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"Another run uses {directory}. Wait for it, or set LOCAL_DIR.") from None
        yield


if __name__ == "__main__":
    sys.exit(main())
