"""Keeps what takes long to make and comes out the same each time, for other runs and checkouts on this machine.

It is below $XDG_CACHE_HOME, or ~/.cache. Whoever deletes it there loses nothing but the time to make it again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LISTING: Final = "listing"
_CONTENT: Final = "content"
_SCRATCH: Final = ".making-"
# What nobody has used for so long is of a version that nobody works on.
_OLD_SECONDS: Final = 7 * 86_400


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """A directory as `make` has filled it, now or in an earlier run; it is only read.

    Two runs at once make it once. An entry is there whole or not at all, and one that has changed since is made again.

    Args:
        kind: the name of all entries of which most are versions of each other.
        key: a hash of all that the content depends on.
        make: fills the empty directory that it is given, which is moved afterwards.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lakebase-orders-tests" / kind
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = home / key
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _forget(home, entry)
        if not _is_whole(entry):
            with tempfile.TemporaryDirectory(dir=home, prefix=_SCRATCH) as name:
                scratch = Path(name) / "entry"
                (scratch / _CONTENT).mkdir(parents=True)
                make(scratch / _CONTENT)
                (scratch / _LISTING).write_text(_listing(scratch / _CONTENT))
                shutil.rmtree(entry, ignore_errors=True)
                scratch.rename(entry)
        os.utime(entry)
    return entry / _CONTENT


def _forget(home: Path, wanted: Path) -> None:
    """Delete what is old, and what killed runs have left half made: whoever makes something holds the lock."""
    for found in home.iterdir():
        is_old = found != wanted and found.is_dir() and found.stat().st_mtime < time.time() - _OLD_SECONDS
        if is_old or found.name.startswith(_SCRATCH):
            shutil.rmtree(found, ignore_errors=True)


def _is_whole(entry: Path) -> bool:
    try:
        return (entry / _LISTING).read_text() == _listing(entry / _CONTENT)
    except OSError:
        return False


def _listing(directory: Path) -> str:
    """A hash of the names, kinds, sizes and times of everything in it: whatever was written to since is found out."""
    digest = hashlib.sha256()
    for name, found, leads in sorted(_entries(str(directory), "")):
        # A directory's own size is the file system's affair, and files that are linked elsewhere change nothing here.
        told = () if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns, leads)
        digest.update(repr((name, found.st_mode, *told)).encode())
    return digest.hexdigest()


def _entries(directory: str, prefix: str) -> Iterator[tuple[str, os.stat_result, str]]:
    """Each path below the directory, how it is, and where a link leads."""
    with os.scandir(directory) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            leads = str(Path(entry.path).readlink()) if entry.is_symlink() else ""
            yield name, entry.stat(follow_symlinks=False), leads
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, f"{name}/")
