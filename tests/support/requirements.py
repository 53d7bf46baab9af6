"""Reads the requirements files, which name packages, their versions and the hashes of their files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_PIN: Final = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*)(?: ; [^\n]+?)?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


class Pin(NamedTuple):
    """A pinned version of a package, and the SHA-256 hashes of its files. `text` is what the file says of it."""

    version: str
    hashes: frozenset[str]
    text: str


def pins(file: Path) -> dict[str, Pin]:
    """The pinned packages of a file, by their names.

    Raises:
        ValueError: something in the file is not a pinned package with hashes.
    """
    found = {}
    for line in re.sub(r" *\\\n *", " ", file.read_text()).splitlines():
        if not line or line.lstrip().startswith("#"):
            continue
        pin = _PIN.fullmatch(line)
        if pin is None:
            raise ValueError(f"{file.name}: {line}")
        found[pin["name"]] = Pin(pin["version"], frozenset(pin["hashes"].split()), line)
    return found
