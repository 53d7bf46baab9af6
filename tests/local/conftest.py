"""Fixtures of the local platform's tests: a running platform, an instance with a catalog on it, a project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from databricks.sdk.service.postgres import Project

from tests.local.parts import done
from tests.servers.platform import LocalPlatform, platform_directory, running_platform
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.database import DatabaseInstance


@pytest.fixture(scope="session")
def platform() -> Iterator[LocalPlatform]:
    """A running local platform."""
    with platform_directory() as directory, running_platform(directory) as platform:
        yield platform


@pytest.fixture
def workspace(platform: LocalPlatform) -> WorkspaceClient:
    """The SDK's client of the platform, as the operator."""
    return platform.workspace(retry_timeout_seconds=PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def shared(platform: LocalPlatform) -> DatabaseInstance:
    """An instance that stays available, with the catalog `shared` of its database `demo`."""
    instance = platform.create_instance("shared")
    platform.create_catalog("shared", "shared")
    return instance


@pytest.fixture(scope="session")
def project(platform: LocalPlatform) -> str:
    """A project that stays, by its resource name. Tests that add branches purge them."""
    done(platform, platform.workspace().postgres.create_project(Project(), "kept"))
    return "projects/kept"


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Clear the faults after each test."""
    yield
    if "platform" in request.fixturenames:
        request.getfixturevalue("platform").clear_faults()
