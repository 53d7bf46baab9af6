"""Catalogs, synced tables and pipelines."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Catalog(BaseModel):
    """A catalog of Unity Catalog that registers a database of a branch. `oid` tells it from a later namesake."""

    name: str
    uid: str
    create_time: str
    branch: str
    database: str
    oid: int
    creator: str


class Commit(BaseModel):
    """The newest version of a source table."""

    version: int = 1
    time: str = "2024-01-01T00:00:00.000Z"


class SyncedTable(BaseModel):
    """A synced table. `spec` is as the client sent it. `synced_once` tells whether a sync has ever succeeded."""

    name: str
    uid: str
    create_time: str
    creator: str
    branch: str
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
