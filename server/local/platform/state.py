"""The state that outlives the process: instances, catalogs, synced tables, pipelines and tokens, in one JSON file."""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import socket
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from pathlib import Path

# Below the ephemeral ports, so that the system gives none of these to another socket between two of our runs.
_PORTS = range(20_000, 32_000)


class Instance(BaseModel):
    """A database instance. A suspended instance is AVAILABLE, too. `parent` is the uid of the original."""

    name: str
    uid: str
    creator: str
    creator_is_user: bool
    creation_time: str
    state: str
    capacity: str
    node_count: int
    readable_secondaries: bool
    retention_days: int
    stopped: bool
    native_login: bool
    custom_tags: list[dict[str, str]]
    usage_policy_id: str | None
    address: str
    secondary_address: str
    suspended: bool = False
    parent: str | None = None


class Catalog(BaseModel):
    """A catalog of Unity Catalog that registers a database of an instance."""

    name: str
    uid: str
    instance: str
    database: str
    creator: str


class SyncedTable(BaseModel):
    """A synced table. `spec` is as the client sent it. `synced_once` tells whether a sync has ever succeeded."""

    name: str
    uid: str
    creator: str
    instance: str
    database: str
    spec: dict[str, Any]
    pipeline: str
    detailed_state: str
    catalog_state: str
    message: str = ""
    last_sync: dict[str, Any] | None = None
    synced_once: bool = False


class Update(BaseModel):
    """One run of a pipeline."""

    id: str
    state: str
    created: int
    full_refresh: bool = False
    cause: str = "API_CALL"


class Pipeline(BaseModel):
    """A pipeline, which fills synced tables. The newest update is last."""

    id: str
    name: str
    creator: str
    updates: list[Update] = Field(default_factory=list)


class Token(BaseModel):
    """A credential or an access token. `instances` are uids that a credential is valid for; `expires` is Unix time."""

    user: str
    expires: float
    instances: list[str] = Field(default_factory=list)


class State(BaseModel):
    """The whole state. The keys of tokens are their digests; other keys are names or ids.

    `other_projects` are the names of projects of the Autoscaling API that are no instances.
    """

    operator_token: str = Field(default_factory=lambda: f"dapi{secrets.token_hex(16)}")
    client_id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    client_secret: str = Field(default_factory=lambda: f"dose{secrets.token_hex(16)}")
    radius_secret: str = Field(default_factory=lambda: secrets.token_hex(16))
    http_port: int = 0
    pg_port: int = 0
    radius_port: int = 0
    instances: dict[str, Instance] = Field(default_factory=dict)
    other_projects: list[str] = Field(default_factory=list)
    catalogs: dict[str, Catalog] = Field(default_factory=dict)
    synced_tables: dict[str, SyncedTable] = Field(default_factory=dict)
    database_tables: dict[str, dict[str, str]] = Field(default_factory=dict)
    pipelines: dict[str, Pipeline] = Field(default_factory=dict)
    credentials: dict[str, Token] = Field(default_factory=dict)
    access_tokens: dict[str, Token] = Field(default_factory=dict)


class Store:
    """The state and its file. Code that changes the state saves it before it replies.

    Raises:
        OSError: another process has the directory.
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
        self.state = State.model_validate_json(self._file.read_bytes()) if self._file.exists() else State()

    def save(self) -> None:
        """Write the state durably and atomically. It is some kilobytes, and takes a millisecond."""
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


def now() -> str:
    """The time in the platform's format."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def now_milliseconds() -> int:
    """The time in milliseconds since 1970, the format of pipelines."""
    return time.time_ns() // 1_000_000
