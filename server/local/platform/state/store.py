"""The state in one JSON file, which code saves before it replies."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import secrets
import socket
import uuid
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.local.platform.state.projects import Compute, Operation, Project
from server.local.platform.state.tables import Catalog, Commit, Pipeline, SyncedTable  # noqa: TC001 # pydantic resolves them

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Below the ephemeral ports, so that the system gives none of these to another socket between two of our runs.
_PORTS = range(20_000, 32_000)


class Token(BaseModel):
    """A credential or an access token. `endpoints` are uids that a credential is valid for; `expires` is Unix time."""

    user: str
    expires: float
    endpoints: list[str] = Field(default_factory=list)


class State(BaseModel):
    """The whole state. The keys of tokens are their digests; other keys are names or ids.

    `commits` has the sources that were committed to since the first version of all of them.
    """

    model_config = ConfigDict(extra="forbid")

    operator_token: str = Field(default_factory=lambda: f"dapi{secrets.token_hex(16)}")
    client_id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    client_secret: str = Field(default_factory=lambda: f"dose{secrets.token_hex(16)}")
    radius_secret: str = Field(default_factory=lambda: secrets.token_hex(16))
    http_port: int = 0
    pg_port: int = 0
    radius_port: int = 0
    projects: dict[str, Project] = Field(default_factory=dict)
    operations: dict[str, Operation] = Field(default_factory=dict)
    catalogs: dict[str, Catalog] = Field(default_factory=dict)
    synced_tables: dict[str, SyncedTable] = Field(default_factory=dict)
    database_tables: dict[str, dict[str, str]] = Field(default_factory=dict)
    pipelines: dict[str, Pipeline] = Field(default_factory=dict)
    commits: dict[str, Commit] = Field(default_factory=dict)
    credentials: dict[str, Token] = Field(default_factory=dict)
    access_tokens: dict[str, Token] = Field(default_factory=dict)

    def computes(self) -> Iterator[Compute]:
        """Every endpoint of every branch."""
        for project in list(self.projects.values()):
            for branch in list(project.branches.values()):
                for endpoint in list(branch.endpoints.values()):
                    yield Compute(project, branch, endpoint)


class Store:
    """The state and its file. Code that changes the state saves it before it replies.

    Raises:
        OSError: another process has the directory, or another version has written it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        # The system releases the lock when the process ends, also after a kill.
        self._lock = (directory / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OSError(f"Another local platform uses {directory}. Stop it, or set LOCAL_DIRECTORY.") from None
        self._file = directory / "state.json"
        try:
            self.state = State.model_validate_json(self._file.read_bytes()) if self._file.exists() else State()
        except ValidationError:
            raise OSError(f"{self._file} is another version's. Delete {directory}, and its data with it.") from None
        self._change = asyncio.Event()

    async def changed(self) -> None:
        """Wait until the state is saved the next time."""
        await self._change.wait()

    def save(self) -> None:
        """Write the state durably and atomically. It is some kilobytes, and takes a millisecond."""
        self._change.set()
        self._change = asyncio.Event()
        scratch = self._file.with_suffix(".new")
        # Readable by its owner alone: the operator's token is in it.
        scratch.touch(mode=0o600)
        with scratch.open("w") as file:
            file.write(self.state.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(self._file)
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def free_port() -> int:
    """A port that is free for TCP on every address of this machine, and for UDP on 127.0.0.1.

    Raises:
        OSError: a hundred random ports were taken.
    """
    for _ in range(100):
        port = random.choice(_PORTS)  # noqa: S311 # a port is no secret
        try:
            with (
                socket.socket(type=socket.SOCK_STREAM) as stream,
                socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            ):
                stream.bind(("0.0.0.0", port))  # noqa: S104 # bound for a moment, and never listened to
                datagrams.bind(("127.0.0.1", port))
        except OSError:
            continue
        return port
    raise OSError("no free port was found")
