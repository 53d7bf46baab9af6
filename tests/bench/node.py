"""The Node packages of the peers, installed from their lock file, and the Node that runs them."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.servers.process import environment

HERE: Final = Path(__file__).parent / "peers"
LOCK_FILE: Final = HERE / "package-lock.json"
# Contains the hash of the lock file that node_modules was installed from.
_STAMP: Final = HERE / "node_modules" / ".installed-from"
_INSTALL_SECONDS: Final = 600
_LEAST_VERSION: Final = 22


class NotRunError(Exception):
    """A contender cannot be run here; the message says why."""


def node() -> Path:
    """Install the packages if necessary, and return a Node that is new enough.

    Raises:
        NotRunError: there is no such Node, or the packages could not be installed.
    """
    _install()
    # npm has Node itself as a package for some platforms.
    for candidate in (*sorted(HERE.glob("node_modules/node-*/bin/node")), shutil.which("node")):
        if candidate and _version(candidate) >= _LEAST_VERSION:
            return Path(candidate)
    raise NotRunError(f"there is no Node {_LEAST_VERSION} on the PATH, nor one of npm's for this platform")


def _version(program: str | Path) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, env=environment(), check=False)
    found = re.match(r"v(\d+)\.", done.stdout)
    return int(found[1]) if found else 0


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotRunError("npm is not on the PATH (Debian: apt-get install npm)")
    digest = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()
    with LOCK_FILE.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # two runs in one checkout would install over each other
        if _STAMP.is_file() and _STAMP.read_text() == digest:
            return
        sys.stderr.write("Installing the peers that run on Node, once; this takes a minute\n")
        # npm gets the whole environment, which may set the registry, proxies and certificates.
        done = subprocess.run(
            [npm, "ci"], cwd=HERE, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
        if done.returncode != 0:
            raise NotRunError(f"npm ci failed: {done.stderr.strip().splitlines()[-1:]}")
        _STAMP.write_text(digest)
