"""Runs the Node scripts beside this file: installs their packages, and reads their JSON."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.servers.process import environment
from tests.support.kept import kept

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LOCK_FILE = HERE / "package-lock.json"
_MODULES = HERE / "node_modules"
# Contains the hash of the files that the packages were installed from.
_STAMP = _MODULES / ".installed-from"
_INSTALL_SECONDS = 600
# A script does several things in turn, and each may take as long as tests have patience.
_SCRIPT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Script:
    """A running script, which prints its results as lines of JSON."""

    name: str
    printed: IO[str]
    input: IO[str]
    process: subprocess.Popen[str]
    errors: IO[str]
    overdue: threading.Event = field(default_factory=threading.Event)

    def tell(self, word: str) -> None:
        """Send the script a line."""
        self.input.write(f"{word}\n")
        self.input.flush()

    def next(self) -> Any:
        """Wait for the script's next line."""
        line = self.printed.readline()
        assert line, self._failure()
        return json.loads(line)

    def finish(self) -> list[Any]:
        """Close the script's input and return its remaining lines.

        The test fails if the script does, or if a client prints a warning on standard error.
        """
        self.input.close()
        rest = [json.loads(line) for line in self.printed]
        assert (self.process.wait(), self._complaints()) == (0, ""), self._failure()
        return rest

    def _failure(self) -> str:
        if self.overdue.is_set():
            return f"{self.name} timed out after {_SCRIPT_SECONDS} s:\n{self._complaints()}"
        return f"{self.name} exited with {self.process.wait()}:\n{self._complaints()}"

    def _complaints(self) -> str:
        self.errors.seek(0)
        return self.errors.read()


@contextlib.contextmanager
def started(script: str, *arguments: str) -> Iterator[Script]:
    """Run a script of this directory inside the block. A script that does not end is killed."""
    _install()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [tool("node"), HERE / script, *arguments],
            env=environment(NODE_NO_WARNINGS="1"),  # without warnings of Node itself
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        running = Script(script, process.stdout, process.stdin, process, errors)

        def end() -> None:
            running.overdue.set()
            process.kill()

        timer = threading.Timer(_SCRIPT_SECONDS, end)
        timer.start()
        try:
            yield running
        finally:
            timer.cancel()
            # Killing a process that has ended does nothing.
            process.kill()


def run(script: str, *arguments: str) -> Any:
    """Run a script of this directory that prints one line, and return it."""
    with started(script, *arguments) as running:
        (result,) = running.finish()
        return result


def tool(name: str) -> str:
    """The path of a program. Without the program the test is skipped, or fails if CI=true."""
    if path := shutil.which(name):
        return path
    missing = f"{name} is not on the PATH, and the clients run on it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)  # the other tests are worth running on a laptop; in CI the line above has failed this one


@functools.cache
def _install() -> None:
    """Install the packages into node_modules. Checkouts on this machine share them, because npm takes ten seconds."""
    digest = hashlib.sha256(LOCK_FILE.read_bytes() + (HERE / "package.json").read_bytes()).hexdigest()
    with LOCK_FILE.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two test runs in one checkout would install over each other
        if _STAMP.is_file() and _STAMP.read_text() == digest and all(path.exists() for path in _MODULES.iterdir()):
            return
        packages = kept("clients", digest, _fetch)
        shutil.rmtree(_MODULES, ignore_errors=True)
        _MODULES.mkdir()
        # One link for each package: git ignores a directory named node_modules, but not a link.
        for package in (packages / "node_modules").iterdir():
            (_MODULES / package.name).symlink_to(package)
        _STAMP.write_text(digest)


def _fetch(into: Path) -> None:
    for file in (HERE / "package.json", LOCK_FILE):
        shutil.copy(file, into)
    # npm gets the whole environment, which may set the registry, proxies and certificates.
    done = subprocess.run(
        [tool("npm"), "ci", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=into,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
