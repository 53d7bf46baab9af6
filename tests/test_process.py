"""Tests of running processes: their exit codes are the same as Python's own, and constants can be altered."""

from __future__ import annotations

import subprocess

import pytest

from tests.servers.forkserver import fork_server
from tests.servers.process import PATIENCE_SECONDS, environment, running_server


@pytest.mark.parametrize(
    ("command", "given", "code", "output"),
    [
        (("json.tool",), '{"a": 1}', 0, '{\n    "a": 1\n}\n'),
        (("json.tool", "/not/there"), "", 2, ""),
        (("not_there_at_all",), "", 1, ""),
    ],
)
def test_a_module_runs_as_by_itself(command: tuple[str, ...], given: str, code: int, output: str) -> None:
    """It gets its arguments and its input, and its exit code and output are returned."""
    done = fork_server().run(*command, env=environment(), given=given, seconds=PATIENCE_SECONDS)
    assert (done.returncode, done.stdout) == (code, output)
    assert bool(done.stderr) is bool(code)


def test_a_process_that_is_killed_says_so(orders_url: str) -> None:
    """As in subprocess, the code is the negative signal number."""
    with running_server(orders_url) as server:
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        server.kill()
        assert server.process.returncode == -9


def test_a_constant_that_is_not_there_cannot_be_altered(orders_url: str) -> None:
    """If a constant moves, the test fails with its name."""
    altered = {"server.process.shutdown.STOP_SECOND": 1}
    with pytest.raises(TimeoutError, match=r"AttributeError: server\.process\.shutdown\.STOP_SECOND"):  # noqa: SIM117 # the start fails
        with running_server(orders_url, altered=altered):
            pass
