"""The platform's calls in a test's own process: each runs on objects of the test, in place of the SDK's client."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from databricks.sdk.errors.base import DatabricksError

from server.lakebase.platform.failures import to_api_error
from server.lakebase.platform.sdk_client import SdkClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.lakebase.platform.failures import Action

T = TypeVar("T")


class DirectClient(SdkClient):
    """Runs requests at once, on services with these methods."""

    def __init__(self, **methods: Any) -> None:
        self._services: Any = SimpleNamespace(postgres=SimpleNamespace(**methods))

    @property
    def host(self) -> str:
        """No address."""
        return ""

    async def call(self, action: Action, request: Callable[[Any], T]) -> T:
        """Run the request."""
        try:
            return request(self._services)
        except DatabricksError as error:
            raise to_api_error(error, action) from error


def raising(error: BaseException) -> Callable[..., Any]:
    """A method that fails with this error."""

    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
