"""`make run`, without make: set up, served, stopped, killed and recovered."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import httpx
import psutil
import pytest

from server.local.cluster import Cluster
from tests.process import ROOT, answers, environment, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = "{ orderCount { count } }"


@dataclass(frozen=True)
class Run:
    """A run in progress."""

    process: subprocess.Popen[bytes]
    url: str
    said: Callable[[], str]

    def count(self) -> int:
        """How many orders it serves."""
        answer = httpx.post(f"{self.url}/api/graphql", json={"query": COUNT}, timeout=5).json()
        return int(answer["data"]["orderCount"]["count"])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """LOCAL_DIR, which the runs share as they do on a laptop."""
    directory = tmp_path_factory.mktemp("laptop") / ".local"
    yield directory
    Cluster(directory / "postgres").destroy()


def launched(output: int | IO[bytes], **settings: str) -> subprocess.Popen[bytes]:
    """A run that has just been started."""
    return subprocess.Popen(
        [sys.executable, "-m", "server.local"],
        cwd=ROOT,
        env=environment(**settings),
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def refused(**settings: str) -> subprocess.CompletedProcess[str]:
    """What is said by a run that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "server.local"],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


@contextlib.contextmanager
def running(directory: Path, *, scale: str = "0.001") -> Iterator[Run]:
    """A run whose server answers."""
    port = free_port()
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log:
        process = launched(log, LOCAL_DIR=str(directory), SCALE=scale, PORT=str(port))
        run = Run(process, f"http://127.0.0.1:{port}", lambda: Path(log.name).read_text())
        try:
            wait_for(lambda: "Press Ctrl-C" in run.said(), what=run.said, given_up=lambda: process.poll() is not None)
            yield run
        finally:
            process.terminate()
            process.wait(30)


def processes_of(directory: Path) -> list[psutil.Process]:
    """Everything that runs on the directory's data, and its server."""
    home = str((directory / "postgres").resolve())
    found = [one for one in psutil.process_iter(["cmdline"]) if home in " ".join(one.info["cmdline"] or [])]
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        found.append(psutil.Process(int((directory / "server.pid").read_text().split()[0])))
    return found


def test_a_first_run_loads_the_orders_and_ctrl_c_stops_all_of_it(directory: Path) -> None:
    """It says where GraphiQL is; Ctrl-C leaves no process and exits with 0."""
    with running(directory) as run:
        assert f"GraphiQL    {run.url}/api/graphql" in run.said()
        assert run.count() == 1500
        assert processes_of(directory)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(20) == 0
        assert "Traceback" not in run.said()
        assert processes_of(directory) == []
        assert not answers(f"{run.url}/livez")


def test_a_second_run_answers_within_five_seconds_and_loads_nothing(directory: Path) -> None:
    """The data is kept; another run in the same directory is refused meanwhile."""
    started = time.monotonic()
    with running(directory) as run:
        assert run.count() == 1500
        assert time.monotonic() - started < 5
        other = refused(LOCAL_DIR=str(directory))
        assert other.returncode == 1
        assert "Another `make run`" in other.stderr


def test_another_scale_reloads(directory: Path) -> None:
    """What is served is what was asked for last."""
    with running(directory, scale="0.002") as run:
        assert run.count() == 3000


def test_a_killed_run_is_recovered_by_the_next(directory: Path) -> None:
    """Kill -9 of the run leaves its server and PostgreSQL behind; the next run ends them and serves the data."""
    with running(directory, scale="0.002") as run:
        run.process.kill()
        run.process.wait()
        left = processes_of(directory)
        assert len(left) > 1
        with running(directory, scale="0.002") as again:
            assert again.count() == 3000
            assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)


def test_a_killed_postgresql_ends_the_run_and_is_recovered_by_the_next(directory: Path) -> None:
    """The run says so and stops its server; the next one recovers the data from its log."""
    with running(directory, scale="0.002") as run:
        postmaster = int((directory / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGKILL)
        assert run.process.wait(20) == 1
        assert "PostgreSQL has stopped" in run.said()
        assert not answers(f"{run.url}/livez")
    with running(directory, scale="0.002") as again:
        assert again.count() == 3000


def test_ctrl_c_while_postgresql_starts_leaves_nothing_behind(directory: Path) -> None:
    """However early it comes."""
    postmaster = directory / "postgres" / "data" / "postmaster.pid"
    process = launched(subprocess.DEVNULL, LOCAL_DIR=str(directory), SCALE="0.002", PORT=str(free_port()))
    wait_for(postmaster.exists, what=lambda: "PostgreSQL to begin to start")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert processes_of(directory) == []


def test_ctrl_c_while_orders_are_loaded_leaves_nothing_behind(directory: Path) -> None:
    """It stops at once, and the next run has the orders of before, or loads what it is asked for."""
    process = launched(subprocess.DEVNULL, LOCAL_DIR=str(directory), SCALE="3", PORT=str(free_port()))
    loading = lambda: any("tpchgen" in child.name() for child in psutil.Process(process.pid).children())  # noqa: E731 # it is a condition to wait for
    wait_for(loading, what=lambda: "the load to begin")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert processes_of(directory) == []
    with running(directory, scale="0.002") as again:
        assert again.count() == 3000


def test_a_port_that_is_taken_is_named_before_anything_is_done(tmp_path: Path) -> None:
    """Whoever listens there is not taken for the server."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        shown = refused(LOCAL_DIR=str(tmp_path / "local"), PORT=str(port))
    assert shown.returncode == 1
    assert shown.stderr == f"PORT: {port} is taken. Set PORT to another.\n"


def test_a_killed_server_ends_the_run(directory: Path) -> None:
    """PostgreSQL does not stay behind on its own."""
    with running(directory, scale="0.002") as run:
        server = int((directory / "server.pid").read_text().split()[0])
        os.kill(server, signal.SIGKILL)
        assert run.process.wait(20) == 1
        assert processes_of(directory) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"SCALE": "big"}, "SCALE"), ({"SCALE": "0"}, "SCALE"), ({"SCALE": "nan"}, "SCALE"), ({"PORT": "x"}, "PORT")],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    """With exit code 2, before anything is made."""
    shown = refused(LOCAL_DIR=str(tmp_path / "none"), **settings)
    assert shown.returncode == 2
    assert shown.stderr.startswith(said)
    assert not (tmp_path / "none").exists()
