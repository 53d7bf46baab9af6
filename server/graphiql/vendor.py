"""Owns GraphiQL's third-party files: chosen and hashed in `static/vendor.json`, brought by npm, never committed.

`python -m server.graphiql.vendor` puts them into `static/vendor/`, all of them or none.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

STATIC: Final = Path(__file__).parent / "static"

_MANIFEST: Final = "vendor.json"
_FOLDER: Final = "vendor"
# Inside the folder: of which manifest it is made.
_STAMP: Final = ".manifest-sha256"
_NPM_SECONDS: Final = 300
_NPM_OPTIONS: Final = (
    # A version's bytes never change and are checked here, so that npm's cache is as good as the registry.
    "--prefer-offline",
    "--ignore-scripts",
    "--loglevel=error",
    # With npm's own pauses before its second and third try a machine with no network waits for 70 seconds.
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=5000",
)


class VendorError(Exception):
    """The files cannot be had; the message says why in a sentence."""


class IntegrityError(VendorError):
    """A package is not the one that the manifest names."""


@dataclass(frozen=True, slots=True)
class Package:
    """An npm package, and which of its members become which of our files."""

    package: str
    version: str
    integrity: str
    files: dict[str, str]

    def __str__(self) -> str:
        return f"{self.package}@{self.version}"

    @property
    def tarball(self) -> str:
        """What `npm pack` calls it."""
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


def main(arguments: Sequence[str] | None = None, *, static: Path = STATIC) -> int:
    """Fetch what is not there; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m server.graphiql.vendor", description=main.__doc__)
    parser.add_argument("--optional", action="store_true", help="exit with 0 where the files cannot be had")
    optional = parser.parse_args(arguments).optional
    try:
        if not is_complete(static):
            fetch(static)
    except VendorError as error:
        # Bytes that are not the chosen ones are never something to go on without.
        tolerated = optional and not isinstance(error, IntegrityError)
        sys.stderr.write(f"GraphiQL is not fetched{', the rest works' * tolerated}: {error}\n")
        return 0 if tolerated else 1
    return 0


def is_complete(static: Path = STATIC) -> bool:
    """Whether the files of this very manifest are in place."""
    try:
        return (static / _FOLDER / _STAMP).read_text() == _digest(static)
    except FileNotFoundError:
        return False


def fetch(static: Path = STATIC) -> None:
    """Put the files in place, in one step once all of them are there and right.

    Raises:
        VendorError: npm is missing, or brings nothing.
        IntegrityError: npm brings something else.
    """
    packages = [Package(**entry) for entry in json.loads((static / _MANIFEST).read_bytes())]
    # A sibling, because only within one file system is a rename one step.
    with tempfile.TemporaryDirectory(dir=static, prefix=f".{_FOLDER}-") as temporary:
        work = Path(temporary)
        _pack(packages, work)
        made = work / "made"
        made.mkdir()
        for package in packages:
            _unpack(package, work / package.tarball, made)
        (made / _STAMP).write_text(_digest(static))
        folder = static / _FOLDER
        if folder.exists():
            folder.rename(work / "replaced")
        made.rename(folder)
    sys.stdout.write(f"GraphiQL is fetched: {', '.join(map(str, packages))}\n")


def _pack(packages: Sequence[Package], work: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("npm is not installed. Install Node.js with npm, and run `make setup` again.")
    try:
        subprocess.run(  # noqa: S603 # the names are the manifest's
            [npm, "pack", *_NPM_OPTIONS, *map(str, packages)],
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_NPM_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise VendorError(f"npm did not finish within {_NPM_SECONDS} seconds.") from None
    except subprocess.CalledProcessError as error:
        raise VendorError(f"npm failed.\n{error.stderr.strip()}") from None


def _unpack(package: Package, tarball: Path, into: Path) -> None:
    content = tarball.read_bytes()
    found = f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
    if found != package.integrity:
        raise IntegrityError(f"npm brought another {package}: {found} instead of {package.integrity}.")
    with tarfile.open(tarball) as archive:
        for member, name in package.files.items():
            if (file := archive.extractfile(member)) is None:
                raise IntegrityError(f"{member} of {package} is not a file.")
            (into / name).write_bytes(file.read())


def _digest(static: Path) -> str:
    return hashlib.sha256((static / _MANIFEST).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
