"""A cache for slow, reproducible results, shared by all runs and checkouts on this machine.

It is below $XDG_CACHE_HOME, or ~/.cache. Deleting it loses nothing but the time to make the results again.
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
# An entry unused for this long belongs to a version that nobody works on.
_OLD_SECONDS: Final = 7 * 86_400


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """A directory filled by `make`, now or in an earlier run. It must only be read.

    Two concurrent runs make it once. An entry is complete or absent, and one that has changed since is made again.

    Args:
        kind: the name shared by entries that are mostly versions of each other.
        key: a hash of everything that the content depends on.
        make: fills the empty directory that it gets, which is moved afterwards.
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
    """Delete old entries, and half-made ones of killed runs: a run holds the lock while it makes an entry."""
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
    """A hash of the names, kinds, sizes and times of all entries. It changes if any of them is written to."""
    digest = hashlib.sha256()
    for name, found, target in sorted(_entries(str(directory), "")):
        # A directory's size depends on the file system. A file's link count may change without harm.
        details = () if stat.S_ISDIR(found.st_mode) else (found.st_size, found.st_mtime_ns, target)
        digest.update(repr((name, found.st_mode, *details)).encode())
    return digest.hexdigest()


def _entries(directory: str, prefix: str) -> Iterator[tuple[str, os.stat_result, str]]:
    """Each path below the directory, with its stat result and, for a link, its target."""
    with os.scandir(directory) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            target = str(Path(entry.path).readlink()) if entry.is_symlink() else ""
            yield name, entry.stat(follow_symlinks=False), target
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(entry.path, f"{name}/")
