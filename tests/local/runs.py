"""Runs of `make run`, without make, with fast settings."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx
import psutil

from tests.servers.process import PATIENCE_SECONDS, PATIENT, ROOT, environment, free_port, wait_for
from tests.support.terminal import in_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.terminal import Terminal

_COUNT = "{ orderCount { count } }"
# Fast settings of the server and the platform. A test's data need not survive a crash of the machine.
QUICK = {
    **PATIENT,
    "LOCAL_START_DELAY": "0",
    "LOCAL_PROVISIONING_DELAY": "0",
    "LOCAL_RESOURCES_DELAY": "0",
    "LOCAL_SNAPSHOT_DELAY": "0",
    # The generator takes a second to start, so its output is shared with other tests.
    "LOCAL_SOURCES": str(Path(tempfile.gettempdir()) / f"lakebase-orders-sources-{os.getuid()}"),
    "LOCAL_PG_OPTIONS": json.dumps({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
}


@dataclass(frozen=True)
class Run:
    """A run in progress."""

    process: subprocess.Popen[bytes]
    url: str
    output: Callable[[], str]
    started: str

    def ask(self, document: str) -> dict[str, Any]:
        """The answer to a document."""
        answer: dict[str, Any] = httpx.post(f"{self.url}/api/graphql", json={"query": document}).json()
        return answer

    def count(self) -> int:
        """The number of orders it serves."""
        return int(self.ask(_COUNT)["data"]["orderCount"]["count"])


@dataclass(frozen=True)
class PlatformCall:
    """A call of the platform's API."""

    method: str
    path: str


def launched(output: int | IO[bytes], **settings: str) -> subprocess.Popen[bytes]:
    """Start a run."""
    return subprocess.Popen(
        [sys.executable, "-m", "server.local"],
        cwd=ROOT,
        env=environment(**{**QUICK, **settings}),
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def refused(**settings: str) -> subprocess.CompletedProcess[str]:
    """The output and exit code of a run that stops by itself."""
    return subprocess.run(
        [sys.executable, "-m", "server.local"],
        cwd=ROOT,
        env=environment(**{**QUICK, **settings}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


@contextlib.contextmanager
def running(directory: Path, *, scale: str = "0.001", **settings: str) -> Iterator[Run]:
    """A run that is ready."""
    port, started = free_port(), datetime.now(UTC).isoformat()
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log:
        process = launched(log, LOCAL_DIR=str(directory), SCALE=scale, PORT=str(port), **settings)
        run = Run(process, f"http://127.0.0.1:{port}", lambda: Path(log.name).read_text(), started)
        try:
            wait_for(
                lambda: "Press Ctrl-C" in run.output(), what=run.output, given_up=lambda: process.poll() is not None
            )
            yield run
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def running_in_terminal(directory: Path) -> Iterator[tuple[Run, Terminal]]:
    """A run in a terminal that is ready."""
    port, started = free_port(), datetime.now(UTC).isoformat()
    env = environment(**{**QUICK, "LOCAL_DIR": str(directory), "SCALE": "0.001", "PORT": str(port)})
    command = [sys.executable, "-m", "server.local"]
    with in_terminal(command, ROOT, env, seconds=PATIENCE_SECONDS) as terminal:
        run = Run(terminal.process, f"http://127.0.0.1:{port}", lambda: terminal.screen.text, started)
        wait_for(
            lambda: "Press Ctrl-C" in run.output(),
            what=run.output,
            given_up=lambda: terminal.process.poll() is not None,
        )
        yield run, terminal


def processes_of(directory: Path) -> list[psutil.Process]:
    """Every process of a run: the PostgreSQLs on the directory's data, the local Lakebase, and the server."""
    home = str((directory / "platform").resolve())
    found = [one for one in psutil.process_iter(["cmdline"]) if home in " ".join(one.info["cmdline"] or [])]
    for noted in ("server.pid", "platform.pid"):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            found.append(psutil.Process(int((directory / noted).read_text().split()[0])))
    return found


def platform_calls(directory: Path) -> list[PlatformCall]:
    """The calls of the platform's API in the log of the last run."""
    lines = (directory / "server.log").read_text().splitlines(keepends=True)
    values: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("\n")]
    return [PlatformCall(one["method"], one["path"]) for one in values if one["event"] == "platform call"]


def exported(directory: Path, **settings: str) -> list[dict[str, Any]]:
    """What `export-changes` exports in a shell with these settings that has sourced the file of the run."""
    done = subprocess.run(
        ["/bin/sh", "-c", '. "$0" && exec "$1" -m server export-changes', directory / "environment", sys.executable],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
