"""An embedded PostgreSQL server: created, started and stopped with the programs of a Python wheel."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil

from server.local.installation import ClusterError, reachable
from server.local.programs import SUPERUSER, Programs

__all__ = ["Cluster", "ClusterError"]

_DATABASE = "orders"
# Between two looks whether a recovery is over.
_POLL_SECONDS = 0.02


class Cluster(Programs):
    """A PostgreSQL server on an address of this machine, with its data in a directory.

    As a context manager it starts the server on entry and stops it on exit. A start first stops a server that a killed
    process left running on the same data. The superuser connects through the Unix socket.

    Args:
        directory: holds the data, the log and the superuser's password.
        options: PostgreSQL's settings. They take effect at the next start.
        address: the address to listen on.
        logins: the content of pg_hba.conf, written at each start. Without it, initdb's own asks every user for a
            password.
        database: created at the first start; None creates none.
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
        super().__init__(reachable(self._directory))
        self._password_file = self.home / "password"
        self.options = options or {}
        self._host = address
        self._logins = logins
        self._database = database

    @property
    def version(self) -> str:
        """PostgreSQL's version, for example `16.14`."""
        return self._run("postgres", "--version").split()[-1]

    @property
    def url(self) -> str:
        """The libpq URL of its database, with the password."""
        return f"postgresql://{SUPERUSER}:{self.password}@{self._host}:{self.port}/{self._database}"

    @property
    def password(self) -> str:
        """The password of the superuser, `postgres`."""
        return self._password_file.read_text().strip()

    @property
    def has_data(self) -> bool:
        """Whether its data have been created."""
        return (self._data / "PG_VERSION").exists()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            # After Ctrl-C during the start, for example. A server that is starting must not be left behind.
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int | None = None) -> None:
        """Start the server on the port, or on a free one. The first start creates the data.

        Raises:
            ClusterError: PostgreSQL did not start. The message ends with the end of its log.
        """
        self.create()
        self.stop()
        if self._logins is not None:
            (self._data / "pg_hba.conf").write_text(self._logins)
        self.port = port or _free_port()
        sockets = self.socket_directory
        sockets.mkdir(mode=0o700, exist_ok=True)
        self._chown(sockets)
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
        """Take over a server that another process left running on the data and this port. False if none is running."""
        self.port = port
        return self.running()

    def copy_from(self, primary: Cluster, *, standby: bool) -> None:
        """Create its data as a copy of a running server on this machine, unless it has data already.

        A standby follows the primary; any other copy goes its own way from then on.

        Raises:
            ClusterError: the copy failed.
        """
        if not self.has_data:
            scratch = self._prepare(primary.password)
            self._base_backup(primary, scratch, "-X", "stream", *(["-R"] if standby else []))
            scratch.rename(self._data)

    def copy_stopped(self, source: Cluster) -> None:
        """Create its data as a copy of a cluster that is not running, unless it has data already.

        Raises:
            ClusterError: the copy failed.
        """
        if not self.has_data:
            source.copy_data(self._prepare(source.password)).rename(self._data)

    def copy_data(self, target: Path) -> Path:
        """Copy the data of this cluster, which is not running, to an empty directory, and return that."""
        self._run("/bin/cp", "-R", f"{self._data}/.", str(target))
        # A slot is for a standby or a backup of the original.
        for slot in (target / "pg_replslot").iterdir():
            shutil.rmtree(slot)
        return target

    def back_up(self, target: Path) -> None:
        """Copy the data of this cluster, which is running, to an empty directory, without the log that it needs."""
        self._base_backup(self, target, "-X", "none")

    def recover(self, backup: Path, source: Cluster, goal: str) -> None:
        """Create its data from a backup of another cluster and that cluster's log, up to a goal, given as settings.

        Raises:
            ClusterError: the recovery failed. It leaves no data.
        """
        # In a directory of its own: only what has been recovered becomes the data. A killed one may still be running.
        recovering = Cluster(self.home / "recovery", options=self.options, address="", database=None)
        recovering.destroy()
        scratch = recovering._prepare(source.password)
        self._run("/bin/cp", "-R", f"{backup}/.", str(scratch))
        settings = scratch / "postgresql.auto.conf"
        before = settings.read_text()
        settings.write_text(
            f'{before}restore_command = \'cp "{source._data}/pg_wal/%f" "%p"\'\nrecovery_target_action = promote\n'
            # With a hot standby the recovery would need the settings that the original had.
            f"hot_standby = off\n{goal}\n"
        )
        (scratch / "recovery.signal").touch()
        self._chown(scratch / "recovery.signal")
        scratch.rename(recovering._data)
        with recovering:
            recovering._wait_for_promotion()
        (recovering._data / "postgresql.auto.conf").write_text(before)
        self._prepare(source.password).rmdir()
        recovering._data.rename(self._data)
        recovering.destroy()

    def checkpoint_lsn(self) -> str:
        """The position in the log of the last checkpoint, also while the server is not running."""
        control = self._run("pg_controldata", str(self._data))
        return next(line.split()[-1] for line in control.splitlines() if line.startswith("Latest checkpoint location"))

    def run_sql(self, statements: str) -> str:
        """Run statements in the database, several of them as one transaction, and return psql's output.

        Raises:
            ClusterError: a statement failed.
        """
        return self._client(
            "psql", "-d", self._database or "postgres", "-v", "ON_ERROR_STOP=1", "-qAtc", statements
        ).strip()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it is running, in a shutdown mode of pg_ctl.

        Raises:
            ClusterError: it did not stop.
        """
        try:
            if self.running():
                self._pg_ctl("stop", "-m", mode)
        except ClusterError:
            # A server that was killed a moment ago may count as running, and be gone when pg_ctl tries to stop it.
            if self.running():
                raise
        with contextlib.suppress(OSError):
            self.socket_directory.rmdir()

    def destroy(self) -> None:
        """Stop the server and delete its data, if there are any."""
        self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=not self.home.exists())
        if self._directory.is_symlink():
            self._directory.unlink()

    def running(self) -> bool:
        """Whether a server is running on the data."""
        return self._call("pg_ctl", "-D", str(self._data), "status").returncode == 0

    def alive(self) -> bool:
        """Whether the server's process exists. Cheaper than `running`, but unreliable during a start or stop."""
        try:
            return bool(psutil.Process(self.process_id()).status() != psutil.STATUS_ZOMBIE)
        except (OSError, ValueError, IndexError, psutil.Error):
            return False

    def process_id(self) -> int:
        """The process id of the postmaster."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def create(self) -> None:
        """Create the data of a new server, unless there are data."""
        if self.has_data:
            return
        scratch = self._prepare(secrets.token_urlsafe(24))
        self._run(
            "initdb",
            *("-D", str(scratch), "-U", SUPERUSER, "--pwfile", str(self._password_file)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )
        scratch.rename(self._data)

    def _prepare(self, password: str) -> Path:
        """Write the password files, and create the directory that is renamed to the data once it is complete."""
        self.home.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (self._password_file, password),
            (self._client_password_file, f"*:*:*:*:{password}\n"),
        ):
            path.touch(mode=0o600)
            path.write_text(text)
        # A new directory each time: a program that a killed process started may still be writing to the last one.
        scratch = self.scratch(self.home)
        for path in (self.home, self._password_file, self._client_password_file):
            self._chown(path)
        return scratch

    def scratch(self, parent: Path) -> Path:
        """A new, empty directory of PostgreSQL's user."""
        scratch = Path(tempfile.mkdtemp(prefix="data.", dir=parent))
        self._chown(scratch)
        return scratch

    def _base_backup(self, source: Cluster, target: Path, *options: str) -> None:
        address = f"host={source.socket_directory} port={source.port} user={SUPERUSER}"
        self._run("pg_basebackup", "-D", str(target), *options, "-c", "fast", "--no-sync", "-d", address)

    def _wait_for_promotion(self) -> None:
        """Wait until a server that recovers without a hot standby accepts connections."""
        while self._call("psql", *self._address(), "-d", "postgres", "-c", "SELECT 1").returncode != 0:
            if not self.alive():
                raise ClusterError(f"the recovery failed: {self._log.read_text()[-2000:]}")
            time.sleep(_POLL_SECONDS)  # PostgreSQL does not report to us


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if sys.platform == "win32":
    raise ImportError("The embedded PostgreSQL runs on Linux and macOS only.")
