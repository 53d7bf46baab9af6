"""The Databricks SDK, called off the event loop: in a few threads, and within our own deadline."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import Clock
from databricks.sdk.core import Config
from databricks.sdk.errors.base import DatabricksError

from schema.errors import PlatformError, Reason, UnavailableError
from server.lakebase.platform.failures import summary_of, to_api_error
from server.observability.log_setup import silence_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.lakebase.platform.failures import Action
    from server.settings import Settings

T = TypeVar("T")
# Administration is rare, and a thread that waits for a silent platform costs nothing else.
_THREADS: Final = 8
# How many times its threads a client may hold: they are replaced while calls that nobody waits for any more hold them.
_TIMES_REPLACED: Final = 3
# The largest page that the platform gives.
_MAX_LISTED: Final = 100
# For one response of the platform.
_ATTEMPT_SECONDS: Final = 5.0
# How long the SDK retries a call that fails for now, in whole seconds.
_RETRY_SECONDS: Final = 10
_NOT_CONFIGURED: Final = (
    "The platform's client cannot be configured: set DATABRICKS_HOST, and either DATABRICKS_TOKEN or "
    "DATABRICKS_CLIENT_ID with DATABRICKS_CLIENT_SECRET, not both."
)
_PRODUCT: Final = "lakebase-orders-graphql"
_VERSION: Final = "0.1.0"
# At DEBUG the SDK logs bodies, tokens among them; its warnings repeat errors with its configuration.
_SDK_LOGGERS: Final = ("databricks.sdk", "urllib3")


class _BoundedClock(Clock):
    """A clock for the SDK that refuses long sleeps: a Retry-After header may ask for an hour."""

    def __init__(self, longest_seconds: float) -> None:
        self._longest_seconds = longest_seconds

    def time(self) -> float:
        """Monotonic seconds; the SDK only takes differences."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            TimeoutError: the SDK may not spend so long on all its attempts.
        """
        if seconds > self._longest_seconds:
            # Raised while the SDK handles the failure, which is then the context of this exception.
            raise TimeoutError("the platform asks for a longer pause than the SDK may make")
        time.sleep(seconds)  # between two attempts, in a thread of its own; the event loop goes on


def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="databricks")


class SdkClient:
    """A client of the workspace. It is created at the first call, because creating it asks the host for a document.

    The SDK is synchronous and repeats failed calls by itself, even POSTs. It stops doing so before our own deadline: a
    thread whose caller has given up must not send anything.
    """

    def __init__(self, settings: Settings, *, threads: int = _THREADS, retry_seconds: int | None = None) -> None:
        self._settings = settings
        self._attempt_seconds = _ATTEMPT_SECONDS
        self._retry_seconds = retry_seconds or _RETRY_SECONDS
        # The SDK's last attempt may begin when its budget ends, after a pause of a second or more.
        self.deadline_seconds = self._retry_seconds + self._attempt_seconds + 2
        self._size, self._overdue = threads, 0
        self._threads = _pool(threads)
        # The threads that calls hold, abandoned ones too.
        self._held, self._counting = 0, threading.Lock()
        self._making = threading.Lock()
        self._client: WorkspaceClient | None = None

    @property
    def host(self) -> str:
        """The workspace's address in a browser; empty before the first call."""
        return self._client.config.host.rstrip("/") if self._client and self._client.config.host else ""

    async def call(self, action: Action, request: Callable[[WorkspaceClient], T]) -> T:
        """Run a request in a thread and return its result.

        Raises:
            ApiError: as `failures.to_api_error` says.
        """
        if self._held >= _TIMES_REPLACED * self._size:
            # A platform that sends a byte now and then holds them for as long as it likes.
            raise UnavailableError(
                Reason.CONTROL_PLANE_TIMEOUT, f"The platform still holds earlier calls ({action.value.doing})."
            )
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, request)
        # If this task is cancelled, the request's exception is never retrieved, and asyncio would log its secrets.
        running.add_done_callback(silence_failure)
        try:
            done, _ = await asyncio.wait({running}, timeout=self.deadline_seconds)
        except asyncio.CancelledError:
            # Nobody needs its result any more. If no thread has begun it, none does.
            running.cancel()
            raise
        if not done:
            running.cancel()
            self._note_overdue()
            raise UnavailableError(
                Reason.CONTROL_PLANE_TIMEOUT,
                f"The platform did not answer within {self.deadline_seconds:g} s ({action.value.doing}). It may still "
                "carry out the call: check again.",
            )
        if running.cancelled():
            # Another call was overdue, and the threads were abandoned before this one had begun.
            raise UnavailableError(Reason.CONTROL_PLANE_TIMEOUT, f"The platform is too slow ({action.value.doing}).")
        error = running.exception()
        if error is not None:
            # The cause is logged, and the SDK's own exception may hold tokens.
            raise to_api_error(error, action) from summary_of(error)
        return running.result()

    async def find(self, action: Action, request: Callable[[WorkspaceClient], T]) -> T | None:
        """Run a request as `call` does; None if the platform finds no such resource."""
        try:
            return await self.call(action, request)
        except PlatformError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND:
                return None
            raise

    def _note_overdue(self) -> None:
        """Abandon the threads once all of them may be stuck: the SDK has no time limit for logging in."""
        self._overdue += 1
        if self._overdue >= self._size:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads, self._overdue, self._client = _pool(self._size), 0, None
            self._making = threading.Lock()

    def close(self) -> None:
        """Begin no further calls. Calls under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, request: Callable[[WorkspaceClient], T]) -> T:
        with self._counting:
            self._held += 1
        try:
            return self._send(request)
        finally:
            with self._counting:
                self._held -= 1

    def _send(self, request: Callable[[WorkspaceClient], T]) -> T:
        with self._making:
            client = self._client = self._client or self._make()
        try:
            return request(client)
        except TimeoutError as error:
            # The SDK used up its time for repeating the call; the last failure says why. asyncio would replace a
            # TimeoutError by one without its cause.
            raise (error.__cause__ or error.__context__ or error) from None

    def _make(self) -> WorkspaceClient:
        for name in _SDK_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        settings = self._settings
        token, secret = settings.databricks_token, settings.databricks_client_secret
        configured: dict[str, Any] = {
            "host": settings.databricks_host,
            "token": token.get_secret_value() if token else None,
            "client_id": settings.databricks_client_id,
            "client_secret": secret.get_secret_value() if secret else None,
        }
        try:
            config = Config(
                # The SDK looks for missing values itself, in its own variables and files.
                **{name: value for name, value in configured.items() if value},
                http_timeout_seconds=self._attempt_seconds,
                retry_timeout_seconds=self._retry_seconds,
                product=_PRODUCT,
                product_version=_VERSION,
                clock=_BoundedClock(self._retry_seconds),
            )
        except ValueError as error:
            if failure := _failed_request(error):
                raise failure from None
            # The SDK rejects its configuration: it has two ways to log in, or none.
            raise UnavailableError(Reason.CONTROL_PLANE_NOT_CONFIGURED, _NOT_CONFIGURED) from None
        return WorkspaceClient(config=config)


def get_json(client: WorkspaceClient, path: str, query: dict[str, Any]) -> Any:
    """The JSON at a path, for lists that the SDK's own methods read page after page. The headers are the SDK's."""
    workspace = client.config.workspace_id
    headers = {"Accept": "application/json", **({"X-Databricks-Workspace-Id": workspace} if workspace else {})}
    return client.api_client.do("GET", path, query=query, headers=headers)


def list_page(client: WorkspaceClient, path: str, size: int, token: str | None) -> Any:
    """The JSON of one page of a list: the SDK's own methods read all pages, and one page of ours is one of these."""
    return get_json(client, path, {"page_size": min(size, _MAX_LISTED), **({"page_token": token} if token else {})})


def _failed_request(error: BaseException | None) -> BaseException | None:
    """The failed request among the causes of an exception, if there is one: the platform did not say how to log in."""
    # Chains may form a ring: an error that was raised from one that was raised while it was handled.
    seen = set[int]()
    while error is not None and id(error) not in seen:
        if isinstance(error, (OSError, DatabricksError)):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
