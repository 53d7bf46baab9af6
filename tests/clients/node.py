"""Owns the running of the Node scripts next to it: their packages are installed first, their JSON is read."""

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

from tests.kept import kept
from tests.process import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
LOCK_FILE = HERE / "package-lock.json"
_MODULES = HERE / "node_modules"
# Holds the hash of the files that its packages were installed from.
_STAMP = _MODULES / ".installed-from"
_INSTALL_SECONDS = 600
# A script does many things, one after the other, and each may take as long as tests have patience.
_SCRIPT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Script:
    """A running script, which prints a line of JSON for each thing that it has to say."""

    name: str
    printed: IO[str]
    input: IO[str]
    process: subprocess.Popen[str]
    errors: IO[str]
    overdue: threading.Event = field(default_factory=threading.Event)

    def tell(self, word: str) -> None:
        """Give it a line to read."""
        self.input.write(f"{word}\n")
        self.input.flush()

    def next(self) -> Any:
        """What it says next, which is waited for."""
        line = self.printed.readline()
        assert line, self._failure()
        return json.loads(line)

    def finish(self) -> list[Any]:
        """What is left to say, once the end of its input has told it that nothing more will happen.

        The test fails where the script does, or where a client warns of something on the standard error.
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
    """A script of this directory while it runs, ended where it never comes to its end."""
    _install()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [tool("node"), HERE / script, *arguments],
            env=environment(NODE_NO_WARNINGS="1"),  # Node's own warnings, of deprecations say, are no client's
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
            # One that has ended stays as it is.
            process.kill()


def run(script: str, *arguments: str) -> Any:
    """The one thing that a script of this directory has to say."""
    with started(script, *arguments) as running:
        (said,) = running.finish()
        return said


def tool(name: str) -> str:
    """Where a program is. Without it the test is skipped, and fails where CI=true."""
    if path := shutil.which(name):
        return path
    missing = f"{name} is not on the PATH, and the clients run on it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)  # on a laptop the rest is worth running; in CI the line above has failed it


@functools.cache
def _install() -> None:
    """See that node_modules holds the packages, which checkouts on this machine share: npm takes ten seconds for them."""
    digest = hashlib.sha256(LOCK_FILE.read_bytes() + (HERE / "package.json").read_bytes()).hexdigest()
    with LOCK_FILE.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two test runs in one checkout would install over each other
        if _STAMP.is_file() and _STAMP.read_text() == digest and all(path.exists() for path in _MODULES.iterdir()):
            return
        packages = kept("clients", digest, _fetch)
        shutil.rmtree(_MODULES, ignore_errors=True)
        _MODULES.mkdir()
        # Each by a link of its own: git ignores a directory of this name, and no link.
        for package in (packages / "node_modules").iterdir():
            (_MODULES / package.name).symlink_to(package)
        _STAMP.write_text(digest)


def _fetch(into: Path) -> None:
    for file in (HERE / "package.json", LOCK_FILE):
        shutil.copy(file, into)
    # npm is given the whole environment: the registry, proxies and certificates may be set there.
    done = subprocess.run(
        [tool("npm"), "ci", "--no-audit", "--no-fund", "--prefer-offline"],
        cwd=into,
        capture_output=True,
        text=True,
        timeout=_INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
