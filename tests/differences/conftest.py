"""Fixtures of the comparisons: the database of random queries."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from server.observability.log_setup import configure_logs
from server.settings import Settings
from tests.differences.database import make_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.local.cluster import Cluster


@pytest.fixture(scope="module")
async def database_url(cluster: Cluster) -> AsyncIterator[str]:
    """The URL of a database with the tables. The applications' many log lines are discarded."""
    settings = Settings(database_url=SecretStr(cluster.url))
    configure_logs(settings.model_copy(update={"log_level": "CRITICAL"}), stream=io.StringIO())
    await make_database(cluster.url)
    yield cluster.url
    configure_logs(settings)
