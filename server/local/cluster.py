"""Owns an embedded PostgreSQL: made, started and stopped with the binaries of a wheel."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Self

import psutil

from server.local.programs import ClusterError, binaries, reachable, unprivileged

_SUPERUSER = "postgres"
_DATABASE = "orders"
_WAIT_SECONDS = 60


__all__ = ["Cluster", "ClusterError"]


class Cluster:
    """A PostgreSQL of our own on an address of this machine, with its data below a directory.

    Used as a context manager it is running inside and stopped afterwards. A server that a killed process
    left behind on the same data is stopped first. Our own programs reach it through its Unix socket.

    Args:
        directory: of its data, its log and its superuser's password.
        options: PostgreSQL's settings; they take effect at a start.
        address: where it listens, 127.0.0.1 say.
        logins: the lines of its pg_hba.conf, written at each start; without them initdb's own, which ask
            everybody for a password.
        database: made at the first start; None makes none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        options: dict[str, str] | None = None,
        address: str = "127.0.0.1",
        logins: str | None = None,
        database: str | None = _DATABASE,
    ) -> None:
        self._directory = directory.absolute()
        self.home = reachable(self._directory)
        self._data = self.home / "data"
        self._log = self.home / "postgres.log"
        self._password_file = self.home / "password"
        self._client_password_file = self.home / "pgpass"
        self.options = options or {}
        self._host = address
        self._logins = logins
        self._database = database
        self._bin = binaries()
        self.port = 0

    @property
    def version(self) -> str:
        """Its version, `16.14` say."""
        return self._run("postgres", "--version").split()[-1]

    @property
    def url(self) -> str:
        """Its database as a libpq URL, password included."""
        return f"postgresql://{_SUPERUSER}:{self.password}@{self._host}:{self.port}/{self._database}"

    @property
    def password(self) -> str:
        """The superuser's, whose name is `postgres`."""
        return self._password_file.read_text().strip()

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
        if self._logins is not None:
            (self._data / "pg_hba.conf").write_text(self._logins)
        self.port = port or _free_port()
        sockets = self.socket_directory
        sockets.mkdir(mode=0o700, exist_ok=True)
        self._give(sockets)
        settings = {
            "listen_addresses": self._host,
            "port": str(self.port),
            "unix_socket_directories": str(sockets),
            **self.options,
        }
        arguments = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._pg_ctl("start", "-l", str(self._log), "-o", arguments)
        if self._database is None:
            return
        databases = self._client("psql", "-d", "postgres", "-Atc", "SELECT datname FROM pg_database").split()
        if self._database not in databases:
            self._client("createdb", self._database)

    def adopt(self, port: int) -> bool:
        """Take over a server that another process left running on the data and the port; whether there was one."""
        self.port = port
        return self.running()

    def copy_from(self, primary: Cluster) -> None:
        """Make it, where it has no data yet, a hot standby that follows a running server of this machine.

        Raises:
            ClusterError: the copy could not be taken.
        """
        if (self._data / "PG_VERSION").exists():
            return
        scratch = self._prepare(primary.password)
        source = f"host={primary.socket_directory} port={primary.port} user={_SUPERUSER}"
        self._run("pg_basebackup", "-D", str(scratch), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", source)
        scratch.rename(self._data)

    def run_sql(self, statements: str) -> str:
        """Run statements in the database, several as one transaction, and give what they print.

        Raises:
            ClusterError: one of them failed.
        """
        return self._client("psql", "-d", str(self._database), "-v", "ON_ERROR_STOP=1", "-qAtc", statements).strip()

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
        """Stop it and delete its data, where there is any."""
        self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=not self.home.exists())
        if self._directory.is_symlink():
            self._directory.unlink()

    def running(self) -> bool:
        """Whether a server runs on the data."""
        return self._call("pg_ctl", "-D", str(self._data), "status").returncode == 0

    def alive(self) -> bool:
        """The same as `running`, by the process alone; it does not say so while PostgreSQL starts or stops."""
        try:
            return bool(psutil.Process(self.process_id()).status() != psutil.STATUS_ZOMBIE)
        except (OSError, ValueError, IndexError, psutil.Error):
            return False

    def process_id(self) -> int:
        """The postmaster's."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def _create(self) -> None:
        scratch = self._prepare(secrets.token_urlsafe(24))
        self._run(
            "initdb",
            *("-D", str(scratch), "-U", _SUPERUSER, "--pwfile", str(self._password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        scratch.rename(self._data)

    def _prepare(self, password: str) -> Path:
        """Write the password down, and make the directory that becomes the data when it is complete."""
        self.home.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (self._password_file, password),
            (self._client_password_file, f"*:*:*:*:{password}\n"),
        ):
            path.touch(mode=0o600)
            path.write_text(text)
        # A new one each time: what a killed process began may still be written to for a moment.
        scratch = Path(tempfile.mkdtemp(prefix="data.", dir=self.home))
        for path in (self.home, scratch, self._password_file, self._client_password_file):
            self._give(path)
        return scratch

    def _pg_ctl(self, command: str, *arguments: str) -> None:
        result = self._call("pg_ctl", "-D", str(self._data), "-w", "-t", str(_WAIT_SECONDS), command, *arguments)
        if result.returncode != 0:
            said = self._log.read_text()[-2000:] if self._log.exists() else ""
            raise ClusterError(f"pg_ctl {command} failed: {result.stdout}\n{said}")

    def _client(self, program: str, *arguments: str) -> str:
        return self._run(program, *self._address(), *arguments)

    def _address(self) -> list[str]:
        return ["-h", str(self.socket_directory), "-p", str(self.port), "-U", _SUPERUSER]

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
        user, group = unprivileged()
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
        user, group = unprivileged()
        if user is not None and group is not None:
            os.chown(path, user, group)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if sys.platform == "win32":
    raise ImportError("The embedded PostgreSQL is run on Linux and macOS only.")
