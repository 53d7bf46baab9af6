"""PostgreSQL's programs: each runs as PostgreSQL's user, apart from our terminal, and its output is kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from server.local.installation import ClusterError, binaries, unprivileged

SUPERUSER = "postgres"
# For a start, which may include crash recovery, or for a stop.
_WAIT_SECONDS = 60


class Programs:
    """Runs the programs of PostgreSQL on the data of one server.

    Args:
        home: the directory that has the data, the log, and the password file for clients.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._data = home / "data"
        self._log = home / "postgres.log"
        self._client_password_file = home / "pgpass"
        self._bin = binaries()
        self.port = 0

    @property
    def socket_directory(self) -> Path:
        """The directory of its Unix socket. It is short, because the path of a socket has at most 107 bytes."""
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lakebase-orders-{os.getuid()}-{digest}"

    def _pg_ctl(self, command: str, *arguments: str) -> None:
        result = self._call("pg_ctl", "-D", str(self._data), "-w", "-t", str(_WAIT_SECONDS), command, *arguments)
        if result.returncode != 0:
            log = self._log.read_text()[-2000:] if self._log.exists() else ""
            raise ClusterError(f"pg_ctl {command} failed: {result.stdout}\n{log}")

    def _client(self, program: str, *arguments: str) -> str:
        return self._run(program, *self._address(), *arguments)

    def _address(self) -> list[str]:
        return ["-h", str(self.socket_directory), "-p", str(self.port), "-U", SUPERUSER]

    def _run(self, program: str, *arguments: str) -> str:
        result = self._call(program, *arguments)
        if result.returncode != 0:
            raise ClusterError(f"{program} failed: {result.stdout}")
        return result.stdout

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        user, group = unprivileged()
        # The output goes to a file: the server that pg_ctl starts inherits it, and would keep a pipe open.
        # Popen, because `subprocess.run` would kill pg_ctl at Ctrl-C.
        with tempfile.TemporaryFile("w+") as output:
            with subprocess.Popen(  # noqa: S603 # the wheel's own programs
                [self._bin / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PGPASSFILE": str(self._client_password_file)},
                cwd="/",
                # Ctrl-C in the terminal must reach only our main process, which stops the others in order.
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            ) as process:
                code = process.wait()
            output.seek(0)
            return subprocess.CompletedProcess([program], code, output.read())

    @staticmethod
    def _chown(path: Path) -> None:
        """Make PostgreSQL's user the owner."""
        user, group = unprivileged()
        if user is not None and group is not None:
            os.chown(path, user, group)
