"""GraphiQL's third-party files, installed by npm from `package-lock.json` and never committed.

`python -m server.graphql.graphiql.vendor` copies them into `static/vendor/`: all of them or none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

STATIC: Final = Path(__file__).parent / "static"

# The files of each package, by their suffix in `static/vendor/`, where `graphiql.min.js` becomes `graphiql-4.1.2.js`.
FILES: Final = {
    "graphiql": {".js": "graphiql.min.js", ".css": "graphiql.min.css", ".LICENSE": "LICENSE"},
    "react": {".js": "umd/react.production.min.js", ".LICENSE": "LICENSE"},
    "react-dom": {".js": "umd/react-dom.production.min.js", ".LICENSE": "LICENSE"},
    "@graphiql/plugin-explorer": {".js": "dist/index.umd.js", ".css": "dist/style.css"},
}
_LOCK: Final = "package-lock.json"
_FOLDER: Final = "vendor"
# In the folder: the hash of the lock file that its files were installed from.
_STAMP: Final = ".lock-sha256"
_NPM_SECONDS: Final = 300


class VendorError(Exception):
    """The files cannot be fetched; the message says why."""


class IntegrityError(VendorError):
    """A package differs from the lock file."""


def main(arguments: Sequence[str] | None = None, *, static: Path = STATIC) -> int:
    """Fetch GraphiQL's third-party files, unless they are there, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m server.graphql.graphiql.vendor", description=main.__doc__)
    parser.add_argument("--optional", action="store_true", help="exit with 0 if the files cannot be fetched")
    optional = parser.parse_args(arguments).optional
    try:
        if not is_complete(static):
            fetch(static)
    except VendorError as error:
        # A package that is not the one in the lock file is an error even if the files are optional.
        tolerated = optional and not isinstance(error, IntegrityError)
        sys.stderr.write(f"GraphiQL was not fetched{'; everything else works' * tolerated}: {error}\n")
        return 0 if tolerated else 1
    return 0


def is_complete(static: Path = STATIC) -> bool:
    """Whether the files of the current lock file are in place."""
    try:
        return (static / _FOLDER / _STAMP).read_text() == _digest(static)
    except FileNotFoundError:
        return False


def fetch(static: Path = STATIC) -> None:
    """Install the packages and put their files in place, in one step once all of them are there.

    Args:
        static: the folder of the static files, beside `package-lock.json`.

    Raises:
        VendorError: npm is missing or failed.
        IntegrityError: npm received a package that differs from the lock file.
    """
    # Inside `static`, because a rename is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=static, prefix=f".{_FOLDER}-") as temporary:
        work = Path(temporary)
        for name in ("package.json", _LOCK, ".npmrc"):
            shutil.copy(static.parent / name, work)
        _install(work)
        files = work / _FOLDER
        files.mkdir()
        packages = [_copy(work / "node_modules" / package, files, FILES[package]) for package in FILES]
        (files / _STAMP).write_text(_digest(static))
        folder = static / _FOLDER
        if folder.exists():
            folder.rename(work / "replaced")
        files.rename(folder)
    sys.stdout.write(f"GraphiQL was fetched: {', '.join(packages)}\n")


def _install(work: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("npm is not installed. Install Node.js with npm, and run `make setup` again.")
    try:
        # npm gets the whole environment, which may name a registry, proxies and certificates.
        subprocess.run(  # noqa: S603 # no argument is from outside
            [npm, "ci"],
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
        kind = IntegrityError if "EINTEGRITY" in error.stderr else VendorError
        raise kind(f"npm failed.\n{error.stderr.strip()}") from None


def _copy(package: Path, into: Path, files: dict[str, str]) -> str:
    """Copy a package's files and return its name and version."""
    manifest = json.loads((package / "package.json").read_bytes())
    for suffix, file in files.items():
        shutil.copy(package / file, into / f"{package.name}-{manifest['version']}{suffix}")
    return f"{manifest['name']}@{manifest['version']}"


def _digest(static: Path) -> str:
    return hashlib.sha256((static.parent / _LOCK).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
