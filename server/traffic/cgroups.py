"""How much memory the container allows, by the control groups of this process (Linux, versions 1 and 2)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_GROUPS: Final = Path("/proc/self/cgroup")
_MOUNT: Final = Path("/sys/fs/cgroup")
# Above the first the kernel slows the process down, above the second it kills it.
_VERSION_2: Final = ("memory.high", "memory.max")
_VERSION_1: Final = ("memory.limit_in_bytes",)


def container_bytes(*, groups: Path = _GROUPS, mount: Path = _MOUNT) -> int | None:
    """The lowest limit of the control groups that hold this process.

    Args:
        groups: the file that names the control groups of the process.
        mount: where the control groups are mounted.

    Returns:
        Bytes; None if nothing limits it, or nothing below the machine's own memory.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [limit for limit in _limits(groups, mount) if limit < machine]
    return min(limits, default=None)


def _limits(groups: Path, mount: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for line in groups.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                yield from _along(mount, path, _VERSION_2)
            elif "memory" in controllers.split(","):
                yield from _along(mount / "memory", path, _VERSION_1)


def _along(root: Path, path: str, names: tuple[str, ...]) -> Iterator[int]:
    """The limits of a group and of those around it. In a container the path may be that of the host, with no file."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(root):
            for name in names:
                # "max" is no limit.
                with contextlib.suppress(OSError, ValueError):
                    yield int((folder / name).read_text())
