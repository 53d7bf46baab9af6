"""Owns the running of the Node scripts next to it: their packages are installed first, their JSON is read."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.process import environment

HERE = Path(__file__).parent
LOCK_FILE = HERE / "package-lock.json"
# Holds the hash of the lock file that node_modules was installed from.
_STAMP = HERE / "node_modules" / ".installed-from"
_INSTALL_SECONDS = 300
_SCRIPT_SECONDS = 30


def run(script: str, *arguments: str) -> Any:
    """What a script of this directory prints, which is JSON.

    The test fails where the script does, or where a client warns of something on the standard error.
    """
    _install()
    done = subprocess.run(
        [tool("node"), HERE / script, *arguments],
        env=environment(NODE_NO_WARNINGS="1"),  # Node's own warnings, of deprecations say, are no client's
        capture_output=True,
        text=True,
        timeout=_SCRIPT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{script} exited with {done.returncode}:\n{done.stderr}"
    return json.loads(done.stdout)


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
    npm = tool("npm")
    digest = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()
    with LOCK_FILE.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two test runs in one checkout would install over each other
        if _STAMP.is_file() and _STAMP.read_text() == digest:
            return
        # npm is given the whole environment: the registry, proxies and certificates may be set there.
        done = subprocess.run(
            [npm, "ci"], cwd=HERE, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
        assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
        _STAMP.write_text(digest)
